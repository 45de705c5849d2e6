"""Migrations among others: requests in the middle of their work, more databases in the cluster, TLS or none."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from storage.migrate import BASELINE, MigrationError, migrate, rollback, status
from tests.support.migrations import NAMES, Sql, add_v1_rows, connected, up_to
from tests.support.postgres import TestDatabase, temporary_server
from tests.support.postgres_wire import wired

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

GATEWAY = "20260401000000_gateway.sql"
"""Its way down ends streams, which v1 does not know."""

CREATES = "20260501000000_voice_creates_and_jobs.sql"
"""Its way up touches no table there was before, and its way down no generation."""

BILLED = "20260601000000_creates_billed.sql"
"""It touches the ledger of creates only."""

TASK_EVENTS = "20260715090000_task_events.sql"
"""It touches tasks only, which every request writes last: nothing waits for the other."""


async def wait_until_somebody_waits(sql: Sql) -> None:
    """PostgreSQL tells nobody of a lock that is waited for, so this looks again and again."""
    await sql.execute(
        """
        set statement_timeout = '20s';
        do $$
        begin
          while not exists (
            select from pg_locks
            where not granted and database = (select oid from pg_database where datname = current_database())
          ) loop
            perform pg_sleep(0.01);
          end loop;
        end
        $$
        """
    )


@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.parametrize("name", [name for name in NAMES[1:] if name not in {CREATES, BILLED, TASK_EVENTS}])
async def test_a_request_in_the_middle_of_its_work_ends_before_a_migration_goes_on(
    empty_database: TestDatabase, tmp_path: Path, name: str, way: str
) -> None:
    """It has written its generation and will write its task, as every request does: neither may stop the other."""
    url, folder = empty_database.admin_url, up_to(name, tmp_path)
    migrate(url, folder if way == "down" else up_to(NAMES[NAMES.index(name) - 1], tmp_path))
    async with connected(empty_database) as request, connected(empty_database) as onlooker:
        user, voice, *_ = await add_v1_rows(request)
        stream = (name, way) == (GATEWAY, "down")
        await request.execute("begin")
        generation = await request.value(
            "insert into public.generations (user_id, voice_id, text, status) values ($1, $2, 'hello', 'processing')"
            " returning id",
            user,
            voice,
        )
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.to_thread.run_sync, migrate if way == "up" else rollback, url, folder)
            await wait_until_somebody_waits(onlooker)
            task = await request.value(
                "insert into public.tasks (user_id, type, status, generation_id) values ($1, $2, 'processing', $3)"
                " returning id",
                user,
                "generate_stream" if stream else "generate",
                generation,
            )
            await request.execute("commit")
        row = await request.row("select type, status from public.tasks where id = $1", task)
    assert row["type"] == "generate"
    assert row["status"] == ("failed" if stream else "processing")


async def test_a_preview_in_the_middle_of_its_work_ends_before_creates_are_forgotten(
    empty_database: TestDatabase, tmp_path: Path
) -> None:
    """It has recorded its create and will write its task, in the order that every service function keeps to."""
    url, folder = empty_database.admin_url, up_to(CREATES, tmp_path)
    migrate(url, folder)
    async with connected(empty_database) as request, connected(empty_database) as onlooker:
        user = await request.value("insert into auth.users default values returning id")
        task = await request.value(
            "insert into public.tasks (user_id, type, provider) values ($1, 'design_preview', 'qwen') returning id",
            user,
        )
        await request.value("select granted from utter.claim_create($1, $2, 'vd', 'intl', 'm', '{}', 60)", task, user)
        await request.execute("begin")
        await request.value("select utter.record_created($1, 'v', 'm', 'r', '{}', null, null)", task)
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.to_thread.run_sync, partial(rollback, url, folder))
            await wait_until_somebody_waits(onlooker)
            assert await request.value("select utter.complete_task($1, '{}')", task)
            await request.execute("commit")
        assert await request.value("select status from public.tasks where id = $1", task) == "completed"


@pytest.mark.slow
async def test_a_migration_gives_up_on_a_lock_rather_than_hold_up_every_request(
    empty_database: TestDatabase, tmp_path: Path
) -> None:
    url = empty_database.admin_url
    migrate(url, up_to(BASELINE, tmp_path))
    async with connected(empty_database) as reader:
        await reader.execute("begin; select from public.tasks")
        with pytest.raises(MigrationError, match="lock timeout"):
            await anyio.to_thread.run_sync(migrate, url)
        await reader.execute("rollback")
    assert status(url).applied == (BASELINE,)
    assert migrate(url).pending == ()


def test_databases_of_a_new_cluster_may_be_migrated_at_once() -> None:
    """Roles are the cluster's: whoever comes second finds them half made."""
    names = ("one", "two", "three")
    with temporary_server() as server:
        for name in names:
            server.run_script('create database :"name"', database="postgres", name=name)
        urls = [server.url("postgres", name) for name in names]
        with ThreadPoolExecutor(len(urls)) as pool:
            for found in pool.map(migrate, urls):
                assert found.pending == ()
        for url in urls:
            for _ in NAMES:
                rollback(url, include_baseline=True)


@pytest.mark.parametrize("parameters", ["", "?application_name=test", "?sslmode=disable"])
async def test_a_url_that_says_nothing_of_tls_is_read_as_the_gateway_reads_it(
    empty_database: TestDatabase, parameters: str
) -> None:
    async with wired(empty_database) as wire:
        found = await anyio.to_thread.run_sync(status, wire.admin_url + parameters)
    assert found.pending == tuple(NAMES)


async def test_a_server_without_tls_is_refused_where_tls_is_asked_for(empty_database: TestDatabase) -> None:
    async with wired(empty_database) as wire:
        with pytest.raises(MigrationError, match="SSL"):
            await anyio.to_thread.run_sync(status, f"{wire.admin_url}?sslmode=require")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://owner:s3cret%zzw@127.0.0.1:1/utter",
        "postgresql://owner:s3cret[w@127.0.0.1:1/utter",
        'postgresql://owner:s3cret"w@127.0.0.1:1x/utter',
        "postgresql://owner:s3cret/w?x#y@127.0.0.1:1/utter",
        "host=127.0.0.1 password=s3cret",
        "s3cret",
        "",
    ],
)
def test_a_url_that_cannot_be_read_is_said_in_words_without_a_piece_of_it(url: str) -> None:
    with pytest.raises(MigrationError, match="cannot be read") as caught:
        status(url)
    assert "s3cret" not in str(caught.value)
