"""`python -m bench guard`: whether the gateway has become slower, against what most people would write, in a minute.

Only ratios of the same run are looked at, so that it may run on any machine. `bench/guard.json` has their bounds:
what was measured, with room for the noise of a small machine. One that was made worse on purpose has to say why there.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.compare import Results, compare, ratios
from bench.relay_load import Load
from bench.sides import COMMON, GATEWAY

BOUNDS = Path(__file__).with_name("guard.json")

LOAD = Load(streams=30, seconds=1.5)

ROUNDS = 3
"""Played before anything is judged: the median of three takes one that something else disturbed."""

TRIES = 3
"""How often that is done anew before a ratio is called worse; a real change fails them all."""

FIRSTS = 12


def main(argv: list[str]) -> int:
    """Print what was found. Exit status 1 when a ratio is above its bound each time."""
    parser = argparse.ArgumentParser(prog="python -m bench guard", description=__doc__)
    parser.add_argument("--bounds", type=Path, default=BOUNDS, help="another file of bounds")
    parser.add_argument("--tries", type=int, default=TRIES, help=f"how often to look (default {TRIES})")
    options = parser.parse_args(argv)
    bounds: dict[str, float] = {name: row["at_most"] for name, row in json.loads(options.bounds.read_text()).items()}
    console = Console()
    for _ in range(options.tries):
        results = compare([GATEWAY, COMMON], LOAD, rounds=ROUNDS, firsts=FIRSTS)
        found = measured(results)
        worse = too_much(found, bounds)
        console.print(_table(found, bounds))
        if not worse:
            return 0
    console.print(f"[red]Worse than its bound: {', '.join(worse)}. `python -m bench peers` has the details.[/red]")
    return 1


def measured(results: Results) -> dict[str, float]:
    """The ratios that are guarded: gateway against its peer, medians of pairs."""
    first = {name: statistics.median(ms) for name, ms in results.first_ms.items()}
    return {
        "cpu_per_delta": statistics.median(ratios(results, GATEWAY, COMMON)),
        "first_audio": first[GATEWAY] / first[COMMON],
        "relay_p50": _median_delay(results, GATEWAY) / _median_delay(results, COMMON),
    }


def too_much(found: Mapping[str, float], bounds: Mapping[str, float]) -> Sequence[str]:
    """Names of those above their bounds. Raises KeyError when one has no bound or a bound has no ratio."""
    if found.keys() != bounds.keys():
        raise KeyError(f"bounds for {sorted(bounds)}, measured are {sorted(found)}")
    return [name for name, ratio in found.items() if ratio > bounds[name]]


def _median_delay(results: Results, side: str) -> float:
    return statistics.median(ms for one in results.rounds[side] for ms in one.delays_ms)


def _table(found: Mapping[str, float], bounds: Mapping[str, float]) -> Table:
    table = Table("", "found", "at most", title=f"gateway against {COMMON}")
    for name, ratio in found.items():
        table.add_row(name, f"{ratio:.2f}", f"{bounds[name]:.2f}")
    return table
