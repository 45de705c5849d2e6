"""The way down on live data: nothing is left that v1 could not end, and no user's data goes unless asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage.migrate import BASELINE, MigrationError, migrate, rollback, status
from tests.support.migrations import NAMES, Sql, add_v1_rows, connected, up_to
from tests.support.postgres import TestDatabase

CREATES = "20260501000000_voice_creates_and_jobs.sql"
"""Its way down ends previews, which are recovered by the ledger that it drops."""

pytestmark = [pytest.mark.integration, pytest.mark.anyio]


@pytest.fixture
async def sql(database: TestDatabase) -> AsyncIterator[Sql]:
    async with connected(database) as found:
        yield found


@pytest.fixture
async def empty_sql(empty_database: TestDatabase) -> AsyncIterator[Sql]:
    async with connected(empty_database) as found:
        yield found


def test_the_baseline_is_not_undone_unless_asked_for(empty_database: TestDatabase, tmp_path: Path) -> None:
    folder = up_to(BASELINE, tmp_path)
    migrate(empty_database.admin_url, folder)
    with pytest.raises(MigrationError, match="explicitly"):
        rollback(empty_database.admin_url, folder)
    assert status(empty_database.admin_url, folder).applied == (BASELINE,)


async def test_the_baseline_is_not_undone_while_there_are_users(
    empty_database: TestDatabase, empty_sql: Sql, tmp_path: Path
) -> None:
    folder = up_to(BASELINE, tmp_path)
    migrate(empty_database.admin_url, folder)
    await empty_sql.execute("insert into auth.users default values")
    with pytest.raises(MigrationError, match="holds users"):
        rollback(empty_database.admin_url, folder, include_baseline=True)
    assert await empty_sql.value("select count(*) from public.profiles") == 1


async def test_live_streams_become_ended_v1_rows_on_the_way_down(database: TestDatabase, sql: Sql) -> None:
    user, voice, generation, _ = await add_v1_rows(sql, "processing")
    stream = await sql.value(
        "insert into public.tasks (user_id, type, status, generation_id)"
        " values ($1, 'generate_stream', 'processing', $2)"
        " returning id",
        user,
        generation,
    )
    await sql.execute("update public.voices set deleted_at = now() where id = $1", voice)
    for _ in NAMES[2:]:
        rollback(database.admin_url)
    task = await sql.row("select * from public.tasks where id = $1", stream)
    assert (task["type"], task["status"]) == ("generate", "failed")
    assert task["completed_at"] is not None
    assert "again" in task["error"]
    row = await sql.row("select * from public.generations where id = $1", generation)
    assert row["status"] == "failed"
    rollback(database.admin_url)
    assert await sql.value("select count(*) from public.voices") == 0, "a deleted voice must not come back"
    assert await sql.value("select voice_id from public.generations where id = $1", generation) is None
    migrate(database.admin_url)


async def test_previews_that_nobody_could_end_any_more_end_on_the_way_down(database: TestDatabase, sql: Sql) -> None:
    user = await sql.value("insert into auth.users default values returning id")
    tasks = {}
    for provider, state in (("qwen", "pending"), ("qwen", "processing"), ("qwen", "completed"), ("modal", "pending")):
        tasks[provider, state] = await sql.value(
            "insert into public.tasks (user_id, type, provider, status)"
            " values ($1, 'design_preview', $2, $3) returning id",
            user,
            provider,
            state,
        )
    await sql.execute(
        "insert into utter.voice_creates (id, user_id, kind, region, target_model, claimed_until)"
        " values ($1, $2, 'vd', 'intl', 'm', now())",
        tasks["qwen", "processing"],
        user,
    )
    for _ in NAMES[NAMES.index(CREATES) :]:
        rollback(database.admin_url)
    states = {
        before: await sql.value("select status from public.tasks where id = $1", task) for before, task in tasks.items()
    }
    assert states == {
        ("qwen", "pending"): "failed",
        ("qwen", "processing"): "failed",
        ("qwen", "completed"): "completed",
        ("modal", "pending"): "pending",
    }
    assert "again" in await sql.value("select error from public.tasks where id = $1", tasks["qwen", "processing"])
    migrate(database.admin_url)
    assert await sql.value("select count(*) from utter.voice_creates") == 0
