"""Cores and CPU time of the processes of a bench. Linux only."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

import psutil

UNDER_TEST = 0
"""The core of whoever is measured, alone there but for what else this machine does."""

BESIDE = 1
"""The core of the load, the source, the database and everything else of ours."""


def can_pin() -> bool:
    """Whether there are two cores to tell apart."""
    return {UNDER_TEST, BESIDE} <= os.sched_getaffinity(0)


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Processes that are started in the body stay on this core; so do their threads and children. Does nothing where
    there is one core only."""
    before = os.sched_getaffinity(0)
    if core in before:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def family(pid: int) -> list[int]:
    """The process and all below it."""
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of these processes, all threads, to the nanosecond; those that ended count 0.

    The clock of another process has the number that clock_getcpuclockid(3) gives it; `/proc` counts in hundredths.
    """
    total = 0.0
    for pid in pids:
        with suppress(OSError):
            total += time.clock_gettime(~pid << 3 | 2)
    return total
