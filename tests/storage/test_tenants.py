"""Row level security keeps tenants apart, with and without the owner in the query."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID, uuid4

import asyncpg
import pytest

from schema.queries import Query
from schema.records import NewGeneration
from storage import generations, profiles, tasks, voices
from storage.database import Database
from tests.support.postgres import TestDatabase
from tests.support.rows import new_generation, new_voice

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

TABLES = ("profiles", "voices", "generations", "tasks")


@dataclass(frozen=True)
class Tenant:
    """A user with a voice and a running generation."""

    id: UUID
    voice_id: UUID
    generation: NewGeneration


@pytest.fixture
async def opened(database: TestDatabase) -> AsyncIterator[Database]:
    async with Database.open(database.gateway_url, max_connections=2) as found:
        yield found


async def add_tenant(opened: Database, database: TestDatabase) -> Tenant:
    user = database.create_user()
    voice = new_voice(user)
    generation = new_generation(user, voice.id)
    async with opened.as_user(user) as tx:
        await voices.insert_voice(tx, voice)
        await generations.start_generation(tx, generation)
    return Tenant(user, voice.id, generation)


@pytest.fixture
async def alice(opened: Database, database: TestDatabase) -> Tenant:
    return await add_tenant(opened, database)


@pytest.fixture
async def bob(opened: Database, database: TestDatabase) -> Tenant:
    return await add_tenant(opened, database)


@pytest.mark.parametrize("table", TABLES)
async def test_without_an_owner_filter_a_user_still_sees_only_their_own(
    opened: Database, database: TestDatabase, alice: Tenant, bob: Tenant, table: str
) -> None:
    owner = "id" if table == "profiles" else "user_id"
    every: Query[UUID] = Query("test.every", f"select {owner} from public.{table}", (), UUID)  # noqa: S608
    async with opened.as_user(alice.id) as tx:
        assert await tx.fetch(every) == [alice.id]
    async with opened.as_user(bob.id) as tx:
        assert await tx.fetch(every) == [bob.id]
    carol = database.create_user()
    async with opened.as_user(carol) as tx:
        assert await tx.fetch(every) == ([carol] if table == "profiles" else [])


@pytest.mark.parametrize("table", ["voices", "generations", "tasks"])
async def test_without_an_owner_filter_a_user_deletes_nothing_of_others(
    opened: Database, alice: Tenant, bob: Tenant, table: str
) -> None:
    column = "deleted_at = now()" if table == "voices" else ""
    statement = f"update public.voices set {column}" if table == "voices" else f"delete from public.{table}"  # noqa: S608
    everything: Query[UUID] = Query("test.everything", f"{statement} returning user_id", (), UUID)
    async with opened.as_user(alice.id) as tx:
        assert await tx.fetch(everything) == [alice.id]


async def test_every_call_with_anothers_id_finds_nothing(opened: Database, alice: Tenant, bob: Tenant) -> None:
    """Both ways: as Alice for Bob's rows, and as Alice with Bob's name in the filter."""
    for owner in (alice.id, bob.id):
        async with opened.as_user(alice.id) as tx:
            assert await voices.get_voice(tx, owner, bob.voice_id) is None
            assert not await voices.delete_voice(tx, owner, bob.voice_id)
            assert await generations.get_generation(tx, owner, bob.generation.generation_id) is None
            assert await generations.delete_generation(tx, owner, bob.generation.generation_id) is None
            assert await tasks.get_task(tx, owner, bob.generation.task_id) is None
            assert await tasks.delete_task(tx, owner, bob.generation.task_id) is None
    async with opened.as_user(alice.id) as tx:
        found = await voices.list_voices(tx, bob.id, search=None, source=None, page=1, per_page=10)
        assert (found.items, found.total) == ([], 0)
        listed = await generations.list_generations(tx, bob.id, search=None, status=None, page=1, per_page=10)
        assert (listed.items, listed.total) == ([], 0)


async def test_the_filter_alone_keeps_tenants_apart_too(database: TestDatabase, alice: Tenant, bob: Tenant) -> None:
    """As a superuser, for whom no policy holds, the queries still give nothing of others."""
    async with Database.open(database.admin_url, max_connections=1) as admin, admin.as_service() as tx:
        assert await voices.get_voice(tx, alice.id, bob.voice_id) is None
        assert not await voices.delete_voice(tx, alice.id, bob.voice_id)
        assert await generations.get_generation(tx, alice.id, bob.generation.generation_id) is None
        assert await generations.delete_generation(tx, alice.id, bob.generation.generation_id) is None
        assert await tasks.get_task(tx, alice.id, bob.generation.task_id) is None
        assert await tasks.delete_task(tx, alice.id, bob.generation.task_id) is None
        found = await voices.list_voices(tx, alice.id, search=None, source=None, page=1, per_page=10)
        assert [voice.id for voice in found.items] == [alice.voice_id]
        listed = await generations.list_generations(tx, alice.id, search=None, status=None, page=1, per_page=10)
        assert [row.id for row in listed.items] == [alice.generation.generation_id]


async def test_a_row_for_somebody_else_is_refused(opened: Database, alice: Tenant, bob: Tenant) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with opened.as_user(alice.id) as tx:
            await voices.insert_voice(tx, new_voice(bob.id))
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with opened.as_user(alice.id) as tx:
            await generations.start_generation(tx, new_generation(bob.id, bob.voice_id))


async def test_a_generation_with_somebody_elses_voice_is_refused(opened: Database, alice: Tenant, bob: Tenant) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with opened.as_user(alice.id) as tx:
            await generations.start_generation(tx, new_generation(alice.id, bob.voice_id))


@pytest.mark.parametrize(
    "statement",
    [
        "update public.profiles set credits_remaining = 1000000",
        "update public.generations set status = 'completed'",
        "update public.tasks set status = 'completed'",
        "update public.voices set user_id = gen_random_uuid()",
        "delete from public.voices",
        "select id from auth.users",
        "select utter.fail_stranded(0, 'x')",
    ],
)
async def test_what_users_do_not_do_the_role_cannot(opened: Database, alice: Tenant, statement: str) -> None:
    query: Query[object] = Query("test.refused", statement, (), object)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with opened.as_user(alice.id) as tx:
            await tx.fetch(query)


@pytest.mark.parametrize(
    "statement",
    [
        "select id from public.voices",
        "select id from public.generations",
        "select id from public.tasks",
        "update public.tasks set status = 'completed'",
        "select utter.end_generation(null, null, null, null)",
        "select version from utter.schema_migrations",
    ],
)
async def test_the_login_itself_reaches_nothing_but_the_service_functions(
    opened: Database, alice: Tenant, statement: str
) -> None:
    query: Query[object] = Query("test.refused", statement, (), object)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with opened.as_service() as tx:
            await tx.fetch(query)


async def test_the_service_finds_an_owner_and_nothing_else(opened: Database, alice: Tenant) -> None:
    async with opened.as_service() as tx:
        assert await generations.find_owner(tx, alice.generation.generation_id) == alice.id
        assert await generations.find_owner(tx, uuid4()) is None


async def test_a_profile_is_made_for_its_owner_only(opened: Database, database: TestDatabase, alice: Tenant) -> None:
    database.run("delete from public.profiles")
    async with opened.as_user(alice.id) as tx:
        made = await profiles.get_or_create_profile(tx, alice.id)
        assert await profiles.get_or_create_profile(tx, alice.id) == made
    assert (made.id, made.credits_remaining, made.subscription_tier) == (alice.id, 100, "free")
