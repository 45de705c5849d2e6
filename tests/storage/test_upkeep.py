"""What operators read and end across all users: pages, what a task speaks with, and a restore at the same time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import anyio
import pytest

from schema.records import NewVoice
from storage import generations, upkeep, voices
from storage.database import Database
from tests.support.exchange import WAIT_SECONDS
from tests.support.postgres import TestDatabase
from tests.support.rows import new_generation, new_voice

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

AT_ONCE = 0.0
"""Seconds since a deletion after which it counts."""


@pytest.fixture
async def opened(database: TestDatabase) -> AsyncIterator[Database]:
    async with Database.open(database.gateway_url, max_connections=3) as found:
        yield found


async def add(opened: Database, owner: UUID, *, deleted: bool = False) -> NewVoice:
    voice = new_voice(owner)
    async with opened.as_user(owner) as tx:
        await voices.insert_voice(tx, voice)
    if deleted:
        async with opened.as_user(owner) as tx:
            assert await voices.delete_voice(tx, owner, voice.id)
    return voice


async def purgeable(opened: Database, seconds: float = AT_ONCE) -> set[UUID]:
    return {voice.id async for voice in upkeep.purgeable_voices(opened, seconds=seconds)}


async def test_everybody_s_voices_over_several_pages(
    opened: Database, database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "PAGE_ROWS", 2)
    ada, bob = database.create_user(), database.create_user()
    mine = [await add(opened, ada, deleted=number == 0) for number in range(4)]
    theirs = await add(opened, bob)
    listed = [voice async for voice in upkeep.all_voices(opened, None)]
    assert [voice.id for voice in listed] == sorted(voice.id for voice in (*mine, theirs))
    assert {voice.id for voice in listed if voice.deleted} == {mine[0].id}
    assert {voice.id async for voice in upkeep.all_voices(opened, bob)} == {theirs.id}
    assert await purgeable(opened) == {mine[0].id}
    assert await purgeable(opened, seconds=60) == set()


async def test_what_a_task_speaks_with_is_left(opened: Database, database: TestDatabase) -> None:
    ada = database.create_user()
    voice = await add(opened, ada)
    new = new_generation(ada, voice.id)
    async with opened.as_user(ada) as tx:
        await generations.start_generation(tx, new)
        assert await voices.delete_voice(tx, ada, voice.id)
    assert await purgeable(opened) == set()
    async with opened.as_service() as tx:
        assert await generations.cancel_generation(tx, new.generation_id, new.task_id)
    assert await purgeable(opened) == {voice.id}


async def test_a_purge_ends_only_what_was_deleted_long_enough_ago(opened: Database, database: TestDatabase) -> None:
    ada = database.create_user()
    kept, young, old = (
        await add(opened, ada),
        await add(opened, ada, deleted=True),
        await add(opened, ada, deleted=True),
    )
    async with opened.as_service() as tx:
        assert not await upkeep.purge_voice(tx, kept.id, seconds=AT_ONCE)
        assert not await upkeep.purge_voice(tx, young.id, seconds=60)
        assert await upkeep.purge_voice(tx, old.id, seconds=AT_ONCE)
        assert not await upkeep.purge_voice(tx, old.id, seconds=AT_ONCE), "once"
    assert {voice.id async for voice in upkeep.all_voices(opened, ada)} == {kept.id, young.id}


async def test_who_restores_it_meanwhile_finds_nothing(opened: Database, database: TestDatabase) -> None:
    ada = database.create_user()
    voice = await add(opened, ada, deleted=True)
    restored: list[object] = []

    async def restore() -> None:
        async with opened.as_user(ada) as tx:
            restored.append(await voices.restore_voice(tx, ada, voice.id))

    with anyio.fail_after(WAIT_SECONDS):
        async with anyio.create_task_group() as tasks, opened.as_service() as tx:
            assert await upkeep.purge_voice(tx, voice.id, seconds=AT_ONCE)
            tasks.start_soon(restore)
            await anyio.wait_all_tasks_blocked()
            assert restored == []
    assert restored == [None]
