"""Migrations among others: requests in the middle of their work, more databases in the cluster, a platform's tables."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from storage.migrate import BASELINE, MigrationError, migrate, rollback, status
from tests.support.migrations import NAMES, Sql, add_v1_rows, connected, up_to
from tests.support.postgres import TestDatabase, temporary_server
from tests.support.postgres_wire import wired

pytestmark = [pytest.mark.integration, pytest.mark.anyio]


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
@pytest.mark.parametrize("name", NAMES[1:])
async def test_a_request_in_the_middle_of_its_work_ends_before_a_migration_goes_on(
    empty_database: TestDatabase, tmp_path: Path, name: str, way: str
) -> None:
    """It has written its generation and will write its task, as every request does: neither may stop the other."""
    url, folder = empty_database.admin_url, up_to(name, tmp_path)
    migrate(url, folder if way == "down" else up_to(NAMES[NAMES.index(name) - 1], tmp_path))
    async with connected(empty_database) as request, connected(empty_database) as onlooker:
        user, voice, *_ = await add_v1_rows(request)
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
                "generate_stream" if name == NAMES[-1] and way == "down" else "generate",
                generation,
            )
            await request.execute("commit")
        row = await request.row("select type, status from public.tasks where id = $1", task)
    assert row["type"] == "generate"
    assert row["status"] == ("failed" if name == NAMES[-1] and way == "down" else "processing")


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


PLATFORM_ROLES = """
create role owner_of_all login createrole bypassrls;
create role supabase_auth_admin nologin;
create role anon nologin;
create role authenticated nologin;
create role service_role nologin bypassrls;
"""

PLATFORM_DATABASE = "create database platform owner owner_of_all"

PLATFORM_TABLES = """
alter schema public owner to owner_of_all;
create schema auth authorization supabase_auth_admin;
grant usage on schema auth to owner_of_all, anon, authenticated, service_role;
create table auth.users (id uuid primary key default gen_random_uuid(), email text);
alter table auth.users owner to supabase_auth_admin;
grant all on auth.users to owner_of_all;
create function auth.uid() returns uuid language sql stable as $$
  select (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid
$$;
alter function auth.uid() owner to supabase_auth_admin;
"""


def test_a_new_project_whose_users_table_is_the_platforms_goes_up_and_down() -> None:
    """Supabase's `postgres` is no superuser and owns the app's tables, but not `auth.users`."""
    with temporary_server() as server:
        server.run_script(PLATFORM_ROLES, database="postgres")
        server.run_script(PLATFORM_DATABASE, database="postgres")
        server.run_script(PLATFORM_TABLES, database="platform")
        url = server.url("owner_of_all", "platform")
        assert migrate(url).pending == ()
        server.run_script("insert into auth.users default values", database="platform")
        server.run_script("do $$ begin assert (select count(*) = 1 from public.profiles); end $$", database="platform")
        server.run_script("delete from auth.users", database="platform")
        for _ in NAMES:
            rollback(url, include_baseline=True)
        server.run_script("insert into auth.users default values", database="platform")
        assert migrate(url).pending == ()


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
