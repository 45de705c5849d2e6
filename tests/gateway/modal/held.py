"""A table that somebody else has locked for as long as a test wants."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import asyncpg

from tests.support.exchange import WAIT_SECONDS
from tests.support.postgres import TestDatabase
from tests.support.workshop import LOOK_SECONDS


class HeldTasks:
    """No row of `tasks` can be changed between `begin` and what `end_when` waits for."""

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        self._connection = connection

    async def begin(self) -> None:
        """Take the lock."""
        await self._connection.execute("begin")
        await self._connection.execute("lock table public.tasks in share row exclusive mode")

    async def somebody_waits(self) -> None:
        """Return when somebody wants it too."""
        waiting = "select exists (select from pg_locks where not granted)"
        with anyio.fail_after(WAIT_SECONDS):
            while not await self._connection.fetchval(waiting):
                await _look()

    async def end_when(self, so: Callable[[], bool]) -> None:
        """Give it back."""
        with anyio.fail_after(WAIT_SECONDS):
            while not so():
                await _look()
        await self._connection.execute("rollback")


async def _look() -> None:
    """Let some time pass before the next look."""
    await anyio.sleep(LOOK_SECONDS)


@asynccontextmanager
async def held_tasks(database: TestDatabase) -> AsyncIterator[HeldTasks]:
    """Nothing is held yet; leaving gives back what is."""
    connection = await asyncpg.connect(database.admin_url)
    try:
        yield HeldTasks(connection)
    finally:
        await connection.close()
