"""`python -m bench growth`: the same speech to more and more listeners, until one core is not enough.

One stream, then 10, 50, 200, 500 and so on, ten deltas a second each, all at real pace. The gateway has a core of its
own; what is asked is up to which number every delta is passed on in time, and what a stream costs there.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.cores import BESIDE, can_pin, pinned
from bench.relay_load import Load, Round, play
from bench.sides import GATEWAY, PEERS, Arena, running_arena
from bench.statistics import Summary, summarize

DELTAS_PER_SECOND = 10

MOST_P99_MS = 10.0
"""Of a delta, from the source's send to the listener's receive, at a load that counts as carried (issue 8)."""

MOST_LATE_MS = 100.0
"""Of any delta, at such a load."""

BASE_STREAMS = 50
"""What the cost of a stream is compared with."""


@dataclass(frozen=True, slots=True)
class Step:
    """So many streams at once."""

    played: Round
    late: Summary

    @property
    def carried(self) -> bool:
        """Whether every delta was in time, and every stream whole."""
        in_time = self.late.p99 <= MOST_P99_MS and self.late.largest <= MOST_LATE_MS
        return in_time and self.played.whole == self.played.streams

    @property
    def cost(self) -> float:
        """Cores that a stream takes."""
        return self.played.cores / self.played.streams


def main(argv: list[str]) -> int:
    """Print a line per step, write JSON when asked to. Exit status 0."""
    parser = argparse.ArgumentParser(prog="python -m bench growth", description=__doc__)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 10, 50, 200, 300, 400, 500], help="steps to take")
    parser.add_argument("--seconds", type=float, default=5.0, help="measured part of a step (default 5)")
    parser.add_argument("--side", default=GATEWAY, choices=[GATEWAY, *PEERS], help="who is measured")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args(argv)
    with running_arena([options.side], streams=max(options.streams)) as arena, pinned(BESIDE):
        steps = uvloop.run(_grow(arena, options))
    console = Console()
    console.print(_table(steps, options.side))
    console.print(_verdict(steps))
    if not can_pin():
        console.print("There is one core only: nothing was pinned, and the load is a part of all this.")
    if options.json:
        options.json.write_text(json.dumps([_figures(step) for step in steps], indent=2))
    return 0


async def _grow(arena: Arena, options: argparse.Namespace) -> list[Step]:
    side = arena.sides[options.side]
    await play(arena, side, _load(options.streams[0], options.seconds))  # loads code and fills pools
    steps = []
    for streams in track(options.streams, "steps", console=Console(stderr=True)):
        played = await play(arena, side, _load(streams, options.seconds))
        steps.append(Step(played, summarize(played.delays_ms)))
    return steps


def _load(streams: int, seconds: float) -> Load:
    return Load(streams, seconds, interval=1 / DELTAS_PER_SECOND)


def _table(steps: list[Step], side: str) -> Table:
    title = f"{side}: {DELTAS_PER_SECOND} deltas a second for each stream"
    table = Table(
        "streams", "whole", "us a delta", "core", "p50 ms", "p99 ms", "longest ms", "source late ms", title=title
    )
    for step in steps:
        figures = (step.late.p50, step.late.p99, step.late.largest, step.played.source_late_ms)
        table.add_row(
            str(step.played.streams),
            str(step.played.whole),
            f"{step.played.cpu_us:.0f}",
            f"{step.played.cores:.2f}",
            *(f"{figure:.1f}" for figure in figures),
        )
    return table


def _verdict(steps: list[Step]) -> str:
    """The largest step that was carried, with what a stream costs there."""
    carried = [step for step in steps if step.carried]
    if not carried:
        return f"No step had p99 under {MOST_P99_MS:.0f} ms and nothing over {MOST_LATE_MS:.0f} ms late."
    most = max(carried, key=lambda step: step.played.streams)
    said = (
        f"{most.played.streams} streams with p99 under {MOST_P99_MS:.0f} ms and nothing over {MOST_LATE_MS:.0f} ms late"
    )
    base = next((step for step in steps if step.played.streams == BASE_STREAMS), None)
    return said + (
        f"; a stream costs {most.cost / base.cost:.2f} times what it does at {BASE_STREAMS}." if base else "."
    )


def _figures(step: Step) -> dict[str, Any]:
    return {
        "streams": step.played.streams,
        "whole": step.played.whole,
        "cpu_us_per_delta": step.played.cpu_us,
        "cores": step.played.cores,
        "source_late_ms": step.played.source_late_ms,
        "p50_ms": step.late.p50,
        "p99_ms": step.late.p99,
        "largest_ms": step.late.largest,
        "carried": step.carried,
    }
