"""The unit of work: whose it is, how it ends, and what happens when the database is not there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import anyio
import asyncpg
import pytest

from schema.queries import Query
from storage import database as database_module
from storage import voices
from storage.database import Database, DatabaseUnavailable, UnknownUser
from storage.errors import NotMigrated, translated
from tests.support.postgres import TestDatabase, temporary_server
from tests.support.rows import new_voice

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

WHO: Query[str] = Query("test.who", "select current_user::text", (), str)
CLAIMS: Query[str] = Query("test.claims", "select current_setting('request.jwt.claims', true)", (), str)
BACKEND: Query[int] = Query("test.backend", "select pg_backend_pid()", (), int)
KILL_ME: Query[bool] = Query("test.kill", "select pg_terminate_backend(pg_backend_pid())", (), bool)
SLEEP: Query[str] = Query("test.sleep", "select pg_sleep(30)::text", (), str)
PREPARED: Query[int] = Query("test.prepared", "select count(*) from pg_prepared_statements", (), int)
TIME_ZONE: Query[str] = Query("test.zone", "select current_setting('timezone')", (), str)
CUT = "select pg_terminate_backend(pid) from pg_stat_activity where datname = :'name'"

VOICE_COUNT: Query[int] = Query("test.voices", "select count(*) from public.voices", (), int)


@pytest.fixture
async def single(database: TestDatabase) -> AsyncIterator[Database]:
    """A pool of one connection, so that whatever a unit of work leaves behind meets the next one."""
    async with Database.open(database.gateway_url, max_connections=1) as opened:
        yield opened


async def test_work_for_a_user_runs_as_utter_api_and_leaves_nothing_for_the_next(
    single: Database, database: TestDatabase
) -> None:
    user = database.create_user()
    async with single.as_user(user) as tx:
        assert await tx.fetch_value(WHO) == "utter_api"
        assert str(user) in await tx.fetch_value(CLAIMS)
        backend = await tx.fetch_value(BACKEND)
    async with single.as_service() as tx:
        assert await tx.fetch_value(BACKEND) == backend
        assert await tx.fetch_value(WHO) == "utter"
        assert not await tx.fetch_value(CLAIMS)
        assert await tx.fetch_value(TIME_ZONE) == "UTC"


async def test_a_user_that_is_gone_gets_no_transaction(single: Database, database: TestDatabase) -> None:
    user = database.create_user()
    async with single.as_user(user) as tx:
        await voices.insert_voice(tx, new_voice(user))
    database.run("delete from auth.users where id = :'id'", id=str(user))
    for gone in (user, uuid4()):
        with pytest.raises(UnknownUser):
            async with single.as_user(gone):
                pytest.fail("a transaction for nobody")
    async with single.as_service() as tx:
        assert await tx.fetch_value(WHO) == "utter"


async def test_a_body_that_raises_leaves_no_row(single: Database, database: TestDatabase) -> None:
    user = database.create_user()
    with pytest.raises(RuntimeError, match="changed my mind"):
        async with single.as_user(user) as tx:
            await voices.insert_voice(tx, new_voice(user))
            raise RuntimeError("changed my mind")
    async with single.as_user(user) as tx:
        assert await tx.fetch_value(VOICE_COUNT) == 0
        await voices.insert_voice(tx, new_voice(user))
    async with single.as_user(user) as tx:
        assert await tx.fetch_value(VOICE_COUNT) == 1


async def test_a_cancelled_body_is_rolled_back_and_the_pool_is_good_again(
    single: Database, database: TestDatabase
) -> None:
    user = database.create_user()
    inserted = anyio.Event()

    async def work() -> None:
        async with single.as_user(user) as tx:
            await voices.insert_voice(tx, new_voice(user))
            inserted.set()
            await tx.fetch_value(SLEEP)

    async with anyio.create_task_group() as group:
        group.start_soon(work)
        await inserted.wait()
        group.cancel_scope.cancel()
    async with single.as_user(user) as tx:
        assert await tx.fetch_value(VOICE_COUNT) == 0


async def test_work_that_is_cancelled_at_its_end_still_commits_whole(single: Database, database: TestDatabase) -> None:
    user = database.create_user()
    with anyio.CancelScope() as scope:
        async with single.as_user(user) as tx:
            await voices.insert_voice(tx, new_voice(user))
            scope.cancel()
    async with single.as_user(user) as tx:
        assert await tx.fetch_value(VOICE_COUNT) == 1


async def test_a_statement_cache_of_zero_keeps_nothing_prepared(database: TestDatabase) -> None:
    """What a transaction pooler needs: the next statement may meet another server connection."""
    user = database.create_user()
    async with Database.open(database.gateway_url, max_connections=1, statement_cache_size=0) as opened:
        for _ in range(3):
            async with opened.as_user(user) as tx:
                await voices.get_voice(tx, user, uuid4())
                assert await tx.fetch_value(PREPARED) <= 1, "only the unnamed statement that asks"


async def test_a_database_that_was_never_there_is_unavailable(postgres_server: object) -> None:
    with pytest.raises(DatabaseUnavailable):
        async with Database.open("postgresql://utter@127.0.0.1:1/utter", max_connections=1):
            pytest.fail("opened a database that does not exist")


async def test_a_login_that_does_not_exist_is_unavailable(database: TestDatabase) -> None:
    with pytest.raises(DatabaseUnavailable):
        async with Database.open(database.server.url("nobody_knows", database.name), max_connections=1):
            pytest.fail("opened with a login that does not exist")


async def test_a_database_that_takes_no_connections_is_unavailable_and_its_return_is_noticed(
    database: TestDatabase,
) -> None:
    """As a database is while it is restored, copied or upgraded."""
    allow = f"alter database {database.name} allow_connections"
    async with Database.open(database.gateway_url, max_connections=1) as opened:
        await opened.ping()
        database.server.run_script(f"{allow} false; {CUT}", database="postgres", name=database.name)
        try:
            for _ in range(2):
                with pytest.raises(DatabaseUnavailable):
                    await opened.ping()
            with pytest.raises(DatabaseUnavailable):
                async with Database.open(database.gateway_url, max_connections=1):
                    pytest.fail("opened a database that takes no connections")
        finally:
            database.server.run_script(f"{allow} true", database="postgres")
        await opened.ping()


async def test_a_database_that_goes_away_is_unavailable_and_its_return_is_noticed() -> None:
    with temporary_server() as server:
        async with Database.open(server.admin_url, max_connections=2) as opened:
            await opened.ping()
            url, folder = server.admin_url, server._socket_folder
            server.stop()
            for _ in range(3):
                with pytest.raises(DatabaseUnavailable):
                    await opened.ping()
            assert url
            assert folder
            server.start()
            async with Database.open(server.admin_url, max_connections=1) as again:
                await again.ping()


async def test_a_connection_that_dies_in_the_middle_is_unavailable_and_replaced(single: Database) -> None:
    with pytest.raises(DatabaseUnavailable):
        async with single.as_service() as tx:
            await tx.fetch_value(KILL_ME)
            await tx.fetch_value(WHO)
    await single.ping()


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.InternalClientError,
        asyncpg.AdminShutdownError,
        asyncpg.IdleInTransactionSessionTimeoutError,
        ConnectionResetError,
    ],
)
async def test_whatever_a_dying_connection_is_called_it_is_unavailable(error: type[Exception]) -> None:
    with pytest.raises(DatabaseUnavailable) as raised, translated():
        raise error("the driver's words")
    assert "the driver's words" not in str(raised.value)


async def test_a_statement_over_its_time_is_unavailable(
    database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "COMMAND_SECONDS", 0.05)
    async with Database.open(database.gateway_url, max_connections=1) as opened:
        with pytest.raises(DatabaseUnavailable):
            async with opened.as_service() as tx:
                await tx.fetch_value(SLEEP)
        await opened.ping()


async def test_no_free_connection_in_time_is_unavailable(single: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "ACQUIRE_SECONDS", 0.05)
    async with single.as_service():
        with pytest.raises(DatabaseUnavailable):
            await single.ping()
    await single.ping()


async def test_a_mistake_of_ours_is_not_called_an_outage(single: Database) -> None:
    wrong_type: Query[UUID] = Query("test.wrong", "select $1::uuid", ("value",), UUID)
    with pytest.raises(asyncpg.DataError):
        async with single.as_service() as tx:
            await tx.fetch_value(wrong_type, value=object())
    nothing: Query[int] = Query("test.nothing", "select 1 where false", (), int)
    with pytest.raises(LookupError, match=r"test\.nothing"):
        async with single.as_service() as tx:
            await tx.fetch_value(nothing)


async def test_a_database_without_our_schema_is_told_from_one_that_is_away(empty_database: TestDatabase) -> None:
    async with Database.open(empty_database.gateway_url, max_connections=1) as opened:
        await opened.ping()
        with pytest.raises(NotMigrated):
            async with opened.as_user(uuid4()):
                pass
        with pytest.raises(NotMigrated):
            async with opened.as_service() as tx:
                await tx.fetch(VOICE_COUNT)
