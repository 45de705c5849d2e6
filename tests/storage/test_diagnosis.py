"""What `utter doctor` asks a database: on a real one, behind a real transaction pooler, and where there is none."""

from __future__ import annotations

import pytest

from schema.records import Login
from storage.database import Database
from storage.diagnosis import Trouble, applied_migrations, hears, read_clock, read_login, shares_connections, trouble_of
from storage.embedded import LOGIN
from storage.errors import DatabaseUnavailable, NotMigrated
from tests.support.migrations import NAMES
from tests.support.postgres import TestDatabase
from tests.support.postgres_wire import wired
from tests.support.transaction_pooler import transaction_pooler

pytestmark = [pytest.mark.integration, pytest.mark.anyio]


async def login_of(url: str) -> Login:
    async with Database.open(url, max_connections=1) as database, database.as_service() as transaction:
        return await read_login(transaction)


async def test_the_gateways_login_and_the_superusers(database: TestDatabase) -> None:
    ours = await login_of(database.gateway_url)
    assert (ours.name, ours.is_superuser, ours.bypasses_policies, ours.is_gateway) == (LOGIN, False, False, True)
    assert 0 < ours.connections < 100
    assert ours.own_connections is None
    assert (await login_of(database.admin_url)).is_superuser


async def test_the_migrations_of_a_database_and_of_one_without_any(
    database: TestDatabase, empty_database: TestDatabase
) -> None:
    async with Database.open(database.gateway_url, max_connections=1) as opened, opened.as_service() as transaction:
        assert await applied_migrations(transaction) == [name.partition("_")[0] for name in NAMES]
    async with Database.open(empty_database.admin_url, max_connections=1) as opened:
        with pytest.raises(NotMigrated):
            async with opened.as_service() as transaction:
                await applied_migrations(transaction)


async def test_its_clock_is_aware(database: TestDatabase) -> None:
    async with Database.open(database.gateway_url, max_connections=1) as opened, opened.as_service() as transaction:
        assert (await read_clock(transaction)).tzinfo is not None


async def test_only_a_transaction_pooler_shares_connections(database: TestDatabase) -> None:
    async with wired(database) as wire, transaction_pooler(database) as pooler:
        assert not await shares_connections(database.gateway_url)
        assert not await shares_connections(wire.gateway_url)
        assert await shares_connections(pooler.gateway_url)


async def test_a_notification_comes_through_where_sessions_are_left_alone(
    database: TestDatabase, empty_database: TestDatabase
) -> None:
    async with transaction_pooler(database) as pooler:
        assert await hears(database.gateway_url, pooler.gateway_url)
        assert not await hears(pooler.gateway_url, pooler.gateway_url)
    assert not await hears(empty_database.admin_url, database.gateway_url)


async def trouble_at(url: str) -> Trouble:
    with pytest.raises(DatabaseUnavailable) as raised:
        async with Database.open(url, max_connections=1):
            pass
    return trouble_of(raised.value)


async def test_why_it_cannot_be_reached(database: TestDatabase) -> None:
    assert await trouble_at("postgresql://utter@127.0.0.1:1/utter") is Trouble.NOBODY_THERE
    assert await trouble_at("postgresql://utter@/utter?host=/nowhere/at/all") is Trouble.NOBODY_THERE
    assert await trouble_at(database.server.url("nobody_known", database.name)) is Trouble.LOGIN_REFUSED
    assert await trouble_at(database.server.url(LOGIN, "no_such_database")) is Trouble.NO_DATABASE
    async with wired(database) as wire:
        assert await trouble_at(f"{wire.gateway_url}?sslmode=require") is not Trouble.LOGIN_REFUSED
