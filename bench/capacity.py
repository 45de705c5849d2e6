"""`python -m bench capacity`: many streams at once, the same load several times in one process.

The second round shows what the first one left behind: with nothing leaking, the gateway's peak memory of a later
round is no higher than the first's, and what it holds after a round is what it held before. A round before the first
is not counted: it fills pools and loads code. Peaks come from the kernel (`VmHWM`, reset before each round), so Linux
only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import psutil
from rich.console import Console
from rich.table import Table

from bench.stack import Stack, running_stack
from bench.texts import english

READ_SECONDS = 120.0
"""Longest silence on a stream before it counts as broken: 50 cold texts wait for one speech worker."""

SETTLE_SECONDS = 60.0
"""How long finished streams may take to be stored before a round is judged."""

POLL_SECONDS = 0.1

ACTIVE = ("pending", "processing")
"""A task whose audio was heard to the end may still say either: its row follows the audio."""

MOST_GROWTH = 0.25
"""How far a later peak may lie above the first, as a share of the audio of one round: 1.0 if that audio were kept.
Measured with 50 streams of 19 MB: 0.01 at real pace; 0.1 at eight times, where the streams do not end together."""


@dataclass(frozen=True, slots=True)
class Round:
    """One round. `completed` streams ended cleanly with their whole audio stored."""

    streams: int
    completed: int
    seconds: float
    megabytes: float
    peak_mib: float
    after_mib: float
    gateway_cpu_seconds: float


def main(argv: list[str]) -> int:
    """Print a line per round. Exit status 1 when a stream did not complete or memory grew by over `MOST_GROWTH`."""
    parser = argparse.ArgumentParser(prog="python -m bench capacity", description=__doc__)
    parser.add_argument("--streams", type=int, default=50, help="streams at once (default 50)")
    parser.add_argument("--rounds", type=int, default=3, help="how often (default 3)")
    parser.add_argument("--characters", type=int, default=400, help="length of each text (default 400)")
    parser.add_argument("--speed", type=float, default=1.0, help="emulator pace, 1.0 being playback (default)")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args(argv)
    environment = {
        "QWEN_STARTS_PER_SECOND": "1000",
        "QWEN_STARTS_PER_MINUTE": "60000",
        "UTTER_MAX_CONCURRENT_GENERATIONS": str(options.streams),
    }
    with running_stack(speed=options.speed, environment=environment) as stack:
        asyncio.run(_round(stack, options))
        rounds = [asyncio.run(_round(stack, options)) for _ in range(options.rounds)]
    growth = memory_growth(rounds)
    Console().print(_table(rounds))
    Console().print(f"highest later peak against the first: {growth:+.2f} of a round's audio (limit {MOST_GROWTH})")
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rounds], indent=2))
    return 0 if all(row.completed == row.streams for row in rounds) and growth <= MOST_GROWTH else 1


def memory_growth(rounds: list[Round]) -> float:
    """By how much the highest later peak exceeds the first, as a share of the first round's audio; 0 for one round."""
    first, *later = rounds
    if not (later and first.megabytes):
        return 0.0
    return (max(row.peak_mib for row in later) - first.peak_mib) * 2**20 / 1e6 / first.megabytes


async def _round(stack: Stack, options: argparse.Namespace) -> Round:
    gateway = psutil.Process(stack.pid)
    voices = [row["id"] for row in stack.voices()]
    cpu_before = _cpu(gateway)
    _reset_peak(stack.pid)
    began = time.monotonic()
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(
        base_url=stack.base_url, headers=stack.headers, timeout=READ_SECONDS, limits=limits
    ) as client:
        results = await asyncio.gather(
            *(_stream(client, voices[number % len(voices)], options.characters) for number in range(options.streams)),
            return_exceptions=True,
        )
    sizes = [result for result in results if isinstance(result, int)]
    for result in results:
        if isinstance(result, BaseException):
            Console(stderr=True).print(f"a stream failed: {result!r}")
    return Round(
        streams=options.streams,
        completed=len(sizes),
        seconds=time.monotonic() - began,
        megabytes=sum(sizes) / 1e6,
        peak_mib=_peak_mib(stack.pid),
        after_mib=gateway.memory_info().rss / 2**20,
        gateway_cpu_seconds=_cpu(gateway) - cpu_before,
    )


async def _stream(client: httpx.AsyncClient, voice: str, characters: int) -> int:
    """Bytes of one whole stream, whose task says the same number. Raises when it broke or was not stored."""
    size = 0
    body = {"voice_id": voice, "text": english(characters), "language": "English"}
    async with client.stream("POST", "/api/generate/stream", json=body) as response:
        response.raise_for_status()
        async for piece in response.aiter_raw():
            size += len(piece)
    task_url = f"/api/tasks/{response.headers['X-Utter-Task-Id']}"
    async with asyncio.timeout(SETTLE_SECONDS):
        while (task := (await client.get(task_url)).json())["status"] in ACTIVE:  # noqa: ASYNC110 - polls the API
            await asyncio.sleep(POLL_SECONDS)
    if task["status"] != "completed" or task["result"]["audio_bytes"] != size:
        raise RuntimeError(f"heard {size} bytes, but the task says {task}")
    return size


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _reset_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _peak_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("this kernel does not report VmHWM")


def _table(rounds: list[Round]) -> Table:
    table = Table("round", "streams", "completed", "seconds", "MB", "peak MiB", "after MiB", "gateway CPU s")
    for number, row in enumerate(rounds, 1):
        table.add_row(
            str(number),
            str(row.streams),
            str(row.completed),
            f"{row.seconds:.1f}",
            f"{row.megabytes:.1f}",
            f"{row.peak_mib:.1f}",
            f"{row.after_mib:.1f}",
            f"{row.gateway_cpu_seconds:.2f}",
        )
    return table
