"""Created voices: saved once, by their owner only; recovered by one; listed while nobody has them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import cast
from uuid import UUID, uuid4

import anyio
import asyncpg
import pytest

from schema.queries import Query
from schema.records import NewTask
from storage import creates, generations, tasks, voices
from storage.database import AlreadyExists, Database
from tests.support.creates import DIGEST, LONG_SECONDS, Failure, claim, fail, make, read, record
from tests.support.migrations import connected
from tests.support.postgres import TestDatabase
from tests.support.rows import new_create, new_voice

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

MANY = 20
"""Callers at the same time."""


@pytest.fixture
async def opened(database: TestDatabase) -> AsyncIterator[Database]:
    async with Database.open(database.gateway_url, max_connections=8) as found:
        yield found


@pytest.fixture
def owner(database: TestDatabase) -> UUID:
    return database.create_user()


async def reasons(opened: Database, create_id: UUID, unsaved_seconds: float = LONG_SECONDS) -> list[str]:
    async with opened.as_service() as tx:
        found = await creates.list_orphans(tx, unsaved_seconds=unsaved_seconds)
    return [row.reason for row in found if row.id == create_id]


class TestUse:
    async def test_of_many_voices_one_is_linked(self, opened: Database, owner: UUID) -> None:
        new = new_create(owner)
        await make(opened, new)
        linked: list[UUID] = []

        async def one() -> None:
            voice = uuid4()
            async with opened.as_user(owner) as tx:
                if await creates.link_voice(tx, owner, new.id, voice):
                    linked.append(voice)

        async with anyio.create_task_group() as group:
            for _ in range(MANY):
                group.start_soon(one)
        assert linked == [(await read(opened, new)).voice_id]

    async def test_a_link_that_is_undone_leaves_the_next_one_free(self, opened: Database, owner: UUID) -> None:
        """The second waits for the first, whose voice could not be stored after all."""
        new = new_create(owner)
        await make(opened, new)
        second = uuid4()
        linked: list[bool] = []

        async def wait_for_the_first() -> None:
            async with opened.as_user(owner) as tx:
                linked.append(await creates.link_voice(tx, owner, new.id, second))

        async with anyio.create_task_group() as group:
            with pytest.raises(AlreadyExists):
                async with opened.as_user(owner) as tx:
                    assert await creates.link_voice(tx, owner, new.id, uuid4())
                    group.start_soon(wait_for_the_first)
                    raise AlreadyExists("as the insert of the voice would")
        assert linked == [True]
        assert (await read(opened, new)).voice_id == second

    async def test_one_that_is_not_made_yet_is_not_linked(self, opened: Database, owner: UUID) -> None:
        new = new_create(owner)
        await claim(opened, new)
        async with opened.as_user(owner) as tx:
            assert not await creates.link_voice(tx, owner, new.id, uuid4())

    async def test_a_preview_is_found_by_its_sound_by_its_owner_only(
        self, opened: Database, owner: UUID, database: TestDatabase
    ) -> None:
        older, newer = new_create(owner), new_create(owner)
        await make(opened, older)
        await make(opened, newer)
        stranger = database.create_user()
        async with opened.as_user(owner) as tx:
            found = await creates.find_preview(tx, owner, DIGEST)
            assert await creates.find_preview(tx, owner, "00" * 32) is None
        assert found is not None
        assert found.id == newer.id
        async with opened.as_user(stranger) as tx:
            assert await creates.find_preview(tx, stranger, DIGEST) is None
            assert await creates.get_create(tx, owner, newer.id) is None, "row level security alone hides it"
            assert not await creates.link_voice(tx, owner, newer.id, uuid4())

    @pytest.mark.parametrize(
        "statement",
        [
            "update utter.voice_creates set provider_voice_id = 'x'",
            "delete from utter.voice_creates",
            "insert into utter.voice_creates (id, user_id) values (gen_random_uuid(), gen_random_uuid())",
            "update utter.voice_creates set user_id = gen_random_uuid()",
        ],
    )
    async def test_a_user_writes_nothing_else(self, opened: Database, owner: UUID, statement: str) -> None:
        query: Query[object] = Query("test.refused", statement, (), object)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with opened.as_user(owner) as tx:
                await tx.fetch(query)

    @pytest.mark.parametrize("role", ["anon", "authenticated"])
    async def test_browsers_do_not_reach_it_at_all(self, database: TestDatabase, role: str) -> None:
        async with connected(database) as sql:
            await sql.execute(f"set role {role}")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await sql.execute("select from utter.voice_creates")


class TestStaleDesigns:
    async def test_each_goes_to_one_caller(self, opened: Database, owner: UUID) -> None:
        stale = [new_create(owner) for _ in range(6)]
        for new in stale:
            await claim(opened, new, seconds=0)
        fresh, clone = new_create(owner), new_create(owner, "vc")
        await claim(opened, fresh)
        await claim(opened, clone, seconds=0)
        taken: list[UUID] = []

        async def one() -> None:
            async with opened.as_service() as tx:
                rows = await creates.take_stale_designs(tx, seconds=LONG_SECONDS, limit=2)
                taken.extend(row.id for row in rows if row.user_id == owner)

        async with anyio.create_task_group() as group:
            for _ in range(6):
                group.start_soon(one)
        assert sorted(taken) == sorted(new.id for new in stale)

    async def test_what_one_caller_takes_another_does_not_wait_for(self, opened: Database, owner: UUID) -> None:
        new = new_create(owner)
        await claim(opened, new, seconds=0)
        async with opened.as_service() as first, opened.as_service() as second:
            (taken,) = await creates.take_stale_designs(first, seconds=LONG_SECONDS, limit=10)
            assert await creates.take_stale_designs(second, seconds=LONG_SECONDS, limit=10) == []
        assert (taken.id, taken.attempts, taken.request) == (new.id, 2, new.request)
        assert not (await claim(opened, new)).granted, "it belongs to whoever took it"

    @pytest.mark.parametrize("state", ["created", "refused", "ambiguous"])
    async def test_what_has_an_outcome_is_not_taken(self, opened: Database, owner: UUID, state: str) -> None:
        new = new_create(owner)
        await claim(opened, new, seconds=0)
        if state == "created":
            await record(opened, new)
        else:
            await fail(opened, new.id, cast("Failure", state))
        async with opened.as_service() as tx:
            assert await creates.take_stale_designs(tx, seconds=LONG_SECONDS, limit=10) == []


class TestOrphans:
    async def test_a_saved_voice_is_none_even_when_it_is_deleted(self, opened: Database, owner: UUID) -> None:
        new = new_create(owner, "vc")
        await make(opened, new)
        assert await reasons(opened, new.id) == ["never_saved"]
        voice = new_voice(owner)
        async with opened.as_user(owner) as tx:
            await voices.insert_voice(tx, voice)
            await creates.link_voice(tx, owner, new.id, voice.id)
            await voices.delete_voice(tx, owner, voice.id)
        assert await reasons(opened, new.id) == []

    async def test_a_clone_whose_row_has_its_id_needs_no_link(self, opened: Database, owner: UUID) -> None:
        voice = new_voice(owner)
        await make(opened, new_create(owner, "vc", create_id=voice.id))
        async with opened.as_user(owner) as tx:
            await voices.insert_voice(tx, voice)
        assert await reasons(opened, voice.id) == []

    async def test_a_saved_voice_that_v1_deletes_for_good_is_one(
        self, opened: Database, database: TestDatabase, owner: UUID
    ) -> None:
        new, voice = new_create(owner), new_voice(owner)
        await make(opened, new)
        async with opened.as_user(owner) as tx:
            await voices.insert_voice(tx, voice)
            assert await creates.link_voice(tx, owner, new.id, voice.id)
        assert await reasons(opened, new.id) == []
        async with connected(database) as sql:
            await sql.execute("delete from public.voices where id = $1", voice.id)
        assert await reasons(opened, new.id) == ["voice_gone"]

    async def test_a_refused_one_is_none(self, opened: Database, owner: UUID) -> None:
        new = new_create(owner, "vc")
        await claim(opened, new)
        await fail(opened, new.id, "refused")
        assert await reasons(opened, new.id) == []

    async def test_a_preview_is_one_when_its_task_is_gone_or_was_cancelled_or_it_waits_too_long(
        self, opened: Database, owner: UUID
    ) -> None:
        new = new_create(owner)
        await make(opened, new)
        assert await reasons(opened, new.id) == ["preview_deleted"]
        async with opened.as_user(owner) as tx:
            await tasks.insert_task(tx, NewTask(id=new.id, user_id=owner, type="design_preview", provider="qwen"))
        assert await reasons(opened, new.id) == []
        assert await reasons(opened, new.id, unsaved_seconds=-1) == ["never_saved"]
        async with opened.as_service() as tx:
            assert await generations.cancel_generation(tx, None, new.id)
        assert await reasons(opened, new.id) == ["preview_ended"]

    async def test_what_nobody_knows_is_listed_until_it_is_known(self, opened: Database, owner: UUID) -> None:
        new = new_create(owner, "vc")
        await claim(opened, new)
        assert await reasons(opened, new.id) == []
        await fail(opened, new.id, "ambiguous")
        assert await reasons(opened, new.id) == ["ambiguous"]
        await claim(opened, new, seconds=0)
        assert await reasons(opened, new.id) == ["abandoned"]

    async def test_it_outlives_its_user(self, opened: Database, database: TestDatabase) -> None:
        user = database.create_user()
        new = new_create(user, "vc")
        await make(opened, new)
        async with connected(database) as sql:
            await sql.execute("delete from auth.users where id = $1", user)
        assert await reasons(opened, new.id) == ["never_saved"]
