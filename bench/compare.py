"""`python -m bench peers`: the gateway, its peers and the provider itself, at the same work in one run.

Each has a core of its own for as long as it is measured; load, source and database share the other one. The source
sends speech that was made once, at real pace, and says when. Sides take turns, in another order each round, and what
is compared is one round of one side with the same round of another: noise of the machine falls on both.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.cores import BESIDE, can_pin, pinned
from bench.relay_load import Load, Round, listen, play
from bench.sides import COMMON, DIRECT, FLOOR, GATEWAY, PEERS, Arena, Side, running_arena
from bench.source.session import Plan
from bench.statistics import Summary, summarize, summary_table

ONE = Plan(deltas=3, interval=0.02, first_audio_delay=0.1)
"""A stream by itself, only to hear it begin."""

REST_SECONDS = 0.1
"""Between two of those: what the one before it leaves to be done is no part of the next one."""

END_SECONDS = 30.0
"""Longest wait for one of those."""


@dataclass
class Results:
    """By the side's name, in the order of rounds."""

    rounds: dict[str, list[Round]] = field(default_factory=dict)
    first_ms: dict[str, list[float]] = field(default_factory=dict)


def main(argv: list[str]) -> int:
    """Print the tables, write JSON when asked to. Exit status 1 when a stream did not bring all of its speech."""
    parser = argparse.ArgumentParser(prog="python -m bench peers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=8, help="rounds that count; one before them does not (default 8)")
    parser.add_argument("--streams", type=int, default=50, help="streams at once (default 50)")
    parser.add_argument("--seconds", type=float, default=5.0, help="measured part of a round (default 5)")
    parser.add_argument("--firsts", type=int, default=40, help="streams alone, for first audio (default 40)")
    parser.add_argument("--sides", nargs="+", default=[DIRECT, GATEWAY, *PEERS], help="all of them, unless named")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args(argv)
    load = Load(options.streams, options.seconds)
    results = compare(options.sides, load, rounds=options.rounds, firsts=options.firsts)
    console = Console()
    _print(console, results, load)
    if options.json:
        options.json.write_text(json.dumps(figures(results), indent=2))
    return int(any(one.whole < one.streams for rounds in results.rounds.values() for one in rounds))


def compare(sides: Sequence[str], load: Load, *, rounds: int, firsts: int) -> Results:
    """Play it. Raises RuntimeError when a side does not start, TimeoutError when streams do not end."""
    with running_arena(sides, streams=load.streams) as arena, pinned(BESIDE):
        return uvloop.run(_compare(arena, load, rounds, firsts))


async def _compare(arena: Arena, load: Load, rounds: int, firsts: int) -> Results:
    results = Results({name: [] for name in arena.sides}, {name: [] for name in arena.sides})
    names = list(arena.sides)
    steps = track(range(rounds + 1), "rounds", console=Console(stderr=True)) if rounds else ()
    for number in steps:
        for name in in_turn(names, number):
            played = await play(arena, arena.sides[name], load)
            if number:  # the one before loads code and fills pools
                results.rounds[name].append(played)
    if firsts:
        await asyncio.to_thread(arena.source.plan, ONE)
        for number in track(range(firsts + 1), "first audio", console=Console(stderr=True)):
            for name in in_turn(names, number):
                first = await first_audio_ms(arena, arena.sides[name])
                if number:
                    results.first_ms[name].append(first)
    return results


def in_turn(names: Sequence[str], number: int) -> list[str]:
    """All of them, beginning with another one each time."""
    at = number % len(names)
    return [*names[at:], *names[:at]]


async def first_audio_ms(arena: Arena, side: Side) -> float:
    """From the request to the first byte of audio, one stream by itself. Raises RuntimeError for one without audio."""
    await asyncio.sleep(REST_SECONDS)
    heard = await listen(side, arena.source)
    async with asyncio.timeout(END_SECONDS):
        await heard.listener.over
    for at, size in heard.listener.arrivals:
        if size:
            return (at - heard.asked_ns) / 1e6
    raise RuntimeError(f"{side.name} brought no audio")


def ratios(results: Results, side: str, peer: str) -> list[float]:
    """CPU of a delta, round by round."""
    pairs = zip(results.rounds[side], results.rounds[peer], strict=True)
    return [one.cpu_us / other.cpu_us for one, other in pairs]


def added_ms(results: Results, side: str) -> list[float]:
    """Time to the first audio beyond the provider's own, pair by pair."""
    pairs = zip(results.first_ms[side], results.first_ms[DIRECT], strict=True)
    return [one - other for one, other in pairs]


def figures(results: Results) -> dict[str, Any]:
    """Everything that was measured, as JSON has it."""
    sides: dict[str, Any] = {}
    for name, rounds in results.rounds.items():
        delays = [ms for one in rounds for ms in one.delays_ms]
        sides[name] = {
            "cpu_us_per_delta": [round(one.cpu_us, 1) for one in rounds],
            "cpu_us_per_delta_with_beginnings": [round(one.cpu_whole_us, 1) for one in rounds],
            "memory_kb_per_stream": [round(one.memory_kb, 1) for one in rounds],
            "source_late_ms": [round(one.source_late_ms, 1) for one in rounds],
            "relay_ms": asdict(summarize(delays)) if delays else None,
            "first_audio_ms": [round(ms, 2) for ms in results.first_ms[name]],
        }
    return {"pinned": can_pin(), "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "sides": sides}


def _print(console: Console, results: Results, load: Load) -> None:
    if any(results.rounds.values()):
        console.print(_cpu_table(results, load))
        late = {name: [ms for one in rounds for ms in one.delays_ms] for name, rounds in results.rounds.items()}
        rows = {name: summarize(ms) for name, ms in late.items() if ms}
        console.print(summary_table("the source's send of a delta to the listener's receive", "ms", rows))
    if any(results.first_ms.values()):
        rows = {name: summarize(ms) for name, ms in results.first_ms.items() if ms}
        added: dict[str, Summary] = {}
        if DIRECT in results.first_ms:
            added = {f"{name}, added": summarize(added_ms(results, name)) for name in rows if name != DIRECT}
        title = f"request to first audio, {ONE.first_audio_delay * 1e3:.0f} ms of it the provider's"
        console.print(summary_table(title, "ms", {**rows, **added}))
    if not can_pin():
        console.print("There is one core only: nothing was pinned, and the load is a part of all this.")


def _cpu_table(results: Results, load: Load) -> Table:
    title = f"CPU of a delta, {load.streams} streams, one every {load.interval} s (us)"
    table = Table("", "median", "least", "most", *(f"gateway / {name}" for name in (COMMON, FLOOR)), title=title)
    for name, rounds in results.rounds.items():
        if name == DIRECT or not rounds:
            continue
        cpu = [one.cpu_us for one in rounds]
        cells = [f"{figure:.0f}" for figure in (statistics.median(cpu), min(cpu), max(cpu))]
        if name == GATEWAY:
            cells += [_spread(ratios(results, GATEWAY, peer)) for peer in (COMMON, FLOOR) if peer in results.rounds]
        table.add_row(name, *cells)
    return table


def _spread(found: Sequence[float]) -> str:
    return f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"
