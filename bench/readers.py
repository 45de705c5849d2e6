"""`python -m bench readers`: does anybody notice a crowd of listeners, good ones and bad ones?

Live streams run at real pace, and each delta of theirs is timed from the emulator's send to the listener's receive:
first alone, then beside a crowd that listens to one further generation. Some of the crowd come late, some leave
half-way, some half-close, some read nothing at all. All who listen to the end must have got the stored bytes. Linux
only: memory is the kernel's count, and the gateway gets a core of its own where there are two.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import random
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import msgspec
import psutil
import uvloop
from rich.console import Console

from bench.crowd import Guest, Plan, Role, Visit
from bench.http_reader import Reader, request_bytes
from bench.live_streams import Delay, LiveStream, address_of, delays, start_all
from bench.process_memory import anonymous_mib, watched
from bench.stack import Stack, running_stack
from bench.statistics import Summary, summarize, summary_table
from bench.texts import english

READ_SECONDS = 60.0

SETTLE_SECONDS = 5.0
"""What the gateway has to let everybody go before what it still holds is read."""

LATE_SECONDS = 30.0
"""By how much the crowd's generation may outlast its time: the characters of a second are an estimate."""

POLL_SECONDS = 0.2

SPEECH_CHARACTERS_PER_SECOND = 19.5
"""Of the emulator's English at playback speed."""

SPEECH_BYTES_PER_SECOND = 16_000
"""128 kbit/s."""

JOIN_SHARE = 0.75
"""The crowd comes over this share of its generation; the last ones still hear some of it live."""

MOST_P99_FACTOR = 4.0
"""By how much the crowd may raise the 99th percentile of the others' added latency."""

AUDIO_MEMORY_BYTES = 32 * 1024 * 1024
"""What the gateway may keep of all audio (`UTTER_AUDIO_MEMORY_BYTES`): less than there is, so that it matters."""

CONNECTION_BYTES = 96 * 1024
"""What a connection may cost on the average of all. Each may have 64 KiB in the transport, a piece of 16 KiB on its way
there, its request and its tasks; measured: 70 KiB with one in six that reads nothing."""

PRIORITY = -10
"""Of what is measured, where it may be asked for: other programs of the machine are no part of the answer."""

ACTIVE = ("pending", "processing")


@dataclass(frozen=True, slots=True)
class Shared:
    """The generation that the crowd listens to."""

    task_id: str
    target: str
    link: str


@dataclass(frozen=True, slots=True)
class Memory:
    """Anonymous memory of the gateway in MiB. `bound` is `before` and what audio and connections may add."""

    before: float
    peak: float
    after: float
    bound: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run. `wrong` counts guests who got other bytes than the stored ones, or no end; `dropped` by role."""

    alone: Summary
    crowded: Summary
    memory: Memory
    visits: dict[str, int]
    dropped: dict[str, int]
    wrong: int
    gateway_cpu: tuple[float, float]

    @property
    def p99_factor(self) -> float:
        """How many times as late as alone."""
        return self.crowded.p99 / self.alone.p99

    @property
    def passed(self) -> bool:
        """Whether nobody was harmed."""
        return self.wrong == 0 and self.p99_factor <= MOST_P99_FACTOR and self.memory.peak <= self.memory.bound


def main(argv: list[str]) -> int:
    """Print the tables. Exit status 1 when others were late by over `MOST_P99_FACTOR`, memory exceeded its bound, or a
    listener got other bytes than the stored ones."""
    parser = argparse.ArgumentParser(prog="python -m bench readers", description=__doc__)
    parser.add_argument("--streams", type=int, default=50, help="live streams (default 50)")
    parser.add_argument("--listeners", type=int, default=1000, help="listeners of one generation (default 1000)")
    parser.add_argument("--stalled", type=int, default=200, help="readers of it that read nothing (default 200)")
    parser.add_argument("--alone", type=float, default=25.0, help="seconds measured before they come (default 25)")
    parser.add_argument("--crowded", type=float, default=70.0, help="seconds of their generation (default 70)")
    parser.add_argument("--speed", type=float, default=1.0, help="emulator pace, 1.0 being playback (default)")
    parser.add_argument("--stall-limit", type=float, default=30.0, help="UTTER_WRITE_STALL_SECONDS (default 30)")
    parser.add_argument("--seed", type=int, default=1, help="of who comes when")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args(argv)
    _allow_connections()
    environment = {
        "QWEN_STARTS_PER_SECOND": "1000",
        "QWEN_STARTS_PER_MINUTE": "60000",
        "UTTER_MAX_CONCURRENT_GENERATIONS": str(options.streams + 1),
        "UTTER_AUDIO_MEMORY_BYTES": str(AUDIO_MEMORY_BYTES),
        "UTTER_WRITE_STALL_SECONDS": str(options.stall_limit),
    }
    with running_stack(speed=options.speed, environment=environment) as stack:
        placed = _place(stack)
        outcome = uvloop.run(_measure(stack, options))
    _report(outcome, placed)
    if options.json:
        options.json.write_text(json.dumps(asdict(outcome), indent=2))
    return 0 if outcome.passed else 1


async def _measure(stack: Stack, options: argparse.Namespace) -> Outcome:
    voice = stack.voices()[0]["id"]
    crowd = await _start_crowd()
    memory_before = anonymous_mib(stack.pid)
    async with watched(stack.pid) as peak:
        live = await start_all(
            stack, voice, options.streams, _characters(options.alone + options.crowded, options.speed)
        )
        alone_from, cpu = time.monotonic_ns(), _cpu(stack)
        await asyncio.sleep(options.alone)
        alone_cpu = (_cpu(stack) - cpu) / options.alone
        shared = await _start_shared(stack, voice, options)
        crowded_from, cpu = time.monotonic_ns(), _cpu(stack)
        visits = await _let_in(crowd, stack, shared, options)
        crowded_until = time.monotonic_ns()
        crowded_cpu = (_cpu(stack) - cpu) * 1e9 / (crowded_until - crowded_from)
    found = await _delays(stack, live)
    stored = await _stored(stack, shared)
    await _leave(stack, live)
    return Outcome(
        alone=_between(found, alone_from, crowded_from),
        crowded=_between(found, crowded_from, crowded_until),
        memory=Memory(memory_before, peak.mib, anonymous_mib(stack.pid), _bound(memory_before, options)),
        visits={role.value: sum(visit.role is role for visit in visits) for role in Role},
        dropped={role.value: sum(visit.role is role and visit.dropped for visit in visits) for role in Role},
        wrong=sum(not is_right(visit, stored) for visit in visits),
        gateway_cpu=(alone_cpu, crowded_cpu),
    )


def is_right(visit: Visit, stored: bytes) -> bool:
    """Whether a guest got the stored bytes: all from its offset on, or as many as it stayed for."""
    if visit.role is Role.STALL:
        return True
    audio = stored[visit.offset :]
    expected = audio if visit.role is Role.LISTEN else audio[: visit.size]
    ended = visit.complete or visit.role is not Role.LISTEN
    return ended and visit.size == len(expected) and visit.sha256 == hashlib.sha256(expected).hexdigest()


def guests(options: argparse.Namespace) -> list[Guest]:
    """The crowd: of ten listeners four come at once and four late, one of these at an offset; one leaves half-way and
    one half-closes. Every second one of the stalled has a link, which is a paused player's."""
    chance = random.Random(options.seed)
    seconds = options.crowded
    last = seconds * JOIN_SHARE
    half = int(seconds * options.speed * SPEECH_BYTES_PER_SECOND / 2)
    crowd: list[Guest] = []
    for number in range(options.listeners):
        late, stays = chance.uniform(0, last), chance.uniform(0, seconds / 4)
        match number % 10:
            case 0 | 1 | 2 | 3:
                crowd.append(Guest(Role.LISTEN, chance.uniform(0, last / 20)))
            case 4 | 5 | 6:
                crowd.append(Guest(Role.LISTEN, late))
            case 7:
                crowd.append(Guest(Role.LISTEN, late, offset=chance.randrange(half)))
            case 8:
                crowd.append(Guest(Role.LEAVE, late, stays=stays))
            case _:
                crowd.append(Guest(Role.HALF_CLOSE, late, stays=stays))
    crowd += [
        Guest(Role.STALL, chance.uniform(0, last / 4), by_link=number % 2 == 0) for number in range(options.stalled)
    ]
    return crowd


async def _start_shared(stack: Stack, voice: str, options: argparse.Namespace) -> Shared:
    text = english(_characters(options.crowded, options.speed))
    body = json.dumps({"voice_id": voice, "text": text, "language": "English"}).encode()
    # Not by httpx: its new clients read certificates for 100 ms, in which no arrival is noticed.
    reader = Reader(request_bytes("POST", "/api/generate", stack.headers, body))
    await asyncio.get_running_loop().create_connection(lambda: reader, *address_of(stack))
    await reader.over
    if reader.status != httpx.codes.OK:
        raise RuntimeError(f"the crowd's generation was answered {reader.status}")
    link = urlsplit(reader.headers["x-utter-stream-url"])
    target = f"/api/generations/{reader.headers['x-utter-generation-id']}/stream"
    return Shared(reader.headers["x-utter-task-id"], target, f"{link.path}?{link.query}")


async def _start_crowd() -> asyncio.subprocess.Process:
    """Before anything is measured: it takes as long as any Python."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.crowd", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


async def _let_in(
    crowd: asyncio.subprocess.Process, stack: Stack, shared: Shared, options: argparse.Namespace
) -> list[Visit]:
    host, port = address_of(stack)
    plan = Plan(
        host=host,
        port=port,
        target=shared.target,
        link=shared.link,
        authorization=stack.headers["Authorization"],
        guests=guests(options),
        ends=options.crowded + LATE_SECONDS,
    )
    told, _ = await crowd.communicate(msgspec.json.encode(plan))
    return msgspec.json.decode(told, type=list[Visit])


async def _delays(stack: Stack, live: list[LiveStream]) -> list[Delay]:
    sessions = stack.sessions()
    async with httpx.AsyncClient(base_url=stack.emulator_rest_url, timeout=READ_SECONDS) as client:
        found: list[Delay] = []
        for stream in live:
            answer = await client.get(f"/_emulator/sessions/{stream.session(sessions)}/deltas")
            found += delays(answer.json(), stream.reader.arrivals if stream.reader else [])
    return found


def _between(found: list[Delay], begin_ns: int, end_ns: int) -> Summary:
    return summarize([delay.ms for delay in found if begin_ns <= delay.sent_ns < end_ns])


async def _stored(stack: Stack, shared: Shared) -> bytes:
    async with httpx.AsyncClient(base_url=stack.base_url, headers=stack.headers, timeout=READ_SECONDS) as client:
        while (task := (await client.get(f"/api/tasks/{shared.task_id}")).json())["status"] in ACTIVE:  # noqa: ASYNC110 - polls the API
            await asyncio.sleep(POLL_SECONDS)
        audio = (await client.get(shared.target)).content
    if hashlib.sha256(audio).hexdigest() != task["result"]["audio_sha256"]:
        raise RuntimeError(f"the stored audio is not what its task says: {task}")
    return audio


async def _leave(stack: Stack, live: list[LiveStream]) -> None:
    """End what still speaks, and give the gateway time to notice."""
    tasks = [stream.reader.headers["x-utter-task-id"] for stream in live if stream.reader]
    async with httpx.AsyncClient(base_url=stack.base_url, headers=stack.headers, timeout=READ_SECONDS) as client:
        for task in tasks:
            await client.post(f"/api/tasks/{task}/cancel")
    await asyncio.sleep(SETTLE_SECONDS)


def _characters(seconds: float, speed: float) -> int:
    return min(int(seconds * speed * SPEECH_CHARACTERS_PER_SECOND), 2000)


def _bound(before_mib: float, options: argparse.Namespace) -> float:
    connections = options.streams + options.listeners + options.stalled
    return float(before_mib + (AUDIO_MEMORY_BYTES + connections * CONNECTION_BYTES) / 2**20)


def _cpu(stack: Stack) -> float:
    times = psutil.Process(stack.pid).cpu_times()
    return times.user + times.system


def _allow_connections() -> None:
    """As many files as this machine allows: the gateway inherits it from here."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _place(stack: Stack) -> str:
    """The gateway on a core of its own, everything else on the others, where there are two; all of it before what else
    the machine does, where that is allowed. Says what it did."""
    gateway = psutil.Process(stack.pid)
    others = (psutil.Process(), *gateway.children(recursive=True))
    try:
        for process in (gateway, *others):
            for thread in process.threads():
                os.setpriority(os.PRIO_PROCESS, thread.id, PRIORITY)
        placed = f"priority {PRIORITY}"
    except PermissionError:
        placed = "ordinary priority"
    first, *rest = sorted(os.sched_getaffinity(0))
    if not rest:
        return f"all processes on one core, {placed}"
    for process in others:
        process.cpu_affinity(rest)
    for thread in gateway.threads():
        os.sched_setaffinity(thread.id, {first})
    return f"the gateway on core {first}, all others on {rest}, {placed}"


def _report(outcome: Outcome, placed: str) -> None:
    console = Console()
    rows = {"alone": outcome.alone, "beside the crowd": outcome.crowded}
    console.print(summary_table("emulator's delta sent to its first byte received", "ms", rows))
    console.print(f"p99 beside the crowd: {outcome.p99_factor:.2f} times that alone (limit {MOST_P99_FACTOR})")
    console.print(
        "gateway memory: {before:.1f} MiB before, at most {peak:.1f}, {after:.1f} after; bound {bound:.1f}".format(
            **asdict(outcome.memory)
        )
    )
    console.print("CPU of the gateway: {:.2f} s a second alone, {:.2f} crowded".format(*outcome.gateway_cpu))
    for role, count in outcome.visits.items():
        console.print(f"{role}: {count}, of which {outcome.dropped[role]} were dropped")
    console.print(f"{outcome.wrong} got other bytes than the stored ones; {placed}")
