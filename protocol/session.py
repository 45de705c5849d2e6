"""The client's end of one realtime session, sans-IO: calls in, messages out; messages in, outputs out.

The driver's contract:

1. Open the socket. Feed every message to `receive` and handle the outputs it returns, in order.
2. On `SessionOpened`, send in one flight, without waiting: `configure`, one `append` per piece of text, `finish`.
3. Go on receiving until `SessionFinished` (success, the only one) or `SessionFailed` (raise its `failure`).
4. When the socket ends, call `closed`; when a send fails, call `send_failed` and go on receiving: the reason may
   still be on its way.

Ids come in as arguments; time is the driver's. What is allowed when is in `protocol/state.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from protocol import events
from protocol.errors import (
    Fault,
    LocalProtocolError,
    ProviderFailure,
    RemoteProtocolError,
    VendorError,
)
from protocol.events import UnknownEvent, decode_server_event, encode
from protocol.machine import SessionMachine, input_of
from protocol.state import Input, Role, Session
from protocol.usage import USAGE_KEYS, billable_characters, usage_counts
from protocol.vendor_codes import classify
from protocol.vendor_words import response_error, vendor_error

MAX_APPEND_CHARS: Final = 2000
"""Characters in one append: the longest text the product takes (specification, decision 9). The chunker's pieces are
far shorter; a grapheme cluster it must not split can be this long."""

MAX_UNKNOWN_EVENTS: Final = 10_000
"""Events of unknown types in one session before the peer is taken for another protocol. The longest session has about
4000 deltas (1200 s of 0.31 s each), and a new event might stand beside every one."""

MAX_UNKNOWN_TYPES: Final = 32
"""Distinct unknown types that are remembered by name."""


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """What `session.update` asks for. `sample_rate` in Hz; `language_type` is `Auto` or a full English name."""

    voice: str
    response_format: str
    sample_rate: int
    language_type: str
    mode: str = "server_commit"


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """The server said `session.created`: sending may begin."""

    session_id: str


@dataclass(frozen=True, slots=True)
class SessionConfigured:
    """The server accepted the configuration. `session` is its echo, with values as the vendor spells them."""

    session_id: str
    session: events.SessionInfo


class AudioReceived(NamedTuple):
    """Audio in the format asked for, in arrival order across responses. Not empty.

    A tuple because there are so many: it is made in half the time of a frozen dataclass.
    """

    data: bytes
    response_id: str


@dataclass(frozen=True, slots=True)
class ResponseFinished:
    """One response completed; others may follow."""

    response_id: str


@dataclass(frozen=True, slots=True)
class SessionFinished:
    """Success: every response completed and there was audio.

    `characters` is what the vendor bills (counted here when a response did not say), `responses` how many there
    were, `usage` the vendor's totals by key, `unknown_events` the types seen that are not in the vocabulary.
    """

    session_id: str
    characters: int
    responses: int
    usage: Mapping[str, int]
    unknown_events: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SessionFailed:
    """The session is over without success. Raise `failure`, after the outputs that stand before this one."""

    failure: ProviderFailure


@dataclass(frozen=True, slots=True)
class Ignored:
    """An event of a type we do not know, kept and counted."""

    event: UnknownEvent


Output: TypeAlias = (
    SessionOpened | SessionConfigured | AudioReceived | ResponseFinished | SessionFinished | SessionFailed | Ignored
)


class ClientSession:
    """One session from the client's end. Read the module's contract first."""

    def __init__(self) -> None:
        self._machine = SessionMachine(Role.CLIENT)
        self._failure: ProviderFailure | None = None
        self._characters_sent = 0
        self._bills: list[dict[str, int]] = []
        self._ended: set[str] = set()  # ids of the responses whose end is in _bills
        self._unknown_events = 0
        self._unknown_types: dict[str, None] = {}
        self.session_id = ""
        self.last_event_id = ""
        """Of the last event received, for the trace."""

    @property
    def finished(self) -> bool:
        """True after `SessionFinished`."""
        return self._machine.session is Session.FINISHED

    # Every call returns the text frame to send, and raises LocalProtocolError in a state that does not allow it.

    def configure(self, config: SessionConfig, event_id: str) -> str:
        """Ask for a voice and a format: `session.update`. Allowed until the first text."""
        settings = events.SessionSettings(
            voice=config.voice,
            mode=config.mode,
            response_format=config.response_format,
            sample_rate=config.sample_rate,
            language_type=config.language_type,
        )
        return self._send(events.SessionUpdate(event_id=event_id, session=settings))

    def append(self, text: str, event_id: str) -> str:
        """Give text to be spoken, at most MAX_APPEND_CHARS of it and not none."""
        if not 0 < len(text) <= MAX_APPEND_CHARS:
            raise LocalProtocolError(f"an append of {len(text)} characters; 1 to {MAX_APPEND_CHARS} are allowed")
        message = self._send(events.InputTextBufferAppend(event_id=event_id, text=text))
        self._characters_sent += billable_characters(text)
        return message

    def commit(self, event_id: str) -> str:
        """Have the appended text spoken now; required before `finish` in mode `commit`."""
        return self._send(events.InputTextBufferCommit(event_id=event_id))

    def clear(self, event_id: str) -> str:
        """Drop appended text that no response has taken. It may be too late for all of it."""
        return self._send(events.InputTextBufferClear(event_id=event_id))

    def finish(self, event_id: str) -> str:
        """No more text. Without this the vendor holds back the tail for good (protocol reference 1.6)."""
        return self._send(events.SessionFinish(event_id=event_id))

    def receive(self, message: str | bytes) -> list[Output]:
        """What one whole message means, in order.

        Raises RemoteProtocolError for a message that cannot be read or is not allowed now. The session has then
        failed for good: raise `failure(Fault.PROTOCOL_BROKEN)` from it.
        """
        try:
            event = decode_server_event(message)
            if isinstance(event, UnknownEvent):
                return [self._ignore(event)]
            self.last_event_id = event.event_id or ""
            self._machine.fire(*input_of(event))
        except RemoteProtocolError:
            self._machine.fire(Input.VIOLATION)
            self._failure = self._failure or self.failure(Fault.PROTOCOL_BROKEN)
            raise
        return self._outputs(event)

    def closed(self, code: int, reason: str = "") -> ProviderFailure | None:
        """The socket ended with this close code (1006 without a close frame) and reason.

        Returns None after success, otherwise why the session failed: what was known before the socket ended, or what
        the close itself says. Arrears are told in a close reason and nowhere else (protocol reference 1.8).
        """
        self._machine.fire(Input.SOCKET_CLOSED)
        if self.finished:
            return None
        if self._failure is None:
            vendor = VendorError(message=reason, close_code=code)
            self._failure = self.failure(classify(vendor), vendor)
        return self._failure

    def send_failed(self) -> None:
        """A message that was returned here did not leave. Nothing more may be sent; receiving goes on."""
        self._machine.fire(Input.SEND_FAILED)

    def failure(self, fault: Fault, vendor: VendorError | None = None) -> ProviderFailure:
        """A failure that carries this session's ids, for the driver's own reasons too (deadlines, cancelling)."""
        return ProviderFailure(fault, vendor, session_id=self.session_id, last_event_id=self.last_event_id)

    def _send(self, event: events.AnyClientEvent) -> str:
        message = encode(event)
        self._machine.fire(*input_of(event))
        return message

    def _ignore(self, event: UnknownEvent) -> Ignored:
        self._unknown_events += 1
        if self._unknown_events > MAX_UNKNOWN_EVENTS:
            raise RemoteProtocolError(f"more than {MAX_UNKNOWN_EVENTS} events of unknown types")
        if len(self._unknown_types) < MAX_UNKNOWN_TYPES:
            self._unknown_types[event.type] = None
        return Ignored(event)

    def _outputs(self, event: events.AnyServerEvent) -> list[Output]:
        match event:
            case events.AudioDelta() if event.delta:  # first, for nearly all are
                return [AudioReceived(event.delta, event.response_id)]
            case events.SessionCreated():
                self.session_id = event.session.id
                return [SessionOpened(self.session_id)]
            case events.SessionUpdated():
                return [SessionConfigured(self.session_id, event.session)]
            case events.ResponseCreated():
                self._ended.discard(event.response.id)
                return []
            case events.ResponseDone():
                return self._response_done(event.response)
            case events.SessionFinished():
                return [self._session_finished()]
            case events.Error():
                vendor = vendor_error(event)
                return [self._failed(classify(vendor), vendor)]
            case _:
                return []

    def _response_done(self, response: events.ResponseInfo) -> list[Output]:
        if self._machine.session is Session.FAILED:
            vendor = response_error(response)
            known = classify(vendor)
            return [self._failed(Fault.RESPONSE_FAILED if known is Fault.UNKNOWN else known, vendor)]
        if response.id in self._ended:
            return []
        self._ended.add(response.id)
        self._bills.append(usage_counts(response.usage))
        return [ResponseFinished(response.id)]

    def _session_finished(self) -> Output:
        if self._machine.fault is not None:
            return self._failed(self._machine.fault)
        reported = all("characters" in bill for bill in self._bills)
        usage = {key: sum(bill.get(key, 0) for bill in self._bills) for key in USAGE_KEYS}
        return SessionFinished(
            session_id=self.session_id,
            characters=usage["characters"] if reported else self._characters_sent,
            responses=len(self._bills),
            usage={key: total for key, total in usage.items() if total},
            unknown_events=tuple(self._unknown_types),
        )

    def _failed(self, fault: Fault, vendor: VendorError | None = None) -> SessionFailed:
        self._failure = self.failure(fault, vendor)
        return SessionFailed(self._failure)
