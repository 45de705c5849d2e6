"""One session: what the client sends is answered by the protocol's own machine, all but the deltas.

A delta is the same text for every session but for its ids, so it is joined from bytes. What precedes and follows the
deltas is composed by `protocol.server_session`, once a session.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Protocol

import msgspec
from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from bench.source.audio import Recording
from bench.source.clock import Clock
from protocol.errors import RemoteProtocolError
from protocol.events import Usage
from protocol.server_session import (
    CommitRequested,
    ConfigureRequested,
    FinishRequested,
    Refused,
    ServerSession,
    TextAppended,
)

_MARK = "AAAA"
"""Stands where the audio goes, in the event that the others are cut from; base64 of three bytes of zero."""


class Plan(msgspec.Struct, frozen=True):
    """How sessions that begin to speak from now on do it, whenever they were opened: so many `deltas`, one every
    `interval` seconds, the first of them `first_audio_delay` seconds after `session.finish`."""

    deltas: int = 32
    interval: float = 0.31
    first_audio_delay: float = 0.1


class Sent(msgspec.Struct):
    """What one session sent: the time of each delta (`time.monotonic_ns`), its bytes of MP3, and how much later than
    due the latest was. The text, by its digest, tells which session is whose."""

    text_sha256: str = ""
    times: list[int] = []
    sizes: list[int] = []
    latest_ms: float = 0.0
    outcome: str = ""


class Book(Protocol):
    """What a session asks its server for."""

    plan: Plan
    recording: Recording
    clock: Clock

    def begun(self, sent: Sent) -> None: ...


class Session(WSListener):
    """A connection, from `session.created` to its end."""

    def __init__(self, book: Book, model: str, new_id: Callable[[str], str]) -> None:
        super().__init__()
        self._book = book
        self._plan = Plan()
        self._machine = ServerSession(model=model, new_id=new_id)
        self._new_id = new_id
        self._digest = hashlib.sha256()
        self._characters = 0
        self._sent = Sent()
        self._transport: WSTransport | None = None
        self._before = self._between = self._after = b""

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Say `session.created`, as the vendor does unasked."""
        self._transport = transport
        self._say(self._machine.created())

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take one event of the client's."""
        match frame.msg_type:
            case WSMsgType.TEXT:
                try:
                    self._take(frame.get_payload_as_utf8_text())
                except RemoteProtocolError:
                    self._sent.outcome = "unreadable"
                    transport.send_close(WSCloseCode.INVALID_TEXT)
            case WSMsgType.PING:
                transport.send_pong(frame.get_payload_as_bytes())
            case WSMsgType.CLOSE:
                transport.send_close(frame.get_close_code(), frame.get_close_message())
                transport.disconnect()

    def on_ws_disconnected(self, _transport: WSTransport) -> None:
        """Stop speaking."""
        self._transport = None
        self._sent.outcome = self._sent.outcome or "client_closed"
        self._machine.closed()

    def _take(self, message: str) -> None:
        for output in self._machine.receive(message):
            match output:
                case ConfigureRequested():
                    self._say(self._machine.updated())
                case TextAppended(text=text):
                    self._digest.update(text.encode())
                    self._characters += len(text)
                case CommitRequested():
                    self._say(self._machine.committed())
                case FinishRequested():
                    self._begin()
                case Refused() as refused:
                    self._say(self._machine.error(refused.code, refused.message))

    def _begin(self) -> None:
        self._plan = self._book.plan
        self._sent.text_sha256 = self._digest.hexdigest()
        self._book.begun(self._sent)
        for message in self._machine.begin_response():
            self._say(message)
        # The machine makes one delta; the others differ from it in the event's id and the audio.
        head, audio, tail = self._machine.audio(bytes(3)).partition(_MARK)
        before, key, between = head.partition('"event_id":"')
        if not audio:
            raise RuntimeError("the protocol encodes a delta in another way than this source expects")
        self._before = (before + key).encode()
        self._between = between[between.index('"') :].encode()
        self._after = tail.encode()
        self._book.clock.start(self._plan.first_audio_delay, self._plan.interval, self._speak)

    def _speak(self, late_seconds: float) -> bool:
        """Send the next delta. False when there is no other."""
        if self._transport is None:
            return False
        sent, deltas = self._sent, self._plan.deltas
        number = len(sent.times)
        delta = self._book.recording.delta(number, deltas)
        event_id = b"event_%021d" % number
        message = b"".join((self._before, event_id, self._between, delta.text, self._after))
        sent.times.append(time.monotonic_ns())
        sent.sizes.append(delta.size)
        sent.latest_ms = max(sent.latest_ms, late_seconds * 1e3)
        self._transport.send(WSMsgType.TEXT, message)
        if number + 1 < deltas:
            return True
        self._end()
        return False

    def _end(self) -> None:
        for message in self._machine.end_response(Usage(characters=self._characters)):
            self._say(message)
        self._say(self._machine.finished())
        self._sent.outcome = "finished"

    def _say(self, message: str) -> None:
        if self._transport is not None:
            self._transport.send(WSMsgType.TEXT, message.encode())
