"""Whether the connection that listens for cancellations is there."""

from __future__ import annotations

import anyio

from tests.support.exchange import WAIT_SECONDS
from tests.support.migrations import connected
from tests.support.postgres import TestDatabase
from tests.support.workshop import LOOK_SECONDS

_LISTENER = """
select pid from pg_stat_activity
where application_name = 'utter listener' and datname = current_database() and query like 'LISTEN%' and state = 'idle'
and pid <> $1
"""


async def until_it_listens(database: TestDatabase, other_than: int = 0) -> int:
    """The server's process of that connection."""
    async with connected(database) as sql:
        with anyio.fail_after(WAIT_SECONDS):
            while (pid := await sql.value(_LISTENER, other_than)) is None:
                await _look()
    return int(pid)


async def until_nobody_listens(database: TestDatabase) -> None:
    """The server notices a moment late that a connection was ended: what is asked for next may be the one before."""
    async with connected(database) as sql:
        with anyio.fail_after(WAIT_SECONDS):
            while await sql.value(_LISTENER, 0) is not None:
                await _look()


async def _look() -> None:
    """Let some time pass before the next look."""
    await anyio.sleep(LOOK_SECONDS)
