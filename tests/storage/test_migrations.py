"""Migrations: there and back gives the same catalogue, v1's rows and rights survive, and down works on live data."""

from __future__ import annotations

import shutil
import threading
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from storage.migrate import BASELINE, MigrationError, migrate, rollback, status
from tests.support.migrations import NAMES, Sql, add_v1_rows, catalogue, connected, up_to
from tests.support.postgres import TestDatabase

pytestmark = [pytest.mark.integration, pytest.mark.anyio]


@pytest.fixture
async def sql(database: TestDatabase) -> AsyncIterator[Sql]:
    async with connected(database) as found:
        yield found


@pytest.fixture
async def empty_sql(empty_database: TestDatabase) -> AsyncIterator[Sql]:
    async with connected(empty_database) as found:
        yield found


def test_everything_is_applied_in_order_and_status_says_so(empty_database: TestDatabase) -> None:
    assert status(empty_database.admin_url).pending == tuple(NAMES)
    assert migrate(empty_database.admin_url).applied == tuple(NAMES)
    assert status(empty_database.admin_url).pending == ()


def test_each_migration_above_the_baseline_undoes_exactly_what_it_did(
    empty_database: TestDatabase, tmp_path: Path
) -> None:
    for before, name in pairwise(NAMES):
        migrate(empty_database.admin_url, up_to(before, tmp_path))
        catalogue_before = catalogue(empty_database)
        folder = up_to(name, tmp_path)
        migrate(empty_database.admin_url, folder)
        catalogue_after = catalogue(empty_database)
        rollback(empty_database.admin_url, folder)
        assert catalogue(empty_database) == catalogue_before, name
        migrate(empty_database.admin_url, folder)
        assert catalogue(empty_database) == catalogue_after, name
        shutil.rmtree(folder)


def test_the_baseline_on_an_empty_database_leaves_nothing_behind(empty_database: TestDatabase, tmp_path: Path) -> None:
    url, folder = empty_database.admin_url, up_to(BASELINE, tmp_path)
    empty = catalogue(empty_database, "--exclude-schema=utter")
    migrate(url, folder)
    built = catalogue(empty_database)
    rollback(url, folder, include_baseline=True)
    assert catalogue(empty_database, "--exclude-schema=utter") == empty
    migrate(url, folder)
    assert catalogue(empty_database) == built


async def test_an_existing_v1_database_is_adopted_and_left_alone(
    empty_database: TestDatabase, empty_sql: Sql, tmp_path: Path
) -> None:
    folder = up_to(BASELINE, tmp_path)
    migrate(empty_database.admin_url, folder)
    # What remains without our marks and our list of migrations is a database that v1 made.
    await empty_sql.execute("delete from pg_description where description = 'created by the utter baseline'")
    await empty_sql.execute("drop schema utter cascade")
    v1 = catalogue(empty_database)
    await add_v1_rows(empty_sql)
    migrate(empty_database.admin_url, folder)
    assert catalogue(empty_database, "--exclude-schema=utter") == v1
    await empty_sql.execute("delete from auth.users")
    rollback(empty_database.admin_url, folder, include_baseline=True)
    assert catalogue(empty_database, "--exclude-schema=utter") == v1


async def test_an_early_v1_database_with_duplicates_keeps_the_newest_active_task(
    empty_database: TestDatabase, empty_sql: Sql, tmp_path: Path
) -> None:
    folder = up_to(BASELINE, tmp_path)
    migrate(empty_database.admin_url, folder)
    await empty_sql.execute("drop schema utter cascade; drop index public.idx_tasks_generate_one_active_per_user")
    user, _, generation, old = await add_v1_rows(empty_sql, "processing")
    new = await empty_sql.value(
        "insert into public.tasks (user_id, type, created_at) values ($1, 'generate', now() + interval '1 s')"
        " returning id",
        user,
    )
    migrate(empty_database.admin_url, folder)
    assert await empty_sql.value("select status from public.tasks where id = $1", old) == "failed"
    assert await empty_sql.value("select status from public.tasks where id = $1", new) == "pending"
    assert await empty_sql.value("select status from public.generations where id = $1", generation) == "failed"
    with pytest.raises(asyncpg.UniqueViolationError):
        await empty_sql.execute("insert into public.tasks (user_id, type) values ($1, 'generate')", user)


async def test_v1_rows_survive_the_provider_columns_and_the_way_back(
    empty_database: TestDatabase, empty_sql: Sql, tmp_path: Path
) -> None:
    url = empty_database.admin_url
    migrate(url, up_to(BASELINE, tmp_path))
    _, voice, generation, task = await add_v1_rows(empty_sql, "processing")
    tables = {"voices": voice, "generations": generation, "tasks": task}
    before = {}
    for name, row in tables.items():
        before[name] = await empty_sql.row(f"select * from public.{name} where id = $1", row)  # noqa: S608
    migrate(url)
    for name, row in tables.items():
        after = await empty_sql.row(f"select * from public.{name} where id = $1", row)  # noqa: S608
        assert before[name].items() <= after.items()
        assert after.get("tts_provider", after.get("provider")) == "modal"
    await add_v1_rows(empty_sql, "processing")
    for _ in NAMES[1:]:
        rollback(url)
    for name, row in tables.items():
        assert await empty_sql.row(f"select * from public.{name} where id = $1", row) == before[name]  # noqa: S608


async def test_the_provider_columns_are_the_contracts(sql: Sql) -> None:
    user = await sql.value("insert into auth.users default values returning id")
    voice = await sql.row(
        "insert into public.voices (user_id, name, source) values ($1, 'Ada', 'designed') returning *", user
    )
    assert voice["provider_metadata"] == "{}"
    assert voice["deleted_at"] is None
    for table, column, constraint in (
        ("voices", "tts_provider", "voices_tts_provider_check"),
        ("voices", "provider_voice_kind", "voices_provider_voice_kind_check"),
    ):
        with pytest.raises(asyncpg.CheckViolationError) as caught:
            await sql.execute(f"update public.{table} set {column} = 'other'")  # noqa: S608
        assert caught.value.constraint_name == constraint


async def test_triggers_make_profiles_and_own_updated_at(sql: Sql) -> None:
    user, _, _, task = await add_v1_rows(sql)
    profile = await sql.row("select * from public.profiles where id = $1", user)
    assert (profile["subscription_tier"], profile["credits_remaining"]) == ("free", 100)
    for table, row in (("profiles", user), ("tasks", task)):
        changed = await sql.row(
            f"update public.{table} set updated_at = '2001-01-01' where id = $1 returning updated_at, now()",  # noqa: S608
            row,
        )
        assert changed["updated_at"] == changed["now"]


async def test_the_poll_counter_counts_only_for_its_owner(sql: Sql) -> None:
    user, _, _, task = await add_v1_rows(sql)
    count = "select public.increment_task_modal_poll_count($1, $2)"
    assert await sql.value(count, task, uuid4()) is None
    assert await sql.value(count, task, user) == 1
    assert await sql.value(count, task, user) == 2


GRANTS = {
    ("anon", "profiles"): {"SELECT"},
    ("anon", "voices"): {"SELECT"},
    ("anon", "generations"): {"SELECT"},
    ("anon", "tasks"): {"SELECT"},
    ("authenticated", "profiles"): {"SELECT", "INSERT", "UPDATE", "DELETE"},
    ("authenticated", "voices"): {"SELECT", "INSERT", "DELETE"},
    ("authenticated", "generations"): {"SELECT", "DELETE"},
    ("authenticated", "tasks"): {"SELECT"},
    ("service_role", "tasks"): {"SELECT", "INSERT", "UPDATE", "DELETE"},
    ("utter_api", "profiles"): {"SELECT"},
    ("utter_api", "voices"): {"SELECT", "INSERT"},
    ("utter_api", "generations"): {"SELECT", "INSERT", "DELETE"},
    ("utter_api", "tasks"): {"SELECT", "INSERT", "DELETE"},
    ("utter_gateway", "tasks"): set[str](),
}


async def test_the_grants_are_v1s_and_the_gateways(sql: Sql) -> None:
    for (role, table), wanted in GRANTS.items():
        granted = {
            right
            for right in ("SELECT", "INSERT", "UPDATE", "DELETE")
            if await sql.value("select has_table_privilege($1, 'public.' || $2::text, $3)", role, table, right)
        }
        assert granted == wanted, (role, table)
    counter = "public.increment_task_modal_poll_count(uuid, uuid)"
    assert await sql.value("select has_function_privilege('service_role', $1, 'execute')", counter)
    assert not await sql.value("select has_function_privilege('utter_api', $1, 'execute')", counter)


async def test_browsers_see_their_own_rows_and_anonymous_ones_none(sql: Sql) -> None:
    user, *_ = await add_v1_rows(sql)
    await add_v1_rows(sql)
    for table in ("profiles", "voices", "generations", "tasks"):
        for role, claims, wanted in (("authenticated", f'{{"sub": "{user}"}}', 1), ("anon", "", 0)):
            await sql.execute(f"set role {role}")
            await sql.value("select set_config('request.jwt.claims', $1, false)", claims)
            assert await sql.value(f"select count(*) from public.{table}") == wanted, (role, table)  # noqa: S608
            await sql.execute("reset role")
    await sql.execute("set role anon")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await sql.execute("delete from public.voices")


async def test_every_foreign_key_is_covered_by_an_index(sql: Sql) -> None:
    bare = await sql.value(
        """
        select count(*) from pg_constraint where contype = 'f' and connamespace = 'public'::regnamespace
        and not exists (
          select from pg_index where indrelid = conrelid and indpred is null and indkey[0] = conkey[1]
        )
        """
    )
    assert bare == 0


def test_two_processes_may_migrate_at_once(empty_database: TestDatabase) -> None:
    failures: list[MigrationError] = []

    def run() -> None:
        try:
            migrate(empty_database.admin_url)
        except MigrationError as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert status(empty_database.admin_url).pending == ()


def test_a_database_that_is_not_there_is_said_in_words_without_the_password() -> None:
    with pytest.raises(MigrationError) as caught:
        migrate("postgresql://owner:s3cret-word@127.0.0.1:1/utter?sslmode=disable")
    assert "refused" in str(caught.value)
    assert "s3cret-word" not in str(caught.value)


def test_nothing_applied_cannot_be_rolled_back(empty_database: TestDatabase) -> None:
    with pytest.raises(MigrationError, match="no migration is applied"):
        rollback(empty_database.admin_url)
