"""The unit of work on a network that stalls: nothing is left half done, on the server or in the pool."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import anyio
import pytest

from schema.queries import Query
from storage import database as database_module
from storage import generations, leases, voices
from storage.database import Database, DatabaseUnavailable
from storage.errors import LeaseLost
from tests.support.desk import open_desk
from tests.support.exchange import WAIT_SECONDS
from tests.support.migrations import connected
from tests.support.postgres import TestDatabase
from tests.support.postgres_wire import Wire, wired
from tests.support.rows import completion, new_voice
from tests.support.workshop import LOOK_SECONDS

pytestmark = [pytest.mark.integration, pytest.mark.anyio]


LIMIT = database_module._LIMIT_SILENCE

WHO: Query[str] = Query("test.who", "select current_user::text", (), str)

STALLED_SECONDS = 0.1
"""Stands for a bound of seconds, on a wire that moves nothing at all."""


@pytest.fixture
async def wire(database: TestDatabase) -> AsyncIterator[Wire]:
    async with wired(database) as found:
        yield found


@pytest.fixture
async def single(wire: Wire) -> AsyncIterator[Database]:
    """A pool of one connection, so that whatever a unit of work leaves behind meets the next one."""
    async with Database.open(wire.gateway_url, max_connections=1) as opened:
        yield opened


@pytest.fixture
async def complaints() -> list[str]:
    """What the driver tells the event loop of, because it can tell nobody else."""
    found: list[str] = []

    def note(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        found.append(context["message"])

    asyncio.get_running_loop().set_exception_handler(note)
    return found


async def look() -> None:
    """Let some time pass before the next look."""
    await anyio.sleep(LOOK_SECONDS)


async def open_transactions(database: TestDatabase) -> int:
    async with connected(database) as sql:
        count: int = await sql.value(
            "select count(*) from pg_stat_activity where datname = current_database() and state like 'idle in %'"
        )
    return count


async def test_a_request_cancelled_while_its_transaction_begins_leaves_none_open(
    single: Database, wire: Wire, database: TestDatabase, complaints: list[str]
) -> None:
    user = database.create_user()
    stuck = wire.hold()

    async def request() -> None:
        async with single.as_user(user):
            pytest.fail("the body of a request that was cancelled before")

    async with anyio.create_task_group() as group:
        group.start_soon(request)
        await stuck.wait()
        group.cancel_scope.cancel()
        wire.let_go()
    async with single.as_service() as tx:
        assert await tx.fetch_value(WHO) == "utter"
    assert await open_transactions(database) == 0
    assert complaints == []


async def test_a_request_cancelled_on_a_wire_that_stalls_ends_within_its_bound(
    single: Database, wire: Wire, database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "FINISH_SECONDS", STALLED_SECONDS)
    user = database.create_user()

    async def request() -> None:
        async with single.as_user(user) as tx:
            stuck.set_result(wire.hold())
            await voices.insert_voice(tx, new_voice(user))

    stuck: asyncio.Future[anyio.Event] = asyncio.get_running_loop().create_future()
    async with anyio.create_task_group() as group:
        group.start_soon(request)
        await (await stuck).wait()
        group.cancel_scope.cancel()
    wire.let_go()
    await single.ping()
    assert await open_transactions(database) == 0


async def test_a_transaction_that_cannot_begin_is_unavailable(
    single: Database, wire: Wire, database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "FINISH_SECONDS", STALLED_SECONDS)
    wire.hold()
    with pytest.raises(DatabaseUnavailable):
        async with single.as_service():
            pytest.fail("the body of a transaction that did not begin")
    wire.let_go()
    await single.ping()
    assert await open_transactions(database) == 0


async def test_a_commit_that_is_not_answered_is_unavailable(
    single: Database, wire: Wire, database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "FINISH_SECONDS", STALLED_SECONDS)
    user = database.create_user()
    with pytest.raises(DatabaseUnavailable):
        async with single.as_user(user) as tx:
            await voices.insert_voice(tx, new_voice(user))
            wire.hold()
    wire.let_go()
    await single.ping()
    assert await open_transactions(database) == 0


async def test_what_a_silent_transaction_had_locked_is_free_again(
    wire: Wire, database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without power sends no FIN; the server alone can tell, by the silence."""
    monkeypatch.setattr(database_module, "_LIMIT_SILENCE", replace(LIMIT, sql=LIMIT.sql.replace("10s", "300ms")))
    async with open_desk(database) as desk, Database.open(wire.gateway_url, max_connections=1) as far:
        new = await desk.start(uuid4())
        found = await desk.foreign(new)
        held = anyio.Event()

        async def complete() -> None:
            with pytest.raises(DatabaseUnavailable):
                async with far.as_service() as tx:
                    await leases.hold(tx, new.task_id, 1)
                    wire.hold()
                    held.set()
                    await generations.complete_generation(tx, completion(new))

        async with anyio.create_task_group() as group:
            group.start_soon(complete)
            await held.wait()
            with anyio.fail_after(WAIT_SECONDS):
                while await desk.take(found, uuid4()) is None:
                    await look()
            wire.let_go()
        assert (await desk.task(new)).status == "pending"
        with pytest.raises(LeaseLost):
            async with far.as_service() as tx:
                await leases.hold(tx, new.task_id, 1)


async def test_a_transaction_that_goes_on_talking_lasts_longer_than_the_silence_allowed(
    single: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "_LIMIT_SILENCE", replace(LIMIT, sql=LIMIT.sql.replace("10s", "1s")))
    began: Query[float] = Query("test.age", "select extract(epoch from clock_timestamp() - now())::float8", (), float)
    async with single.as_service() as tx:
        while await tx.fetch_value(began) < 1.2:
            await look()


async def test_the_limit_ends_with_its_transaction(single: Database) -> None:
    """Behind a transaction pooler the connection is somebody else's next."""
    limit: Query[str] = Query("test.limit", "show idle_in_transaction_session_timeout", (), str)
    async with single.as_service() as tx:
        assert await tx.fetch_value(limit) == "10s"
    connection = await single._pool.acquire()
    assert await connection.fetchval(limit.sql) == "0"
    await single._pool.release(connection)


async def test_a_rollback_that_is_not_answered_does_not_hide_why(
    single: Database, wire: Wire, database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "FINISH_SECONDS", STALLED_SECONDS)
    with pytest.raises(RuntimeError, match="changed my mind"):
        async with single.as_service():
            wire.hold()
            raise RuntimeError("changed my mind")
    wire.let_go()
    await single.ping()
    assert await open_transactions(database) == 0
