"""From the server's responses to the bytes a log would keep: one clean MP3, wherever deltas, frames of the socket and
portions of the stream are cut."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count

import miniaudio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.events import Usage
from protocol.mp3 import Mp3FrameReader
from protocol.server_session import ConfigureRequested, FinishRequested, ServerSession
from protocol.session import AudioReceived, ClientSession, SessionConfig, SessionOpened
from tests.protocol.wire import wire_pair
from tests.support.mp3_files import apev2, bare_mp3, header_frame, header_of, id3v1, id3v2

MP3 = bare_mp3(seconds=0.1)
FRAME_SAMPLES = header_of(MP3).samples
DECORATIONS = [
    (b"", b""),
    (id3v2(), id3v1()),
    (header_frame(MP3, b"Xing"), b""),
    (id3v2() + header_frame(MP3, b"Info"), apev2() + id3v1()),
]


def responses_of(decorations: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    return [head + MP3 + tail for head, tail in decorations]


class Session:
    """A session whose responses are files. `late`: the last delta of each response comes after its end."""

    def __init__(self, responses: list[bytes], delta_bytes: list[int], frame_chars: int, *, late: bool) -> None:
        numbers = count(1)
        self._responses, self._delta_bytes, self._late = responses, delta_bytes, late
        self._frame_chars = frame_chars
        self._client = ClientSession()
        self._server = ServerSession(model="m", new_id=lambda prefix: f"{prefix}{next(numbers)}")
        self._up, self._down = wire_pair()
        self._reader = Mp3FrameReader()
        self._log = bytearray()

    def kept(self, portions: list[int]) -> bytes:
        """Play it, `portions` bytes of the wire at a time, and return what the reader gives out."""
        self._down.send(self._server.created(), self._frame_chars)
        while self._up.pending or self._down.pending:
            for portion in portions:
                for message in self._down.deliver(portion):
                    self._hear(message)
                for message in self._up.deliver(portion):
                    self._answer(message)
        self._reader.finish()
        assert self._client.finished
        assert self._reader.leftover_bytes == 0
        return bytes(self._log)

    def _hear(self, message: str) -> None:
        for output in self._client.receive(message):
            if isinstance(output, AudioReceived):
                self._log += self._reader.feed(output.data)
            elif isinstance(output, SessionOpened):
                configure = self._client.configure(SessionConfig("v", "mp3", 24_000, "Auto"), "u")
                for sent in (configure, self._client.append("Hello.", "a"), self._client.finish("f")):
                    self._up.send(sent, self._frame_chars)

    def _answer(self, message: str) -> None:
        [asked] = self._server.receive(message)
        said = [self._server.updated()] if isinstance(asked, ConfigureRequested) else []
        if isinstance(asked, FinishRequested):
            said = [event for file in self._responses for event in self._spoken(file)]
            said.append(self._server.finished())
        for event in said:
            self._down.send(event, self._frame_chars)

    def _spoken(self, file: bytes) -> list[str]:
        deltas: list[bytes] = []
        while file:
            size = self._delta_bytes[len(deltas) % len(self._delta_bytes)]
            deltas.append(file[:size])
            file = file[size:]
        in_time = deltas[:-1] if self._late else deltas
        events = [*self._server.begin_response(), *map(self._server.audio, in_time)]
        events += self._server.end_response(Usage(characters=1))
        return events + [self._server.audio(delta) for delta in deltas[len(in_time) :]]


@settings(max_examples=60)
@given(
    decorations=st.lists(st.sampled_from(DECORATIONS), min_size=1, max_size=3),
    delta_bytes=st.lists(st.integers(1, 900), min_size=1, max_size=5).filter(lambda sizes: sum(sizes) > 20),
    frame_chars=st.integers(50, 5_000),
    portions=st.lists(st.integers(40, 4_000), min_size=1, max_size=5),
    late=st.booleans(),
)
def test_the_log_holds_the_frames_and_nothing_else(
    decorations: list[tuple[bytes, bytes]], delta_bytes: list[int], frame_chars: int, portions: list[int], late: bool
) -> None:
    audio = Session(responses_of(decorations), delta_bytes, frame_chars, late=late).kept(portions)
    assert audio == MP3 * len(decorations)


@pytest.mark.parametrize("late", [False, True])
def test_every_place_to_cut_a_join(late: bool) -> None:
    """The delta boundary at each byte of the tags between two responses, and of the frames around them."""
    responses = responses_of([DECORATIONS[3], DECORATIONS[3]])
    head = len(DECORATIONS[3][0])
    for size in range(1, head + 40):
        assert Session(responses, [size, 100_000], 100_000, late=late).kept([1_000_000]) == MP3 * 2


def test_a_decoder_finds_every_sample() -> None:
    audio = Session(responses_of(DECORATIONS), [777], 300, late=False).kept([1000])
    decoded = miniaudio.decode(audio, nchannels=1, sample_rate=24_000)
    assert decoded.num_frames == len(MP3) // header_of(MP3).length * FRAME_SAMPLES * len(DECORATIONS)
