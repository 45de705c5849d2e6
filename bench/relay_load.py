"""Streams through one side, and what a window of them cost and how late it was."""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

import msgspec
import picows

from bench.cores import cpu_seconds
from bench.http_reader import Reader
from bench.live_streams import delays
from bench.peers.options import MODEL, opening_flight
from bench.process_memory import anonymous_mib
from bench.sides import Arena, Side, Source
from bench.source.session import Plan, Sent
from bench.texts import english

STARTS_PER_SECOND = 50
"""How fast a round's streams are begun: faster, and what is measured is a burst of beginnings."""

LEAST_SPREAD_SECONDS = 1.0

SETTLE_SECONDS = 0.8
"""Between the last stream's begin and the window, so that all are in the middle of speech."""

TAIL_SECONDS = 0.7
"""Speech that is left when the window ends."""

END_SECONDS = 60.0
"""Longest wait for streams to end after their sessions should have."""

CHARACTERS = 80

_numbers = count()


@dataclass(frozen=True, slots=True)
class Load:
    """What one round plays: `streams` at once, a delta every `interval` seconds, measured for `seconds`."""

    streams: int
    seconds: float
    interval: float = 0.31
    first_audio_delay: float = 0.1

    @property
    def spread(self) -> float:
        """Seconds over which the streams begin."""
        return max(LEAST_SPREAD_SECONDS, self.streams / STARTS_PER_SECOND)

    @property
    def plan(self) -> Plan:
        """How long sessions have to speak for all that."""
        whole = self.spread + SETTLE_SECONDS + self.seconds + TAIL_SECONDS
        return Plan(math.ceil(whole / self.interval), self.interval, self.first_audio_delay)


@dataclass(frozen=True, slots=True)
class Round:
    """One side once. CPU in microseconds a delta, of the window and of everything from request to stored row; delays
    of the window's deltas in ms; memory in kB a stream beyond the audio it had brought. `whole` streams brought all
    their bytes; `source_late_ms` is how late the source itself was at worst."""

    streams: int
    whole: int
    deltas: int
    cpu_us: float
    cpu_whole_us: float
    database_us: float
    cores: float
    memory_kb: float
    source_late_ms: float
    delays_ms: list[float] = field(repr=False, default_factory=list)
    first_ms: list[float] = field(repr=False, default_factory=list)


class Direct(picows.WSListener):
    """A listener at the provider itself, who looks at audio and its time as `Reader` does."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text
        self.arrivals: list[tuple[int, int]] = []
        self.size = 0
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        """Say everything at once."""
        for event in opening_flight("voice", self._text, "English"):
            transport.send(picows.WSMsgType.TEXT, msgspec.json.encode(event))

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """Take one event."""
        if frame.msg_type is not picows.WSMsgType.TEXT:
            return
        event = _decode(frame.get_payload_as_memoryview())
        if event.delta:
            self.size += len(event.delta)
            self.arrivals.append((time.monotonic_ns(), self.size))
        elif event.type == "session.finished":
            transport.send_close(picows.WSCloseCode.OK)
            transport.disconnect()

    def on_ws_disconnected(self, _transport: picows.WSTransport) -> None:
        """The end, whoever wanted it."""
        if not self.over.done():
            self.over.set_result(None)


class _Event(msgspec.Struct):
    type: str
    delta: bytes = b""


_decode = msgspec.json.Decoder(_Event).decode


@dataclass
class Heard:
    """One stream: when it was asked for, by whom it is heard."""

    digest: str
    asked_ns: int
    listener: Reader | Direct


async def listen(side: Side, source: Source) -> Heard:
    """Ask for a text that no other stream has."""
    text = f"{english(CHARACTERS)} {next(_numbers)}"
    digest = hashlib.sha256(text.encode()).hexdigest()
    loop = asyncio.get_running_loop()
    asked = time.monotonic_ns()
    if side.pid is None:
        direct = Direct(text)
        await picows.ws_connect(lambda: direct, f"{source.realtime_url}?model={MODEL}")
        return Heard(digest, asked, direct)
    reader = Reader(side.request(text), timed=True, digested=False)
    await loop.create_connection(lambda: reader, *side.address)
    return Heard(digest, asked, reader)


async def play(arena: Arena, side: Side, load: Load) -> Round:
    """One round. Raises TimeoutError when streams do not end."""
    await asyncio.to_thread(arena.source.plan, load.plan)
    pids, database = side.pids, arena.database
    idle_mib = sum(map(anonymous_mib, pids))
    began = cpu_seconds(pids)
    tasks = [
        asyncio.create_task(_later(load.spread * number / load.streams, side, arena.source))
        for number in range(load.streams)
    ]
    heard = await asyncio.gather(*tasks)
    await asyncio.sleep(SETTLE_SECONDS)
    opened, cpu, cpu_database = time.monotonic_ns(), cpu_seconds(pids), cpu_seconds(database)
    await asyncio.sleep(load.seconds)
    closed, cpu, cpu_database = time.monotonic_ns(), cpu_seconds(pids) - cpu, cpu_seconds(database) - cpu_database
    audio = sum(one.listener.size for one in heard)
    memory = sum(map(anonymous_mib, pids)) - idle_mib
    async with asyncio.timeout(END_SECONDS):
        await asyncio.gather(*(one.listener.over for one in heard))
    await asyncio.sleep(SETTLE_SECONDS)
    whole = cpu_seconds(pids) - began
    sent = await asyncio.to_thread(arena.source.sent)
    return _judged(load, heard, sent, (opened, closed), (cpu, whole, cpu_database), memory * 2**20 - audio)


async def _later(seconds: float, side: Side, source: Source) -> Heard:
    await asyncio.sleep(seconds)
    return await listen(side, source)


def _judged(
    load: Load,
    heard: Sequence[Heard],
    sent: dict[str, Sent],
    window: tuple[int, int],
    cpu: tuple[float, float, float],
    memory_bytes: float,
) -> Round:
    opened, closed = window
    late: list[float] = []
    first: list[float] = []
    deltas = whole = 0
    for one in heard:
        session = sent.get(one.digest)
        if session is None:
            continue
        arrivals = one.listener.arrivals
        whole += one.listener.size == sum(session.sizes)
        deltas += sum(opened <= at < closed for at in session.times)
        found = delays(list(zip(session.times, session.sizes, strict=True)), arrivals)
        late += [delay.ms for delay in found if opened <= delay.sent_ns < closed]
        first += [(at - one.asked_ns) / 1e6 for at, size in arrivals if size][:1]
    in_window, everything, database = (seconds * 1e6 for seconds in cpu)
    all_deltas = sum(len(session.times) for session in sent.values())
    return Round(
        streams=load.streams,
        whole=whole,
        deltas=deltas,
        cpu_us=in_window / max(deltas, 1),
        cpu_whole_us=everything / max(all_deltas, 1),
        database_us=database / max(deltas, 1),
        cores=in_window / ((closed - opened) / 1e3),
        memory_kb=memory_bytes / 1e3 / load.streams,
        source_late_ms=max((session.latest_ms for session in sent.values()), default=0.0),
        delays_ms=late,
        first_ms=first,
    )
