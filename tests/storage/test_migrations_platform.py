"""Migrations on Supabase: its schemas `auth` and `storage` exist, and belong to others than the app's tables."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import asyncpg
import pytest

from storage.embedded import EmbeddedPostgres
from storage.migrate import migrate, rollback
from tests.support.migrations import NAMES, Sql, catalogue_of
from tests.support.postgres import temporary_server

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

OWNER = "owner_of_all"
"""As Supabase's `postgres`: no superuser, owns the app's tables, may do much with those of the platform."""

ROLES = """
create role owner_of_all login createrole bypassrls;
create role supabase_auth_admin nologin;
create role supabase_storage_admin nologin;
create role anon nologin;
create role authenticated nologin;
create role service_role nologin bypassrls;
"""

DATABASE = "create database platform owner owner_of_all"

AUTH = """
alter schema public owner to owner_of_all;
grant usage on schema public to anon, authenticated, service_role;
alter default privileges for role owner_of_all in schema public
  grant all on tables to anon, authenticated, service_role;
alter default privileges for role owner_of_all in schema public
  grant all on functions to anon, authenticated, service_role;
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

# The platform lets its owner of all make policies on storage.objects, as if it owned the table, but comment on none:
# here membership does the first, and the event trigger the second. Another app of the project has files already.
STORAGE = """
create schema storage authorization supabase_storage_admin;
grant usage on schema storage to owner_of_all, anon, authenticated, service_role;
create table storage.buckets (
  id text primary key, name text not null unique, owner uuid, created_at timestamptz default now(),
  updated_at timestamptz default now(), public boolean default false, avif_autodetection boolean default false,
  file_size_limit bigint, allowed_mime_types text[], owner_id text
);
create table storage.objects (
  id uuid primary key default gen_random_uuid(), bucket_id text references storage.buckets (id), name text,
  owner uuid, created_at timestamptz default now(), updated_at timestamptz default now(), metadata jsonb,
  path_tokens text[] generated always as (string_to_array(name, '/')) stored, version text, owner_id text
);
create unique index bucketid_objname on storage.objects (bucket_id, name);
create function storage.foldername(name text) returns text[] language plpgsql immutable as $$
declare
  parts text[] := string_to_array(name, '/');
begin
  return parts[1 : array_length(parts, 1) - 1];
end
$$;
alter table storage.buckets enable row level security;
alter table storage.objects enable row level security;
alter table storage.buckets owner to supabase_storage_admin;
alter table storage.objects owner to supabase_storage_admin;
alter function storage.foldername(text) owner to supabase_storage_admin;
grant all on storage.buckets, storage.objects to owner_of_all, anon, authenticated, service_role;
grant supabase_storage_admin to owner_of_all;

insert into storage.buckets (id, name, public) values ('avatars', 'avatars', true);
insert into storage.objects (bucket_id, name) values ('avatars', 'somebody/face.png');
create policy avatars_for_all on storage.objects for select to anon, authenticated using (bucket_id = 'avatars');

create function public.refuse_comments() returns event_trigger language plpgsql as $$
begin
  if exists (
    select from pg_event_trigger_ddl_commands()
    where object_identity ~ '(storage\\.objects|auth\\.users)' and object_type in ('policy', 'trigger')
  ) then
    raise exception 'only the platform may do that' using errcode = 'insufficient_privilege';
  end if;
end
$$;
create event trigger refuse_comments on ddl_command_end when tag in ('COMMENT')
  execute function public.refuse_comments();
"""

BUCKETS = """
select json_agg(json_build_array(id, public, file_size_limit, allowed_mime_types) order by id)
from storage.buckets where id <> 'avatars'
"""

V1_BUCKETS = [
    ["generations", False, None, None],
    ["references", False, 10485760, ["audio/wav", "audio/x-wav", "audio/mpeg", "audio/mp4", "audio/m4a"]],
]
"""v1 contract 3.5. What the gateway allows besides goes through the gateway's own uploads."""


@pytest.fixture
def server() -> Iterator[EmbeddedPostgres]:
    """A cluster of its own: these roles must not be others'."""
    with temporary_server() as found:
        found.run_script(ROLES, database="postgres")
        found.run_script(DATABASE, database="postgres")
        found.run_script(AUTH, database="platform")
        yield found


@asynccontextmanager
async def superuser(server: EmbeddedPostgres) -> AsyncIterator[Sql]:
    connection = await asyncpg.connect(server.url("postgres", "platform"))
    try:
        yield Sql(connection)
    finally:
        await connection.close()


async def visible_objects(sql: Sql, role: str, user: UUID) -> list[str]:
    """Names a browser of this role sees, sorted."""
    async with acting(sql, role, user):
        found: list[str] = await sql.value("select coalesce(array_agg(name order by name), '{}') from storage.objects")
    return found


@asynccontextmanager
async def acting(sql: Sql, role: str, user: UUID) -> AsyncIterator[None]:
    await sql.value("select set_config('request.jwt.claims', $1, false)", f'{{"sub": "{user}"}}')
    await sql.execute(f"set role {role}")
    try:
        yield
    finally:
        await sql.execute("reset role")


def test_a_new_project_whose_users_table_is_the_platforms_goes_up_and_down(server: EmbeddedPostgres) -> None:
    url = server.url(OWNER, "platform")
    assert migrate(url).pending == ()
    server.run_script("insert into auth.users default values", database="platform")
    server.run_script("do $$ begin assert (select count(*) = 1 from public.profiles); end $$", database="platform")
    server.run_script("delete from auth.users", database="platform")
    for _ in NAMES:
        rollback(url, include_baseline=True)
    server.run_script("insert into auth.users default values", database="platform")
    assert migrate(url).pending == ()


async def test_a_project_with_storage_gets_v1s_buckets_and_policies_beside_its_own(server: EmbeddedPostgres) -> None:
    server.run_script(STORAGE, database="platform")
    assert migrate(server.url(OWNER, "platform")).pending == ()
    alice, bob = uuid4(), uuid4()
    async with superuser(server) as sql:
        assert json.loads(await sql.value(BUCKETS)) == V1_BUCKETS
        marked = "select count(*) from pg_policy where obj_description(oid, 'pg_policy') is not null"
        assert await sql.value(marked) == 0, "the platform let us mark a policy of its table"
        for user in (alice, bob):
            for bucket in ("references", "generations"):
                await sql.execute(
                    "insert into storage.objects (bucket_id, name) values ($1, $2)", bucket, f"{user}/{bucket}.wav"
                )
        own = [f"{alice}/generations.wav", f"{alice}/references.wav", "somebody/face.png"]
        assert await visible_objects(sql, "authenticated", alice) == sorted(own)
        assert await visible_objects(sql, "anon", alice) == ["somebody/face.png"]
        insert = "insert into storage.objects (bucket_id, name) values ($1, $2)"
        async with acting(sql, "authenticated", alice):
            await sql.execute(insert, "references", f"{alice}/voice/reference.wav")
            for bucket, folder in (("references", bob), ("generations", alice), ("avatars", alice)):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await sql.execute(insert, bucket, f"{folder}/more.wav")


def test_a_project_with_storage_has_its_own_catalogue_back_after_the_way_down(server: EmbeddedPostgres) -> None:
    server.run_script(STORAGE, database="platform")
    url, admin = server.url(OWNER, "platform"), server.url("postgres", "platform")
    before = catalogue_of(admin, "--exclude-schema=utter")
    migrate(url)
    built = catalogue_of(admin)
    for _ in NAMES:
        rollback(url, include_baseline=True)
    assert catalogue_of(admin, "--exclude-schema=utter") == before
    migrate(url)
    assert catalogue_of(admin) == built


async def test_the_gateways_role_needs_nothing_of_the_platforms(server: EmbeddedPostgres) -> None:
    """Its policies hold, though it may not even look into schema `auth`; nor does it reach what is stored."""
    server.run_script(STORAGE, database="platform")
    migrate(server.url(OWNER, "platform"))
    async with superuser(server) as sql:
        user = await sql.value("insert into auth.users default values returning id")
        other = await sql.value("insert into auth.users default values returning id")
        add = "insert into public.voices (user_id, name, source) values ($1, 'Ada', 'designed')"
        async with acting(sql, "utter_api", user):
            await sql.execute(add, user)
            assert await sql.value("select count(*) from public.voices") == 1
            assert await sql.value("select count(*) from utter.voice_creates") == 0
            for refused in ("select from auth.users", "select from storage.objects"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await sql.execute(refused)
        async with acting(sql, "utter_api", other):
            assert await sql.value("select count(*) from public.voices") == 0
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await sql.execute(add, user)
