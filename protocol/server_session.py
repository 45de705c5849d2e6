"""The server's end of one realtime session, sans-IO: what the emulator says, and what the property tests talk to.

The driver sends `created()` first, feeds every message to `receive`, and answers the outputs as it likes: the session
composes the events with the exact fields of protocol reference 1.4 in the order of 1.5, the driver decides when, with
what audio, and which fault to play. Methods that return `str` or `list[str]` return messages to send, in order, and
raise LocalProtocolError where the protocol does not allow them now.

Ids come from an injected factory; time is the driver's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from msgspec import UNSET

from protocol import events
from protocol.errors import RemoteProtocolError
from protocol.events import UnknownEvent, decode_client_event, encode
from protocol.machine import SessionMachine, input_of
from protocol.session_settings import problem_with
from protocol.state import Input, Role

MAX_BUFFERED_CHARS: Final = 100_000
"""Characters a session holds that no response has taken. The vendor's limit is not published (reference 1.8); this one
only keeps a runaway client from filling the emulator's memory."""


@dataclass(frozen=True, slots=True)
class ConfigureRequested:
    """`session.update` came. Answer with `updated()` or `error(...)`. `problem` says what is wrong with it, in the
    vendor's manner, or is ""."""

    settings: events.SessionSettings
    event_id: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class TextAppended:
    """`text` joined the buffer; `ServerSession.buffered` is all of it. "" when the client sent another key."""

    text: str


@dataclass(frozen=True, slots=True)
class CommitRequested:
    """Answer with `committed()`, then speak `text`, which has left the buffer, as one response. It is "" when
    `take_text` was faster."""

    text: str


@dataclass(frozen=True, slots=True)
class ClearRequested:
    """The buffer is empty now. Answer with `cleared()`."""


@dataclass(frozen=True, slots=True)
class FinishRequested:
    """No more text will come. Speak `text`, what was still buffered, then send `finished()`."""

    text: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The client did what its state does not allow. Answer with `refuse(...)` when `close_code` is None, else with
    `error(...)` and close (protocol reference 1.8 and 6)."""

    code: str
    message: str
    event_id: str
    close_code: int | None


@dataclass(frozen=True, slots=True)
class Ignored:
    """An event the vendor does not have either."""

    event: UnknownEvent


ServerOutput: TypeAlias = (
    ConfigureRequested | TextAppended | CommitRequested | ClearRequested | FinishRequested | Refused | Ignored
)

_UPDATE_TOO_LATE: Final = "Session update error: session already started or finished or failed."
_NOTHING_TO_COMMIT: Final = "Error committing input text buffer, maybe no text was appended."
_OUT_OF_ORDER: Final = "The event is not allowed in the session's current state."

_INVALID_DATA: Final = 1007
"""The close code the vendor's siblings send after an `error` about the session (protocol reference 1.8)."""

# Text and close code by event. An empty commit leaves the socket open (protocol reference 6).
_REFUSALS: Final[Mapping[type[events.ClientEvent], tuple[str, int | None]]] = {
    events.SessionUpdate: (_UPDATE_TOO_LATE, _INVALID_DATA),
    events.InputTextBufferCommit: (_NOTHING_TO_COMMIT, None),
    events.InputTextBufferAppend: (_OUT_OF_ORDER, _INVALID_DATA),
    events.InputTextBufferClear: (_OUT_OF_ORDER, _INVALID_DATA),
    events.SessionFinish: (_OUT_OF_ORDER, _INVALID_DATA),
}

_PART: Final = {"type": "audio", "text": ""}
_ITEM_USAGE_KEYS: Final = (
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "input_tokens_details",
    "output_tokens_details",
)


class ServerSession:
    """One session from the server's end. Read the module's contract first."""

    def __init__(self, *, model: str, new_id: Callable[[str], str], default_voice: str = "Cherry") -> None:
        """`new_id("event_")` returns a fresh id with that prefix; `sess_`, `resp_` and `item_` are asked for too."""
        self._machine = SessionMachine(Role.SERVER)
        self._new_id = new_id
        self._requested = events.SessionSettings()
        self._response_id = ""
        self._item_id = ""
        self.session_id = new_id("sess_")
        self.model = model
        self.voice = default_voice
        self.mode = "server_commit"
        self.response_format = "pcm"
        self.sample_rate = 24000
        self.language_type = "Auto"
        self.buffered = ""
        """Text that no response has taken."""

    @property
    def over(self) -> bool:
        """`finished()` or `error()` was sent, or the socket ended: whatever still comes is dropped."""
        return self._machine.over

    def receive(self, message: str | bytes) -> list[ServerOutput]:
        """What one whole message asks for. Raises RemoteProtocolError for a message that cannot be read."""
        event = decode_client_event(message)
        if self.over:
            return []
        if isinstance(event, UnknownEvent):
            return [Ignored(event)]
        refused = self._refusal(event)
        return [self._accept(event) if refused is None else refused]

    def take_text(self, chars: int | None = None) -> str:
        """Take the first `chars` characters (None: all) out of the buffer, to speak them before the client asks."""
        taken, self.buffered = (self.buffered, "") if chars is None else (self.buffered[:chars], self.buffered[chars:])
        return taken

    def created(self) -> str:
        """`session.created`, with the server's defaults and no `language_type`."""
        return self._send(events.SessionCreated(event_id=self._event_id(), session=self._info()))

    def updated(self) -> str:
        """`session.updated`: the settings asked for last are in force from here on."""
        asked = self._requested
        self.voice = self.voice if asked.voice is UNSET else asked.voice
        self.mode = self.mode if asked.mode is UNSET else asked.mode
        self.response_format = self.response_format if asked.response_format is UNSET else asked.response_format
        self.sample_rate = self.sample_rate if asked.sample_rate is UNSET else asked.sample_rate
        self.language_type = self.language_type if asked.language_type is UNSET else asked.language_type
        # The vendor's echo is lower-case, whatever was sent (protocol reference 1.3).
        echo = self._info(language_type=self.language_type.lower())
        return self._send(events.SessionUpdated(event_id=self._event_id(), session=echo))

    def committed(self) -> str:
        """`input_text_buffer.committed`."""
        return self._send(events.InputTextBufferCommitted(event_id=self._event_id()))

    def cleared(self) -> str:
        """`input_text_buffer.cleared`."""
        return self._send(events.InputTextBufferCleared(event_id=self._event_id()))

    def begin_response(self) -> list[str]:
        """A new response: created, its item added, its part added."""
        self._response_id, self._item_id = self._new_id("resp_"), self._new_id("item_")
        created = events.ResponseInfo(
            id=self._response_id,
            object="realtime.response",
            conversation_id="",
            status="in_progress",
            voice=self.voice,
            output=[],
        )
        item = self._item("in_progress") | {"content": []}
        return [
            self._send(events.ResponseCreated(event_id=self._event_id(), response=created)),
            self._send(
                events.OutputItemAdded(
                    event_id=self._event_id(), response_id=self._response_id, output_index=0, item=item
                )
            ),
            self._send(events.ContentPartAdded(**self._place(), part=_PART)),
        ]

    def audio(self, data: bytes) -> str:
        """`response.audio.delta` of the response begun last; after `end_response` it is a late one."""
        return self._send(events.AudioDelta(**self._place(), delta=data))

    def end_response(self, usage: events.Usage, status: str = "completed") -> list[str]:
        """The response begun last ends: audio done, part done, item done, response done, in the order of the wire
        recordings (protocol reference 1.5; the vendor's documents order them otherwise)."""
        item = self._item(status) | {"output": {"usage": _item_usage(usage)}}
        done = events.ResponseInfo(
            id=self._response_id,
            object="realtime.response",
            conversation_id="",
            status=status,
            modalities=["text", "audio"],
            voice=self.voice,
            output=[self._item(status) | {"content": [{"type": "audio", "transcript": ""}]}],
            usage=usage,
        )
        return [
            self._send(events.AudioDone(**self._place())),
            self._send(events.ContentPartDone(**self._place(), part=_PART)),
            self._send(
                events.OutputItemDone(
                    event_id=self._event_id(), response_id=self._response_id, output_index=0, item=item
                )
            ),
            self._send(events.ResponseDone(event_id=self._event_id(), response=done)),
        ]

    def finished(self) -> str:
        """`session.finished`, after `FinishRequested` and every response."""
        return self._send(events.SessionFinished(event_id=self._event_id()))

    def error(self, code: str, message: str) -> str:
        """An `error` event that ends the session; what the client sends afterwards is dropped."""
        body = events.ErrorBody(code=code, message=message)
        return self._send(events.Error(event_id=self._event_id(), error=body))

    def refuse(self, code: str, message: str, *, param: str = "", client_event_id: str = "") -> str:
        """An `error` event in the long form after which the session goes on (protocol reference 1.8)."""
        body = events.ErrorBody(
            type="invalid_request_error", code=code, message=message, param=param, event_id=client_event_id
        )
        return encode(events.Error(event_id=self._event_id(), error=body))

    def closed(self) -> None:
        """The socket ended."""
        self._machine.fire(Input.SOCKET_CLOSED)

    def _refusal(self, event: events.AnyClientEvent) -> Refused | None:
        """Move the machine; what it does not allow becomes the vendor's words for it."""
        event_id = "" if event.event_id is UNSET else event.event_id
        if isinstance(event, events.InputTextBufferAppend):
            if not event.text:
                return None  # the vendor takes it in silence (protocol reference 1.3), and nothing is buffered
            if len(self.buffered) + len(event.text) > MAX_BUFFERED_CHARS:
                return Refused("invalid_value", "Too much text is buffered.", event_id, _INVALID_DATA)
        try:
            self._machine.fire(_received(event))
        except RemoteProtocolError:
            message, close_code = _REFUSALS[type(event)]
            return Refused("invalid_value", message, event_id, close_code)
        return None

    def _accept(self, event: events.AnyClientEvent) -> ServerOutput:
        match event:
            case events.SessionUpdate():
                self._requested = event.session
                event_id = "" if event.event_id is UNSET else event.event_id
                return ConfigureRequested(event.session, event_id, problem_with(event.session))
            case events.InputTextBufferAppend():
                self.buffered += event.text
                return TextAppended(event.text)
            case events.InputTextBufferCommit():
                return CommitRequested(self.take_text())
            case events.InputTextBufferClear():
                self.buffered = ""
                return ClearRequested()
        return FinishRequested(self.take_text())

    def _send(self, event: events.AnyServerEvent) -> str:
        self._machine.fire(*input_of(event))
        return encode(event)

    def _event_id(self) -> str:
        return self._new_id("event_")

    def _info(self, **more: str) -> events.SessionInfo:
        return events.SessionInfo(
            id=self.session_id,
            object="realtime.session",
            mode=self.mode,
            model=self.model,
            voice=self.voice,
            response_format=self.response_format,
            sample_rate=self.sample_rate,
            **more,
        )

    def _item(self, status: str) -> dict[str, object]:
        return {
            "id": self._item_id,
            "object": "realtime.item",
            "type": "message",
            "status": status,
            "role": "assistant",
        }

    def _place(self) -> dict[str, Any]:
        """The keys that every event within a part has."""
        return {
            "event_id": self._event_id(),
            "response_id": self._response_id,
            "item_id": self._item_id,
            "output_index": 0,
            "content_index": 0,
        }


def _received(event: events.AnyClientEvent) -> Input:
    """The input a client's event is to a server. A finish with uncommitted text is taken, in mode `commit` too: the
    vendor's SDK promises that it is spoken (protocol reference 1.7), so the stricter pair of states is the client's."""
    move, _ = input_of(event)
    return Input.UPDATE if move is Input.UPDATE_MANUAL else move


def _item_usage(usage: events.Usage) -> dict[str, object]:
    """The part of the bill that the wire repeats in `response.output_item.done`: everything but the characters."""
    return {key: getattr(usage, key) for key in _ITEM_USAGE_KEYS if getattr(usage, key) is not UNSET}
