"""What memory a process has to itself, as the kernel counts it. Linux only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

LOOK_SECONDS = 0.1
"""Between two looks. What a thousand connections take, they take for longer."""


def anonymous_mib(pid: int) -> float:
    """Memory that no file backs: what the process holds and the system cannot take back."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("this kernel does not report RssAnon")


@dataclass
class Peak:
    """The most that was seen, in MiB."""

    mib: float = 0.0


@asynccontextmanager
async def watched(pid: int) -> AsyncIterator[Peak]:
    """The peak of `anonymous_mib` in the body."""
    peak = Peak(anonymous_mib(pid))

    async def watch() -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            peak.mib = max(peak.mib, anonymous_mib(pid))

    watching = asyncio.create_task(watch())
    try:
        yield peak
    finally:
        watching.cancel()
