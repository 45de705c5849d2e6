"""Work that is due whether anybody asks or not: named chores, done again and again while the server runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
import structlog

from storage.errors import StorageError

LONGEST_PAUSE_FACTOR = 8
"""A chore that keeps failing is tried ever less often, down to once in so many intervals."""

NEVER_LATER = 1
"""For a chore with a deadline, which no failure may put off: what keeps leases alive, and what looks at others'."""

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.sweeper")


@dataclass(frozen=True, slots=True)
class Chore:
    """`work` is called again and again and may raise: that is logged under `name`, and ends nothing.

    While it keeps failing the pauses grow, up to `longest_pause` intervals.
    """

    name: str
    work: Callable[[], Awaitable[None]]
    longest_pause: int = LONGEST_PAUSE_FACTOR


@asynccontextmanager
async def sweeping(chores: Sequence[Chore], every_seconds: float) -> AsyncIterator[None]:
    """Each chore by itself, beside the body, `every_seconds` after it was last done. Leaving cancels what runs."""
    async with anyio.create_task_group() as tasks:
        for chore in chores:
            tasks.start_soon(_repeat, chore, every_seconds, name=f"chore {chore.name}")
        yield
        tasks.cancel_scope.cancel()


async def _repeat(chore: Chore, every_seconds: float) -> None:
    pause = every_seconds
    while True:
        await anyio.sleep(pause)
        pause = every_seconds if await _done(chore) else min(pause * 2, every_seconds * chore.longest_pause)


async def _done(chore: Chore) -> bool:
    try:
        await chore.work()
    except StorageError as error:  # away: the next time may be better
        _log.warning("sweeper.chore_postponed", chore=chore.name, error=type(error).__name__)
        return False
    except Exception:  # also a defect: the other chores and everything that is served go on
        _log.exception("sweeper.chore_failed", chore=chore.name)
        return False
    return True
