"""The clean-up that nobody applies yet: its gates, and both of its ways on a copy (docs/operations/clean-up.md)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from storage.migrate import MIGRATIONS, MigrationError, migrate, rollback, status
from tests.support.migrations import NAMES, Sql, add_v1_rows, catalogue, connected
from tests.support.postgres import TestDatabase

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

DEFERRED = MIGRATIONS.parent / "deferred"

DROP_MODAL = "99990101000000_drop_modal.sql"

READERS = """
select p.oid::regprocedure::text from pg_proc p
where p.pronamespace in ('utter'::regnamespace, 'public'::regnamespace)
  and p.prosrc ~ 'modal_(job_id|poll_count)' and p.proname <> 'increment_task_modal_poll_count'
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Every migration, and the deferred one after them."""
    copied = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, copied)
    shutil.copy(DEFERRED / DROP_MODAL, copied)
    return copied


async def old_rows(sql: Sql) -> tuple[object, object]:
    """What Modal made long ago: the voice, which is deleted, and the task."""
    _, voice, generation, task = await add_v1_rows(sql)
    await sql.execute("update public.generations set created_at = now() - interval '31 days'")
    await sql.execute("update public.voices set deleted_at = now()")
    await sql.value("update public.tasks set modal_job_id = 'fc-1', modal_poll_count = 7 where id = $1", task)
    assert generation is not None
    return voice, task


async def without_readers(sql: Sql) -> None:
    """As a release without the Modal path leaves the functions."""
    while (name := await sql.value(READERS)) is not None:
        await sql.execute(f"drop function {name} cascade")


def test_no_command_applies_it(empty_database: TestDatabase) -> None:
    migrate(empty_database.admin_url)
    assert status(empty_database.admin_url).pending == ()
    assert DROP_MODAL not in NAMES
    assert "modal_job_id" in catalogue(empty_database)


async def test_there_and_back_on_a_copy(empty_database: TestDatabase, folder: Path) -> None:
    url = empty_database.admin_url
    migrate(url)
    async with connected(empty_database) as sql:
        _, task = await old_rows(sql)
        await without_readers(sql)
        before = catalogue(empty_database)
        migrate(url, folder)
        found = await sql.row("select provider_job_id, provider_poll_count, provider from public.tasks")
        assert found == {"provider_job_id": "fc-1", "provider_poll_count": 7, "provider": "modal"}
        assert "modal_job_id" not in catalogue(empty_database)
        _, _, _, new = await add_v1_rows(sql)
        assert await sql.value("select provider from public.tasks where id = $1", new) == "qwen"
        rollback(url, folder)
        found = await sql.row("select modal_job_id, modal_poll_count from public.tasks where id = $1", task)
        assert found == {"modal_job_id": "fc-1", "modal_poll_count": 7}
    now = {line.strip() for line in catalogue(empty_database).splitlines()}
    gone = {line.strip() for line in before.splitlines()} - now
    assert not {line for line in gone if "modal" not in line}, "but for the order of columns"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ("update public.tasks set status = 'processing'", "Modal still works on tasks"),
        ("update public.generations set created_at = now()", "Wait until 30 days have passed"),
        ("update public.voices set deleted_at = null", "1 voices can be used with Modal only"),
    ],
)
async def test_a_closed_gate_stops_it(empty_database: TestDatabase, folder: Path, spoil: str, words: str) -> None:
    migrate(empty_database.admin_url)
    async with connected(empty_database) as sql:
        await old_rows(sql)
        await without_readers(sql)
        await sql.execute(spoil)
    with pytest.raises(MigrationError, match=words):
        migrate(empty_database.admin_url, folder)
    assert "modal_job_id" in catalogue(empty_database)


async def test_it_waits_for_the_code_to_go_first(empty_database: TestDatabase, folder: Path) -> None:
    migrate(empty_database.admin_url)
    async with connected(empty_database) as sql:
        await old_rows(sql)
    with pytest.raises(MigrationError, match="Release a gateway without the Modal path first"):
        migrate(empty_database.admin_url, folder)
