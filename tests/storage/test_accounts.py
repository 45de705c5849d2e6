"""What users change about themselves and take back: profiles, deleted voices."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import anyio
import pytest

from schema.records import ProfileRow
from storage import profiles, voices
from storage.database import Database
from storage.errors import HandleTaken
from storage.profiles import ProfileField
from tests.support.postgres import TestDatabase
from tests.support.rows import new_voice

pytestmark = [pytest.mark.integration, pytest.mark.anyio]


@pytest.fixture
async def opened(database: TestDatabase) -> AsyncIterator[Database]:
    async with Database.open(database.gateway_url, max_connections=4) as found:
        yield found


@pytest.fixture
def owner(database: TestDatabase) -> UUID:
    return database.create_user()


async def change(opened: Database, owner: UUID, changes: dict[ProfileField, str | None]) -> ProfileRow | None:
    async with opened.as_user(owner) as tx:
        return await profiles.update_profile(tx, owner, changes)


class TestProfiles:
    async def test_what_is_not_named_stays_and_null_clears(self, opened: Database, owner: UUID) -> None:
        first = await change(opened, owner, {"handle": "ada", "display_name": "Ada", "avatar_url": "https://a/b"})
        assert first is not None
        second = await change(opened, owner, {"display_name": None})
        assert second is not None
        assert (second.handle, second.display_name, second.avatar_url) == ("ada", None, "https://a/b")
        assert (second.credits_remaining, second.subscription_tier) == (100, "free")
        assert second.updated_at > first.updated_at

    async def test_a_handle_is_one_users(self, opened: Database, database: TestDatabase, owner: UUID) -> None:
        other = database.create_user()
        await change(opened, owner, {"handle": "ada"})
        with pytest.raises(HandleTaken):
            await change(opened, other, {"handle": "ada", "display_name": "Eve"})
        async with opened.as_user(other) as tx:
            profile = await profiles.get_or_create_profile(tx, other)
        assert (profile.handle, profile.display_name) == (None, None)
        assert await change(opened, owner, {"handle": "ada"}) is not None, "one's own handle is not taken"

    async def test_of_two_who_want_a_handle_at_once_one_gets_it(self, opened: Database, database: TestDatabase) -> None:
        users = [database.create_user() for _ in range(4)]
        refused: list[UUID] = []

        async def one(user: UUID) -> None:
            try:
                await change(opened, user, {"handle": "ada"})
            except HandleTaken:
                refused.append(user)

        async with anyio.create_task_group() as group:
            for user in users:
                group.start_soon(one, user)
        assert len(refused) == len(users) - 1

    async def test_without_a_profile_nothing_is_made(
        self, opened: Database, database: TestDatabase, owner: UUID
    ) -> None:
        database.run("delete from public.profiles")
        assert await change(opened, owner, {"handle": "ada"}) is None


class TestDeletedVoices:
    async def test_a_deletion_is_taken_back(self, opened: Database, owner: UUID) -> None:
        voice = new_voice(owner)
        async with opened.as_user(owner) as tx:
            stored = await voices.insert_voice(tx, voice)
            await voices.delete_voice(tx, owner, voice.id)
            found = await voices.get_any_voice(tx, owner, voice.id)
            assert found is not None
            assert found.deleted_at is not None
            assert await voices.restore_voice(tx, owner, voice.id) == stored
            assert await voices.restore_voice(tx, owner, voice.id) == stored, "twice is once"
            assert await voices.get_voice(tx, owner, voice.id) == stored

    async def test_what_is_unknown_or_anothers_is_not_there(
        self, opened: Database, database: TestDatabase, owner: UUID
    ) -> None:
        voice, stranger = new_voice(owner), database.create_user()
        async with opened.as_user(owner) as tx:
            await voices.insert_voice(tx, voice)
            await voices.delete_voice(tx, owner, voice.id)
            assert await voices.restore_voice(tx, owner, uuid4()) is None
            assert await voices.get_any_voice(tx, owner, uuid4()) is None
        async with opened.as_user(stranger) as tx:
            for named in (stranger, owner):
                assert await voices.restore_voice(tx, named, voice.id) is None
                assert await voices.get_any_voice(tx, named, voice.id) is None
        async with opened.as_user(owner) as tx:
            assert await voices.get_voice(tx, owner, voice.id) is None
