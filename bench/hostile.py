"""`python -m bench hostile`: streams at real pace while thousands of connections try to be in their way.

Three phases: the streams alone, the streams while the connections of `bench.hostile_clients` are held open, and the
streams once more when those are gone. A stream must never run dry in a player that starts as the page's does, what it
brought must be what was stored, and the gateway must give back every descriptor it was made to open.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
from rich.console import Console
from rich.table import Table

from bench.stack import Stack, running_stack
from bench.texts import english
from protocol.mp3 import Mp3FrameReader

START_SECONDS = 0.6
"""Sound in hand with which playback starts: what the page waits for (`ENOUGH_SECONDS` in player.js)."""

READ_SECONDS = 60.0
"""Longest silence on a stream before it counts as broken."""

OPEN_SECONDS = 180.0
"""How long the hostile connections may take to be opened once."""

SETTLE_SECONDS = 60.0
"""How long streams may take to be stored, and the gateway to give back its descriptors."""

MOST_LEFT_DESCRIPTORS = 16
"""How many more than before may stay open: pools of the database and of the provider that grew meanwhile."""

SAMPLE_SECONDS = 0.2

ACTIVE = ("pending", "processing")
"""A task whose audio was heard to the end may still say either: its row follows the audio."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One stream. `lowest_reserve` is the least sound, seconds, that was ever left in the player; below 0 it ran dry.
    `same` says that what was heard is what was stored."""

    seconds: float
    first_audio_ms: float
    lowest_reserve: float
    same: bool


@dataclass(frozen=True, slots=True)
class Phase:
    """What happened to the streams, and what the gateway took meanwhile. `cpu` is in cores."""

    name: str
    streams: int
    whole: int
    underruns: int
    lowest_reserve: float
    slowest_first_audio_ms: float
    most_descriptors: int
    most_mib: float
    cpu: float


class Player:
    """Playback by the clock: when it starts, and how much sound is left whenever more arrives."""

    def __init__(self) -> None:
        self._frames = Mp3FrameReader()
        self._started: float | None = None
        self.lowest_reserve = float("inf")

    @property
    def seconds(self) -> float:
        """Sound received so far."""
        return self._frames.duration_seconds

    def take(self, piece: bytes, now: float) -> None:
        """More of the stream has arrived at `now`, seconds of any clock."""
        if self._started is not None:
            self.lowest_reserve = min(self.lowest_reserve, self.seconds - (now - self._started))
        self._frames.feed(piece)
        if self._started is None and self.seconds >= START_SECONDS:
            self._started = now


def main(argv: list[str]) -> int:
    """Print the table. Exit status 1 when a stream ran dry, broke or differs, or descriptors stayed open."""
    parser = argparse.ArgumentParser(prog="python -m bench hostile", description=__doc__)
    parser.add_argument("--connections", type=int, default=10_000, help="hostile connections (default 10000)")
    parser.add_argument("--streams", type=int, default=20, help="streams at once (default 20)")
    parser.add_argument("--characters", type=int, default=600, help="length of each text (default 600)")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args(argv)
    environment = {
        "QWEN_STARTS_PER_SECOND": "1000",
        "QWEN_STARTS_PER_MINUTE": "60000",
        "UTTER_MAX_CONCURRENT_GENERATIONS": str(max(64, options.streams)),
        "UTTER_LOG_LEVEL": "warning",
    }
    with running_stack(environment=environment) as stack:
        asyncio.run(_phase("warm-up", stack, options.streams, 100))
        left_before = _descriptors(stack)
        phases = [asyncio.run(_phase("alone", stack, options.streams, options.characters))]
        with _attack(stack, options.connections) as attack:
            phases.append(asyncio.run(_phase("attacked", stack, options.streams, options.characters)))
        left_after = _wait_for_descriptors(stack, left_before + MOST_LEFT_DESCRIPTORS)
        phases.append(asyncio.run(_phase("afterwards", stack, options.streams, 100)))
    Console().print(_table(phases))
    Console().print(_crowd_table(attack))
    Console().print(f"descriptors before {left_before}, after {left_after} (at most {MOST_LEFT_DESCRIPTORS} more)")
    if options.json:
        figures = {"phases": [asdict(phase) for phase in phases], "attack": attack}
        options.json.write_text(json.dumps({**figures, "descriptors": [left_before, left_after]}, indent=2))
    fine = all(phase.whole == phase.streams and not phase.underruns for phase in phases)
    return 0 if fine and left_after <= left_before + MOST_LEFT_DESCRIPTORS else 1


@contextmanager
def _attack(stack: Stack, connections: int) -> Iterator[dict[str, Any]]:
    """Hold the connections for the body, which begins when all were opened once. Afterwards their last report is in
    the mapping. Raises RuntimeError when they could not be opened."""
    address = urlsplit(stack.base_url)
    command = [sys.executable, "-m", "bench.hostile_clients", "--host", str(address.hostname)]
    command += ["--port", str(address.port), "--connections", str(connections)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    report: dict[str, Any] = {}
    try:
        # A watchdog and no more: reading with a deadline would need a thread.
        asyncio.run(_first_line(process))
        yield report
        ended, _ = process.communicate("", timeout=SETTLE_SECONDS)
        report.update(json.loads(ended.splitlines()[-1]))
    finally:
        process.kill()
        process.wait()


async def _first_line(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None  # noqa: S101 - asked for above
    try:
        async with asyncio.timeout(OPEN_SECONDS):
            line = await asyncio.to_thread(process.stdout.readline)
    except TimeoutError:
        process.kill()
        raise RuntimeError(f"the hostile connections could not be opened within {OPEN_SECONDS} s") from None
    if not line:
        raise RuntimeError("the hostile connections could not be opened: see above")


async def _phase(name: str, stack: Stack, streams: int, characters: int) -> Phase:
    gateway = psutil.Process(stack.pid)
    voices = [row["id"] for row in stack.voices()]
    cpu_before, began = _cpu(gateway), time.monotonic()
    limits = httpx.Limits(max_connections=None)
    async with (
        httpx.AsyncClient(
            base_url=stack.base_url, headers=stack.headers, timeout=READ_SECONDS, limits=limits
        ) as client,
        _sampled(gateway) as samples,
    ):
        results = await asyncio.gather(
            *(_listen(client, voices[number % len(voices)], english(characters)) for number in range(streams)),
            return_exceptions=True,
        )
        cpu = (_cpu(gateway) - cpu_before) / (time.monotonic() - began)
    for result in results:
        if isinstance(result, BaseException):
            Console(stderr=True).print(f"{name}: a stream failed: {result!r}")
    heard = [result for result in results if isinstance(result, Heard)]
    return Phase(
        name=name,
        streams=streams,
        whole=sum(one.same for one in heard),
        underruns=sum(one.lowest_reserve < 0 for one in heard),
        lowest_reserve=min((one.lowest_reserve for one in heard), default=0.0),
        slowest_first_audio_ms=max((one.first_audio_ms for one in heard), default=0.0),
        most_descriptors=max(descriptors for descriptors, _ in samples),
        most_mib=max(mib for _, mib in samples),
        cpu=cpu,
    )


@asynccontextmanager
async def _sampled(gateway: psutil.Process) -> AsyncIterator[list[tuple[int, float]]]:
    """Descriptors and resident MiB of the gateway, again and again during the body."""
    samples: list[tuple[int, float]] = []

    async def sample() -> None:
        while True:
            samples.append((gateway.num_fds(), gateway.memory_info().rss / 2**20))
            await asyncio.sleep(SAMPLE_SECONDS)

    task = asyncio.create_task(sample())
    try:
        yield samples
    finally:
        task.cancel()


async def _listen(client: httpx.AsyncClient, voice: str, text: str) -> Heard:
    """Play one stream to its end and compare it with what was stored. Raises when it broke."""
    player, digest, first = Player(), hashlib.sha256(), 0.0
    began = time.monotonic()
    body = {"voice_id": voice, "text": text, "language": "English"}
    async with client.stream("POST", "/api/generate/stream", json=body) as response:
        response.raise_for_status()
        async for piece in response.aiter_raw():
            now = time.monotonic()
            first = first or now - began
            player.take(piece, now)
            digest.update(piece)
    await _stored(client, response.headers["X-Utter-Task-Id"])
    audio_url = f"/api/generations/{response.headers['X-Utter-Generation-Id']}/audio"
    stored = await client.get(audio_url, follow_redirects=True)
    stored.raise_for_status()
    same = hashlib.sha256(stored.content).digest() == digest.digest()
    return Heard(player.seconds, first * 1000, player.lowest_reserve, same)


async def _stored(client: httpx.AsyncClient, task_id: str) -> None:
    async with asyncio.timeout(SETTLE_SECONDS):
        while (task := (await client.get(f"/api/tasks/{task_id}")).json())["status"] in ACTIVE:  # noqa: ASYNC110 - polls the API
            await asyncio.sleep(SAMPLE_SECONDS)
    if task["status"] != "completed":
        raise RuntimeError(f"the task says {task}")


def _descriptors(stack: Stack) -> int:
    return psutil.Process(stack.pid).num_fds()


def _wait_for_descriptors(stack: Stack, most: int) -> int:
    """How many are open as soon as they are at most `most`, or when `SETTLE_SECONDS` are over."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while (found := _descriptors(stack)) > most and time.monotonic() < deadline:
        time.sleep(SAMPLE_SECONDS)
    return found


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _table(phases: list[Phase]) -> Table:
    table = Table(
        "phase", "streams", "whole", "underruns", "least reserve s", "first audio ms", "descriptors", "MiB", "cores"
    )
    for row in phases:
        table.add_row(
            row.name,
            str(row.streams),
            str(row.whole),
            str(row.underruns),
            f"{row.lowest_reserve:.2f}",
            f"{row.slowest_first_audio_ms:.0f}",
            str(row.most_descriptors),
            f"{row.most_mib:.1f}",
            f"{row.cpu:.2f}",
        )
    return table


def _crowd_table(report: dict[str, Any]) -> Table:
    table = Table("hostile", "open at the end", "opened", "ended by the server", "answers")
    for name, opened in report["opened"].items():
        answers = ", ".join(f"{count} x {status}" for status, count in report["answers"].get(name, {}).items())
        table.add_row(name, str(report["open"].get(name, 0)), str(opened), str(report["ended"].get(name, 0)), answers)
    return table
