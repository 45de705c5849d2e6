"""Migrations that were run twice, or only in part: harmless, or said aloud."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage.migrate import MIGRATIONS, MigrationError, migrate, status
from tests.support.migrations import NAMES, Sql, add_v1_rows, catalogue, connected, up_to
from tests.support.postgres import TestDatabase

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

PROVIDER_COLUMNS = "20260226153000_provider_columns.sql"
"""The one that the contract wants to be repeatable by itself (3.6): v1's own tool may have run it already."""


@pytest.fixture
async def sql(empty_database: TestDatabase) -> AsyncIterator[Sql]:
    async with connected(empty_database) as found:
        yield found


def way_up(name: str) -> str:
    """The statements of a migration, as somebody would paste them into a console."""
    return (MIGRATIONS / name).read_text(encoding="utf-8").split("-- migrate:down")[0]


async def test_running_all_of_them_again_changes_nothing(empty_database: TestDatabase, sql: Sql) -> None:
    migrate(empty_database.admin_url)
    await add_v1_rows(sql)
    rows = await sql.value("select jsonb_agg(to_jsonb(task)) from public.tasks task")
    built = catalogue(empty_database)
    assert migrate(empty_database.admin_url).applied == tuple(NAMES)
    assert catalogue(empty_database) == built
    assert await sql.value("select jsonb_agg(to_jsonb(task)) from public.tasks task") == rows


async def test_the_provider_columns_may_be_there_already(
    empty_database: TestDatabase, sql: Sql, tmp_path: Path
) -> None:
    """Whole, or cut off after the first statement: what is missing is added."""
    url = empty_database.admin_url
    migrate(url, up_to(PROVIDER_COLUMNS, tmp_path))
    built = catalogue(empty_database)
    await sql.execute("delete from utter.schema_migrations where version like '20260226%'")
    await sql.execute("drop index public.idx_tasks_provider_job_id")
    await sql.execute("alter table public.generations drop column provider_metadata")
    migrate(url, tmp_path / PROVIDER_COLUMNS)
    assert catalogue(empty_database) == built
    await sql.execute(f"begin; {way_up(PROVIDER_COLUMNS)}; commit")
    assert catalogue(empty_database) == built


@pytest.mark.parametrize("name", [name for name in NAMES[1:] if name != PROVIDER_COLUMNS])
async def test_one_that_was_run_without_being_noted_is_reported_and_stays_pending(
    empty_database: TestDatabase, sql: Sql, tmp_path: Path, name: str
) -> None:
    """By hand, in a console: the next run must neither pass over what is there nor take it for done."""
    url = empty_database.admin_url
    migrate(url, up_to(NAMES[NAMES.index(name) - 1], tmp_path))
    await sql.execute(f"begin; {way_up(name)}; commit")
    by_hand = catalogue(empty_database)
    with pytest.raises(MigrationError, match="already exists"):
        migrate(url)
    assert status(url).pending == tuple(NAMES[NAMES.index(name) :])
    assert catalogue(empty_database) == by_hand


def test_one_that_fails_half_way_leaves_nothing_and_says_why(empty_database: TestDatabase, tmp_path: Path) -> None:
    url, folder = empty_database.admin_url, up_to(NAMES[-1], tmp_path)
    migrate(url, folder)
    built = catalogue(empty_database)
    broken = folder / "20991231000000_broken.sql"
    broken.write_text(
        "-- migrate:up\ncreate table utter.half (id uuid);\nselect 1 / 0;\n-- migrate:down\ndrop table utter.half;\n"
    )
    with pytest.raises(MigrationError, match="division by zero"):
        migrate(url, folder)
    assert catalogue(empty_database) == built
    assert status(url, folder).pending == (broken.name,)
    broken.write_text("-- migrate:up\ncreate table utter.half (id uuid);\n-- migrate:down\ndrop table utter.half;\n")
    assert migrate(url, folder).pending == ()


async def test_the_statements_of_one_are_one_transaction(empty_database: TestDatabase, sql: Sql) -> None:
    """Or else one that is cut off, by a crash of the server, would be half there."""
    for name in NAMES:
        text = (MIGRATIONS / name).read_text(encoding="utf-8")
        assert "transaction:false" not in text, name
        assert "concurrently" not in text.lower(), name
