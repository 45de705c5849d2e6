"""What this process holds, said now and then: the first thing to look at when it grows, or seems to stand still."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

_DESCRIPTORS = Path("/proc/self/fd")
_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.vitals")


class Work(Protocol):
    """The supervisor, as far as it is looked at."""

    @property
    def active(self) -> int:
        """Generations and jobs that run or wait."""

    @property
    def waiting(self) -> int:
        """Those of them that wait for a place."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """`say` is a chore of the sweeper."""

    work: Work

    async def say(self) -> None:
        """One line: generations, those that wait, asyncio tasks, and open files where the system tells."""
        _log.info(
            "process.vitals",
            active=self.work.active,
            waiting=self.work.waiting,
            tasks=len(asyncio.all_tasks()),
            descriptors=descriptors(),
        )


def descriptors() -> int | None:
    """Open files of this process, None where the system does not tell (it does on Linux)."""
    return sum(1 for _ in _DESCRIPTORS.iterdir()) if _DESCRIPTORS.is_dir() else None
