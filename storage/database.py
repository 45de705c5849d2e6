"""The connection pool, and the unit of work everything else in `storage` runs in.

Work for a user runs as the role `utter_api` with the user's id in the request's claims, so row level security
applies to every statement; background work runs as the login itself, which may only call the service functions of
schema `utter`. Both are one transaction, and end whole even when the task that runs them is cancelled.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import anyio
import asyncpg
import msgspec

from schema.queries import Query, load
from storage.errors import ActiveTaskExists, AlreadyExists, DatabaseUnavailable, UnknownUser, translated

__all__ = ["ActiveTaskExists", "AlreadyExists", "Database", "DatabaseUnavailable", "Transaction", "UnknownUser"]

CONNECT_SECONDS = 5.0
"""One connection attempt. A healthy database answers in milliseconds, also across zones."""

ACQUIRE_SECONDS = 5.0
"""Wait for a free connection. Units of work take milliseconds: a longer queue is an outage, answered with 503."""

COMMAND_SECONDS = 10.0
"""One statement. Every query here is an index look-up or a page of 100 rows."""

FINISH_SECONDS = 5.0
"""Begin, commit, rollback and hand-back, which are shielded from cancellation and so need a bound of their own."""

STATEMENT_CACHE = 100
"""Prepared statements kept per connection, statements. Behind a transaction pooler it must be 0."""

IDLE_SECONDS = 300.0
"""A connection unused this long is closed: a burst does not hold the server's connections for ever."""

Row = TypeVar("Row")

_LIMIT_SILENCE: Query[str] = load("session.limit_silence", str)
_PING: Query[int] = load("session.ping", int)
_BECOME_USER: Query[bool] = load("session.become_user", bool)

if TYPE_CHECKING:  # generic in the stubs only
    from asyncpg.pool import PoolConnectionProxy

    Connection = PoolConnectionProxy[asyncpg.Record]


class Transaction:
    """One open transaction. Raises what `storage.errors` lists; values go in by parameter name."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def fetch(self, query: Query[Row], **values: object) -> list[Row]:
        """All rows."""
        with translated():
            records = await self._connection.fetch(query.sql, *query.arguments(values))
        return [query.decode(dict(record)) for record in records]

    async def fetch_one(self, query: Query[Row], **values: object) -> Row | None:
        """The only row, None when there is none."""
        with translated():
            record = await self._connection.fetchrow(query.sql, *query.arguments(values))
        return None if record is None else query.decode(dict(record))

    async def fetch_value(self, query: Query[Row], **values: object) -> Row:
        """The only row of a query that always gives one, such as a count or a service function."""
        row = await self.fetch_one(query, **values)
        if row is None:
            raise LookupError(f"{query.name} gave no row")
        return row


class Database:
    """A pool of connections to one database. Runs on asyncio only, as asyncpg does."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        self._pool = pool

    @classmethod
    @asynccontextmanager
    async def open(
        cls, url: str, *, max_connections: int, statement_cache_size: int = STATEMENT_CACHE
    ) -> AsyncIterator[Database]:
        """Connect once to prove the URL, then hand out up to `max_connections` as they are needed.

        `statement_cache_size` is 0 behind a transaction pooler, where a prepared statement is not there the next
        time. Raises `DatabaseUnavailable`.
        """
        pool = asyncpg.create_pool(
            url,
            min_size=1,
            max_size=max_connections,
            timeout=CONNECT_SECONDS,
            command_timeout=COMMAND_SECONDS,
            max_inactive_connection_lifetime=IDLE_SECONDS,
            statement_cache_size=statement_cache_size,
            server_settings={"application_name": "utter", "timezone": "UTC"},
            init=_prepare,
            reset=_keep_session,
        )
        with translated():
            await pool
        try:
            yield cls(pool)
        finally:
            await _close(pool)

    @asynccontextmanager
    async def as_user(self, user_id: UUID) -> AsyncIterator[Transaction]:
        """A transaction in which only this user's rows exist. Commits at the end of the body, else rolls back.

        Raises `UnknownUser` for a user that was deleted: their token outlives them.
        """
        claims = msgspec.json.encode({"sub": str(user_id), "role": "authenticated"}).decode()
        async with self._unit() as transaction:
            if not await transaction.fetch_value(_BECOME_USER, user_id=user_id, claims=claims):
                raise UnknownUser("the user of this token is not in auth.users")
            yield transaction

    @asynccontextmanager
    async def as_service(self) -> AsyncIterator[Transaction]:
        """A transaction as the login itself: for the service functions of schema `utter`, and nothing else."""
        async with self._unit() as transaction:
            yield transaction

    async def ping(self) -> None:
        """One round trip. Raises `DatabaseUnavailable`."""
        async with self._unit() as transaction:
            await transaction.fetch_value(_PING)

    @asynccontextmanager
    async def _unit(self) -> AsyncIterator[Transaction]:
        with translated():
            connection = await self._pool.acquire(timeout=ACQUIRE_SECONDS)
        try:
            await _begin(connection)
            try:
                yield Transaction(connection)
            except BaseException:
                await _roll_back(connection)
                raise
            await _commit(connection)
        finally:
            with anyio.CancelScope(shield=True):
                await self._pool.release(connection, timeout=FINISH_SECONDS)


async def _prepare(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """JSON columns are Python values on both ways."""
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda value: msgspec.json.encode(value).decode(),
        decoder=msgspec.json.decode,
    )


async def _keep_session(_connection: Any) -> None:
    """Instead of asyncpg's RESET ALL at every hand-back, a round trip: all we set is local to a transaction."""


async def _begin(connection: Connection) -> None:
    """A cancelled BEGIN could have happened or not, like a COMMIT, and then nobody would end it.

    Not by asyncpg's `transaction()`: its BEGIN cannot bring the limit along, which would cost a round trip more.
    """
    with anyio.CancelScope(shield=True), translated():
        try:
            with anyio.fail_after(FINISH_SECONDS):
                await connection.execute(f"begin; {_LIMIT_SILENCE.sql}")
        except TimeoutError:
            _drop(connection)
            raise


async def _commit(connection: Connection) -> None:
    """A cancelled COMMIT could have happened or not, so it is not cancelled, only bounded."""
    with anyio.CancelScope(shield=True), translated():
        try:
            with anyio.fail_after(FINISH_SECONDS):
                await connection.execute("commit")
        except TimeoutError:
            _drop(connection)
            raise


async def _roll_back(connection: Connection) -> None:
    """Undo the body, whose own exception is what the caller must see.

    anyio cancels a scope again and again, so without the shield the ROLLBACK would be skipped. Where it cannot be
    sent, or is hit by the cancel request of the statement before it, which comes over a connection of its own, this
    connection is dropped, and the server undoes the work itself.
    """
    with anyio.CancelScope(shield=True):
        try:
            with anyio.fail_after(FINISH_SECONDS):
                await connection.execute("rollback")
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            _drop(connection)


def _drop(connection: Connection) -> None:
    try:
        connection.terminate()
    except asyncpg.InterfaceError:  # it died, and asyncpg took it out of the pool already
        return


async def _close(pool: asyncpg.Pool[asyncpg.Record]) -> None:
    with anyio.CancelScope(shield=True):
        with anyio.move_on_after(FINISH_SECONDS):
            await pool.close()
            return
        pool.terminate()
