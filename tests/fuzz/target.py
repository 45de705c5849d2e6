"""What the coverage-guided fuzzer calls: one input is one connection's worth of messages, to either end of a session.

The first byte says which end, and how far its session has come; the rest are messages, split at `SEPARATOR`. Whatever
they hold, an end answers, ignores or raises `RemoteProtocolError`; audio that comes out goes through the frame reader,
as in the gateway. Anything else is a finding.
"""

from __future__ import annotations

from itertools import count
from typing import Final

from protocol.errors import RemoteProtocolError
from protocol.machine import MAX_RESPONSES
from protocol.mp3 import MAX_PENDING_BYTES, Mp3FrameReader
from protocol.server_session import MAX_BUFFERED_CHARS, ConfigureRequested, ServerSession
from protocol.session import MAX_UNKNOWN_TYPES, AudioReceived, ClientSession, SessionConfig
from tests.protocol import samples

SEPARATOR: Final = b"\n"
"""JSON has no bare line feed within a string, so an event never needs one."""

CONFIG: Final = SessionConfig("v", "mp3", 24_000, "Auto")


def connection(data: bytes) -> None:
    """Feed one input to a new session. Raises AssertionError, or whatever it should not have raised."""
    starts = (_fresh_client, _configured_client, _speaking_client, _server)
    starts[data[0] % len(starts) if data else 0](data[1:].split(SEPARATOR))


def _fresh_client(messages: list[bytes]) -> None:
    _listen(ClientSession(), messages)


def _configured_client(messages: list[bytes]) -> None:
    _listen(_in_flight(), messages)


def _speaking_client(messages: list[bytes]) -> None:
    session = _in_flight()
    session.receive(samples.UPDATED)
    session.receive(samples.response_created())
    _listen(session, messages)


def _in_flight() -> ClientSession:
    session = ClientSession()
    session.receive(samples.CREATED)
    session.configure(CONFIG, "1")
    session.append("Hello.", "2")
    session.finish("3")
    return session


def _listen(session: ClientSession, messages: list[bytes]) -> None:
    reader, broken = Mp3FrameReader(), False
    for number, message in enumerate(messages):
        try:
            for output in session.receive(_frame(number, message)):
                if isinstance(output, AudioReceived):
                    reader.feed(output.data)
                    assert reader.pending_bytes <= MAX_PENDING_BYTES
                    assert not broken
        except RemoteProtocolError:
            broken = True
    assert len(session._machine.responses) <= MAX_RESPONSES
    assert len(session._unknown_types) <= MAX_UNKNOWN_TYPES
    failure = session.closed(1006)
    assert (failure is None) == session.finished


def _server(messages: list[bytes]) -> None:
    numbers = count()
    session = ServerSession(model="m", new_id=lambda prefix: f"{prefix}{next(numbers)}")
    session.created()
    for number, message in enumerate(messages):
        try:
            for output in session.receive(_frame(number, message)):
                if isinstance(output, ConfigureRequested):
                    session.updated()
        except RemoteProtocolError:
            continue
        assert len(session.buffered) <= MAX_BUFFERED_CHARS
    session.closed()


def _frame(number: int, message: bytes) -> str | bytes:
    """A text frame as the socket libraries give it out, or now and then a binary one."""
    return message if number % 8 == 7 else message.decode("utf-8", "replace")


def seeds() -> list[bytes]:
    """Good sessions to begin from: the fuzzer finds its way into JSON by changing what works."""
    audio = bytes.fromhex("fff3c4c4") + bytes(380)
    speech = [*samples.whole_response("resp_1", audio), *samples.whole_response("resp_2"), samples.FINISHED]
    client = [samples.UPDATED, samples.COMMITTED, samples.CLEARED, *speech]
    server = [
        samples.message("session.update", session={"voice": "v", "mode": "commit"}),
        samples.message("input_text_buffer.append", text="Hello."),
        samples.message("input_text_buffer.commit"),
        samples.message("input_text_buffer.clear"),
        samples.message("session.finish"),
    ]
    flights = [[samples.CREATED, samples.SHORT_ERROR], client, speech, server]
    return [bytes([number]) + SEPARATOR.join(map(str.encode, flight)) for number, flight in enumerate(flights)]
