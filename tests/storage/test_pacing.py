"""Turns: no second and no minute holds more starts than the account allows, whoever asks from wherever."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import anyio
import asyncpg
import pytest

from storage.database import Database
from storage.pacing import take_turn
from tests.support.postgres import TestDatabase

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

LANE = "qwen-test"


async def ask(opened: Database, per_second: int, per_minute: int, longest_wait: float = 3600.0) -> float | None:
    async with opened.as_service() as transaction:
        return await take_turn(
            transaction, LANE, per_second=per_second, per_minute=per_minute, longest_wait=longest_wait
        )


@asynccontextmanager
async def admin(database: TestDatabase) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(database.admin_url)
    try:
        yield connection
    finally:
        await connection.close()


async def starts(database: TestDatabase) -> list[datetime]:
    async with admin(database) as connection:
        found: list[datetime] = await connection.fetchval("select starts from utter.provider_starts")
    return found


def within(starts: list[datetime], limit: int, span: timedelta) -> bool:
    return all(later - earlier >= span for earlier, later in zip(starts, starts[limit:], strict=False))


async def test_the_first_ones_start_at_once_and_the_next_one_a_second_later(database: TestDatabase) -> None:
    async with Database.open(database.gateway_url, max_connections=1) as opened:
        waits = [await ask(opened, 3, 180) for _ in range(4)]
    assert waits[:3] == [0.0, 0.0, 0.0]
    assert waits[3] is not None
    assert 0.5 < waits[3] <= 1.0


async def test_both_limits_hold_for_askers_on_many_connections(database: TestDatabase) -> None:
    waits: list[float | None] = []

    async def asker(opened: Database) -> None:
        waits.extend([await ask(opened, 3, 10) for _ in range(5)])

    async with (
        Database.open(database.gateway_url, max_connections=4) as one,
        Database.open(database.gateway_url, max_connections=4) as other,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(4):
            tasks.start_soon(asker, one)
            tasks.start_soon(asker, other)
    taken = await starts(database)
    assert len(waits) == len(taken) == 40
    assert within(taken, 3, timedelta(seconds=1))
    assert within(taken, 10, timedelta(minutes=1))
    assert taken == sorted(taken)


async def test_a_turn_too_far_off_is_refused_and_not_taken(database: TestDatabase) -> None:
    async with Database.open(database.gateway_url, max_connections=1) as opened:
        assert await ask(opened, 1, 180, longest_wait=0.2) == 0.0
        assert await ask(opened, 1, 180, longest_wait=0.2) is None
        assert await ask(opened, 1, 180, longest_wait=0.2) is None
    assert len(await starts(database)) == 1


async def test_starts_of_more_than_a_minute_ago_are_forgotten(database: TestDatabase) -> None:
    async with Database.open(database.gateway_url, max_connections=1) as opened:
        assert await ask(opened, 1, 1) == 0.0
        async with admin(database) as connection:
            await connection.execute("update utter.provider_starts set starts = array[now() - interval '61 seconds']")
        assert await ask(opened, 1, 1) == 0.0
    assert len(await starts(database)) == 1


async def test_a_clock_that_was_set_back_does_not_stop_the_service(database: TestDatabase) -> None:
    async with Database.open(database.gateway_url, max_connections=1) as opened:
        assert await ask(opened, 1, 1) == 0.0
        async with admin(database) as connection:
            await connection.execute("update utter.provider_starts set starts = array[now() + interval '1 day']")
        assert await ask(opened, 1, 1, longest_wait=30) == 0.0


async def test_lanes_do_not_wait_for_each_other(database: TestDatabase) -> None:
    async with Database.open(database.gateway_url, max_connections=1) as opened:
        assert await ask(opened, 1, 1) == 0.0
        async with opened.as_service() as transaction:
            other = await take_turn(transaction, "another account", per_second=1, per_minute=1, longest_wait=0)
    assert other == 0.0


@pytest.mark.parametrize("role", ["utter_api", "authenticated", "anon"])
async def test_turns_are_for_the_gateway_only(database: TestDatabase, role: str) -> None:
    async with admin(database) as connection:
        await connection.execute(f"set role {role}")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetchval("select utter.take_turn('x', 1, 1, 1)")
