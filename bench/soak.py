"""`python -m bench soak`: ten thousand generations of every kind, and whether anything grew.

Memory, descriptors, asyncio tasks and database connections are looked at all the while. What they were in the second
quarter of the run, past every warm-up, is compared with the last quarter, and what is held in silence afterwards with
the silence before. Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from uuid import uuid4

import httpx
import msgspec
import psutil
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.plot import Panel, svg
from bench.process_memory import anonymous_mib
from bench.soak_load import READ_SECONDS, SHARES, Soaker, UnexpectedEnd
from bench.stack import LOG, Stack, access_token, running_stack

VITALS_SECONDS = 1.0
"""How often the gateway says what only it knows."""

QUIET_SECONDS = 10.0
"""Before a look at what is held in silence: connections of the client rest for 5 s, pools close what they need not."""

LOOK_SECONDS = 0.25
"""Between two looks from outside."""

FEWEST_LOOKS = 8
"""Two in each quarter."""

_VITALS = re.compile(rb"process\.vitals.*?tasks=(?:\x1b\[\d+m)*(\d+)")
_CLIENT_BACKEND = re.compile(r"^postgres: \S+ \S+ (\[local\]|[\d.:a-f]+\(\d+\)) ")


@dataclass(frozen=True, slots=True)
class Look:
    """What the gateway held after so many generations. `memory` is in MiB, all else are counts."""

    generations: int
    memory: float
    descriptors: float
    tasks: float
    connections: float


GROWTH_UNDER_LOAD = {"memory": 3.0, "descriptors": 15.0, "tasks": 30.0, "connections": 6.0}
"""From the second quarter to the last: what the load's ups and downs leave between two medians. One descriptor or task
lost in a hundred generations would be 50 in a whole run, a kilobyte lost in each 5 MiB."""

GROWTH_IN_SILENCE = {"memory": 3.0, "descriptors": 8.0, "tasks": 8.0, "connections": 4.0}
"""From the silence past the warm-up to that at the end: what pools keep open for a while."""

TITLES = {
    "memory": "Memory of the gateway (MiB)",
    "descriptors": "Open files",
    "tasks": "asyncio tasks",
    "connections": "Database connections",
}


def main(argv: list[str]) -> int:
    """Print what was held. Exit status 1 when a figure grew, or a generation did not end as it must."""
    parser = argparse.ArgumentParser(prog="python -m bench soak", description=__doc__)
    parser.add_argument("--generations", type=int, default=10_000, help="how many (default 10000)")
    parser.add_argument("--at-once", type=int, default=24, help="of them at a time (default 24)")
    parser.add_argument("--speed", type=float, default=30.0, help="emulator pace, 1.0 being playback (default 30)")
    parser.add_argument("--seed", type=int, default=1, help="of the order of kinds (default 1)")
    parser.add_argument("--plot", type=Path, help="write the picture here (SVG)")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args(argv)
    environment = {
        "QWEN_STARTS_PER_SECOND": "1000",
        "QWEN_STARTS_PER_MINUTE": "60000",
        "UTTER_MAX_CONCURRENT_GENERATIONS": str(2 * options.at_once),
        "UTTER_CIRCUIT_FAILURES": "10000",  # failures are part of the load
        "UTTER_LOG_LEVEL": "info",
        "UTTER_VITALS_SECONDS": str(VITALS_SECONDS),
    }
    with running_stack(speed=options.speed, first_audio_delay=0.02, environment=environment) as stack:
        soak = asyncio.run(_soak(stack, options))
    Console().print(_table(soak))
    for failure, count in soak.failures.most_common():
        Console().print(f"{count} x {failure}")
    grown = growth(soak.looks, soak.before, soak.after)
    for sentence in grown:
        Console().print(sentence)
    if options.plot:
        options.plot.write_text(picture(soak.looks))
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(soak)))
    return 1 if grown or soak.failures else 0


@dataclass(frozen=True, slots=True)
class Soak:
    """One run. `before` and `after` are looks in silence: past the warm-up, and at the end."""

    seconds: float
    ended: Counter[str]
    failures: Counter[str]
    looks: list[Look]
    before: Look
    after: Look


def growth(looks: Sequence[Look], before: Look, after: Look) -> list[str]:
    """A sentence for each figure that grew by more than it may. Raises ValueError below `FEWEST_LOOKS` looks."""
    if len(looks) < FEWEST_LOOKS:
        raise ValueError(f"{len(looks)} looks are too few to compare quarters of them")
    second, last = quarters(looks)
    return [
        *_grown("under load", second, last, GROWTH_UNDER_LOAD),
        *_grown("in silence", [before], [after], GROWTH_IN_SILENCE),
    ]


def quarters(looks: Sequence[Look]) -> tuple[Sequence[Look], Sequence[Look]]:
    """The second quarter and the last."""
    size = max(1, len(looks) // 4)
    return looks[size : 2 * size], looks[-size:]


def middle(looks: Sequence[Look], name: str) -> float:
    """The median of one figure."""
    return float(statistics.median(getattr(look, name) for look in looks))


def _grown(when: str, earlier: Sequence[Look], later: Sequence[Look], allowed: dict[str, float]) -> list[str]:
    return [
        f"{TITLES[name]} grew {when}: from {middle(earlier, name):.1f} to {middle(later, name):.1f}"
        for name, most in allowed.items()
        if middle(later, name) > middle(earlier, name) + most
    ]


def picture(looks: Sequence[Look]) -> str:
    """The looks as an SVG document."""
    panels = [
        Panel(title, [(look.generations, getattr(look, name)) for look in looks]) for name, title in TITLES.items()
    ]
    return svg("What the gateway holds over the generations of a soak", "generations", panels)


async def _soak(stack: Stack, options: argparse.Namespace) -> Soak:
    async with AsyncExitStack() as opened:
        soakers = await _soakers(stack, options.at_once, opened)
        run = _Run(stack, soakers, _plan(options.generations, options.seed))
        began = time.monotonic()
        await run.go(max(options.generations // 10, options.at_once))
        before = await run.silence()
        await run.go(options.generations)
        return Soak(time.monotonic() - began, run.ended, run.failures, run.looks, before, await run.silence())


async def _soakers(stack: Stack, count: int, opened: AsyncExitStack) -> list[Soaker]:
    emulator = await opened.enter_async_context(httpx.AsyncClient(base_url=stack.emulator_rest_url))
    soakers = []
    for _ in range(count):
        headers = {"Authorization": f"Bearer {await asyncio.to_thread(access_token, stack.data_dir, uuid4())}"}
        client = httpx.AsyncClient(base_url=stack.base_url, headers=headers, timeout=READ_SECONDS)
        soakers.append(await Soaker.new_user(await opened.enter_async_context(client), emulator))
    return soakers


def _plan(generations: int, seed: int) -> list[str]:
    """Kinds in their proportion, in an order that the seed says."""
    twenty = [name for name, share in SHARES.items() for _ in range(share)]
    plan = [twenty[number % len(twenty)] for number in range(generations)]
    random.Random(seed).shuffle(plan)
    return plan


class _Run:
    """What has been asked so far, and what was seen meanwhile."""

    def __init__(self, stack: Stack, soakers: list[Soaker], plan: list[str]) -> None:
        self._stack = stack
        self._soakers = soakers
        self._plan = plan
        self._next = 0
        self._log = stack.data_dir / LOG
        self._log_position = 0
        self._tasks = 0
        self.ended: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.looks: list[Look] = []

    async def go(self, until: int) -> None:
        """Ask for generations up to number `until`, everybody for one at a time, and look on."""
        with Progress(console=Console(stderr=True)) as progress:
            bar = progress.add_task("generations", total=until - self._next)
            watching = asyncio.create_task(self._watch())
            async with asyncio.TaskGroup() as tasks:
                for soaker in self._soakers:
                    tasks.create_task(self._ask(soaker, until, lambda: progress.advance(bar)))
            watching.cancel()

    async def silence(self) -> Look:
        """What is held when nobody has asked for a while."""
        await asyncio.sleep(QUIET_SECONDS)
        return self._look()

    async def _ask(self, soaker: Soaker, until: int, advance: Callable[[], None]) -> None:
        while self._next < until:
            number, self._next = self._next, self._next + 1
            name = self._plan[number]
            try:
                await soaker.ask(name, number)
            except (UnexpectedEnd, httpx.HTTPError, TimeoutError) as error:
                self.failures[f"{name}: {type(error).__name__} {error}"] += 1
            else:
                self.ended[name] += 1
            advance()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.looks.append(self._look())

    def _look(self) -> Look:
        gateway = psutil.Process(self._stack.pid)
        return Look(
            generations=self.ended.total() + self.failures.total(),
            memory=anonymous_mib(self._stack.pid),
            descriptors=gateway.num_fds(),
            tasks=self._tasks_said(),
            connections=_connections(gateway),
        )

    def _tasks_said(self) -> int:
        """As of the gateway's last line about it."""
        with self._log.open("rb") as log:
            log.seek(self._log_position)
            new = log.read()
            self._log_position = log.tell()
        said = _VITALS.findall(new)
        if said:
            self._tasks = int(said[-1])
        return self._tasks


def _connections(gateway: psutil.Process) -> int:
    """Database connections of anybody: each is a process of the embedded server, which is the gateway's child."""
    return sum(bool(_CLIENT_BACKEND.match(" ".join(_command(child)))) for child in gateway.children(recursive=True))


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:  # it has ended since
        return []


def _table(soak: Soak) -> Table:
    title = f"{soak.ended.total()} generations in {soak.seconds:.0f} s"
    names = [field.name for field in fields(Look) if field.name != "generations"]
    table = Table("", *(TITLES[name] for name in names), title=title)
    second, last = quarters(soak.looks)
    rows = {
        "silence, past the warm-up": [soak.before],
        "second quarter, median": second,
        "last quarter, median": last,
        "silence, at the end": [soak.after],
    }
    for label, looks in rows.items():
        table.add_row(label, *(f"{middle(looks, name):.1f}" for name in names))
    return table
