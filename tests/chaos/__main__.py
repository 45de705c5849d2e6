"""`make chaos`: break the service again and again, and judge what is left.

    python -m tests.chaos [--moments 100] [--seed 1] [--write] [scenario ...]

Exit status 1 when anything is not as the product promises. `--write` puts the table into docs/reliability.md.
"""

from __future__ import annotations

import argparse
import os
import random
import secrets
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import anyio

from tests.chaos.load import Load
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.verdict import leftovers, problems
from tests.chaos.world import S3_KEY, SPEED, open_world

REPORT = Path(__file__).parents[2] / "docs" / "reliability.md"

BEGIN, END = "<!-- runs: begin -->", "<!-- runs: end -->"


@dataclass(frozen=True)
class Stage:
    """The gateways of a scenario, who uses them (see `Load`), how fast the provider speaks, in times playback, and what
    must come of nobody's wish."""

    gateways: int = 2
    users: int = 6
    streams_of: int = 2
    speed: float = SPEED
    never: frozenset[str] = frozenset()


STAGES = {
    "drain": Stage(gateways=1, users=64, streams_of=64, speed=1.5, never=frozenset({"resumed", "gone", "at its end"}))
}
"""Slow enough that fifty play at once, fast enough that each ends within the drain limit, uncut."""

MOMENTS = {"kill": 100, "database": 30, "store": 30, "provider": 30, "restart": 10, "drain": 5, "everything": 40}
"""Times something is broken in a run of each scenario, unless asked for otherwise."""


@dataclass(frozen=True)
class Run:
    """One scenario, and what came of it."""

    scenario: str
    moments: int
    seed: int
    asked: int
    outcomes: Counter[str]
    seconds: float
    problems: list[str]

    @property
    def row(self) -> str:
        outcomes = ", ".join(f"{count} {name}" for name, count in self.outcomes.most_common())
        verdict = "all as promised" if not self.problems else f"{len(self.problems)} problems"
        return (
            f"| {self.scenario} | {self.moments} | {self.seed} | {self.asked} | {outcomes} | {self.seconds:.0f} s "
            f"| {verdict} |"
        )


async def run(scenario: str, moments: int, seed: int, folder: Path) -> Run:
    """One scenario in a world of its own."""
    rng = random.Random(seed)
    stage = STAGES.get(scenario, Stage())
    began = time.monotonic()
    async with open_world(folder, gateways=stage.gateways, users=stage.users, speed=stage.speed) as world:
        load = Load(world, random.Random(rng.random()), stage.streams_of)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(load.run)
            await anyio.sleep(1.0)
            await SCENARIOS[scenario](world, rng, moments)
            load.stopping = True
        found = await problems(world, load) + leftovers(folder)
    outcomes = Counter(asked.outcome for asked in load.asked)
    found += [f"{outcomes[outcome]} came to {outcome}" for outcome in stage.never & outcomes.keys()]
    return Run(scenario, moments, seed, len(load.asked), outcomes, time.monotonic() - began, found)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("scenarios", nargs="*", choices=[*SCENARIOS, []], default=[])
    parser.add_argument("--moments", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    os.environ |= S3_KEY  # the judge reads the objects, too
    runs = []
    for scenario in options.scenarios or SCENARIOS:
        seed = options.seed if options.seed is not None else secrets.randbelow(10**6)
        with tempfile.TemporaryDirectory(prefix="utter-chaos-") as folder:
            one = anyio.run(run, scenario, options.moments or MOMENTS[scenario], seed, Path(folder))
        print(one.row, flush=True)
        for problem in one.problems:
            print(f"    {problem}", flush=True)
        runs.append(one)
    if options.write:
        _write(runs)
    return 1 if any(one.problems for one in runs) else 0


def _write(runs: list[Run]) -> None:
    text = REPORT.read_text()
    head, tail = text[: text.index(BEGIN)], text[text.index(END) :]
    table = "\n".join(
        [
            "| scenario | moments | seed | wishes | what came of them | time | verdict |",
            "|---|---|---|---|---|---|---|",
            *(one.row for one in runs),
        ]
    )
    REPORT.write_text(f"{head}{BEGIN}\n{table}\n{tail}")


if __name__ == "__main__":
    sys.exit(main())
