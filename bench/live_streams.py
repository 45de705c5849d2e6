"""Live streams, each delta of them timed from the emulator's send to the listener's receive."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import dataclass
from urllib.parse import urlsplit

from bench.http_reader import Reader, request_bytes
from bench.stack import Stack
from bench.texts import english

START_SECONDS = 60.0
"""Longest wait for the first sound of all streams: what differs between their texts is rendered one by one."""

SPREAD_SECONDS = 3.1
"""The streams begin over ten delta times, so that their deltas do not all come at once, nor in step with a crowd's."""


@dataclass(frozen=True, slots=True)
class Delay:
    """One delta: when the emulator sent it (`time.monotonic_ns`), and how much later its first byte was here."""

    sent_ns: int
    ms: float


class LiveStream:
    """One stream of a text that no other stream has, so that the emulator's session of it can be told."""

    def __init__(self, stack: Stack, number: int, characters: int) -> None:
        # What differs comes last: the emulator renders all the rest once, for all streams.
        self._text = english(characters - 4) + f" {number:03d}"
        self._stack = stack
        self._number = number
        self.reader: Reader | None = None

    async def start(self, voice: str) -> None:
        """Return with the first bytes. Raises RuntimeError when the gateway refused."""
        body = json.dumps({"voice_id": voice, "text": self._text, "language": "English"}).encode()
        request = request_bytes("POST", "/api/generate/stream", self._stack.headers, body)
        self.reader = reader = Reader(request, timed=True)
        await asyncio.get_running_loop().create_connection(lambda: reader, *address_of(self._stack))
        async with asyncio.timeout(START_SECONDS):
            await reader.answered
        if reader.status != 200:
            raise RuntimeError(f"stream {self._number} was answered {reader.status}")

    def session(self, sessions: list[dict[str, object]]) -> str:
        """The id of the emulator's session that speaks this text."""
        wanted = hashlib.sha256(self._text.encode()).hexdigest()
        return next(str(row["session_id"]) for row in sessions if row["text_sha256"] == wanted)


async def start_all(stack: Stack, voice: str, streams: int, characters: int) -> list[LiveStream]:
    """Start them, spread over `SPREAD_SECONDS`; return when all are heard."""
    live = [LiveStream(stack, number, characters) for number in range(streams)]

    async def start(stream: LiveStream, number: int) -> None:
        await asyncio.sleep(SPREAD_SECONDS * number / streams)
        await stream.start(voice)

    await asyncio.gather(*(start(stream, number) for number, stream in enumerate(live)))
    return live


def address_of(stack: Stack) -> tuple[str, int]:
    """Host and port of the gateway."""
    address = urlsplit(stack.base_url)
    return address.hostname or "", address.port or 0


def delays(deltas: list[tuple[int, int]], arrivals: list[tuple[int, int]]) -> list[Delay]:
    """Of each delta that arrived. `deltas` are times and sizes, `arrivals` times and total bytes until then.

    A delta is there when more bytes are than all deltas before it brought. The gateway sends on whole MP3 frames only,
    so the last bytes of a delta may come with the next one; it adds none.
    """
    found: list[Delay] = []
    position, before = 0, 0
    for sent_ns, size in deltas:
        while position < len(arrivals) and arrivals[position][1] <= before:
            position += 1
        if position == len(arrivals):
            break
        found.append(Delay(sent_ns, (arrivals[position][0] - sent_ns) / 1e6))
        before += size
    return found
