"""Voices, generations, tasks and profiles of one owner: listings, the guard, and every change of state."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Literal
from uuid import UUID, uuid4

import anyio
import asyncpg
import msgspec
import pytest

from schema.records import Completion, GenerationRow, NewGeneration, TaskRow
from storage import generations, profiles, tasks, voices
from storage.database import ActiveTaskExists, AlreadyExists, Database, UnknownUser
from storage.generations import CANCELLED_BY_USER
from storage.paging import MAX_OFFSET, offset
from tests.support.postgres import TestDatabase
from tests.support.rows import completion, new_generation, new_voice

pytestmark = [pytest.mark.integration, pytest.mark.anyio]


@pytest.fixture
async def opened(database: TestDatabase) -> AsyncIterator[Database]:
    async with Database.open(database.gateway_url, max_connections=4) as found:
        yield found


@pytest.fixture
def owner(database: TestDatabase) -> UUID:
    return database.create_user()


@pytest.fixture
async def voice_id(opened: Database, owner: UUID) -> UUID:
    voice = new_voice(owner)
    async with opened.as_user(owner) as tx:
        await voices.insert_voice(tx, voice)
    return voice.id


async def start(
    opened: Database,
    owner: UUID,
    voice_id: UUID,
    task_type: Literal["generate", "generate_stream"] = "generate_stream",
    text: str = "Good morning.",
) -> NewGeneration:
    new = new_generation(owner, voice_id, task_type, text)
    async with opened.as_user(owner) as tx:
        await generations.start_generation(tx, new)
    return new


async def read(opened: Database, new: NewGeneration) -> tuple[GenerationRow, TaskRow]:
    async with opened.as_user(new.user_id) as tx:
        generation = await generations.get_generation(tx, new.user_id, new.generation_id)
        task = await tasks.get_task(tx, new.user_id, new.task_id)
    assert generation is not None
    assert task is not None
    return generation, task


async def end(opened: Database, new: NewGeneration, how: str) -> bool:
    async with opened.as_service() as tx:
        match how:
            case "complete":
                return await generations.complete_generation(tx, completion(new))
            case "fail":
                return await generations.fail_generation(tx, new.generation_id, new.task_id, "It failed.")
            case _:
                return await generations.cancel_generation(tx, new.generation_id, new.task_id)


async def test_a_voice_comes_back_as_it_went_in(opened: Database, owner: UUID) -> None:
    voice = new_voice(owner)
    async with opened.as_user(owner) as tx:
        stored = await voices.insert_voice(tx, voice)
        assert await voices.get_voice(tx, owner, voice.id) == stored
    assert msgspec.structs.asdict(voice).items() <= msgspec.structs.asdict(stored).items()
    assert stored.deleted_at is None
    assert stored.created_at.tzinfo is not None


async def test_a_voice_id_that_is_taken_and_an_owner_that_is_gone_are_told_apart(opened: Database, owner: UUID) -> None:
    voice = new_voice(owner)
    async with opened.as_user(owner) as tx:
        await voices.insert_voice(tx, voice)
    with pytest.raises(AlreadyExists):
        async with opened.as_user(owner) as tx:
            await voices.insert_voice(tx, voice)
    nobody = uuid4()
    with pytest.raises(UnknownUser):
        async with opened.as_user(nobody) as tx:
            await voices.insert_voice(tx, new_voice(nobody))
    with pytest.raises(UnknownUser):
        async with opened.as_user(nobody) as tx:
            await profiles.get_or_create_profile(tx, nobody)


async def test_other_constraints_stay_errors_of_the_driver(opened: Database, owner: UUID) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        async with opened.as_user(owner) as tx:
            await voices.insert_voice(tx, new_voice(owner, name=""))


async def test_voices_are_listed_newest_first_in_pages(opened: Database, owner: UUID) -> None:
    for number in range(5):
        async with opened.as_user(owner) as tx:
            await voices.insert_voice(tx, new_voice(owner, f"voice {number}"))
    async with opened.as_user(owner) as tx:
        pages = [
            await voices.list_voices(tx, owner, search=None, source=None, page=page, per_page=2)
            for page in (1, 2, 3, 4)
        ]
        far = await voices.list_voices(tx, owner, search=None, source=None, page=10**30, per_page=100)
    names = [[voice.name for voice in page.items] for page in pages]
    assert names == [["voice 4", "voice 3"], ["voice 2", "voice 1"], ["voice 0"], []]
    assert {page.total for page in [*pages, far]} == {5}
    assert far.items == []


@pytest.mark.parametrize(
    ("search", "wanted"),
    [
        ("ADA", {"Ada 100%", "ada_b"}),
        ("%", {"Ada 100%"}),
        ("_", {"ada_b"}),
        ("\\", {"back\\slash"}),
        ("ärz", {"MÄRZ"}),
        ("", {"Ada 100%", "ada_b", "back\\slash", "MÄRZ"}),
        ("*", set[str]()),
    ],
)
async def test_a_search_word_is_literal_and_ignores_case(
    opened: Database, owner: UUID, search: str, wanted: set[str]
) -> None:
    async with opened.as_user(owner) as tx:
        for name in ("Ada 100%", "ada_b", "back\\slash", "MÄRZ"):
            await voices.insert_voice(tx, new_voice(owner, name))
        found = await voices.list_voices(tx, owner, search=search, source=None, page=1, per_page=10)
    assert {voice.name for voice in found.items} == wanted
    assert found.total == len(wanted)


async def test_voices_can_be_listed_by_source(opened: Database, owner: UUID) -> None:
    async with opened.as_user(owner) as tx:
        await voices.insert_voice(tx, new_voice(owner, "cloned"))
        await voices.insert_voice(tx, new_voice(owner, "drawn", source="designed"))
        found = await voices.list_voices(tx, owner, search=None, source="designed", page=1, per_page=10)
    assert [voice.name for voice in found.items] == ["drawn"]
    assert found.total == 1


async def test_deleting_a_voice_is_soft_and_repeatable(opened: Database, owner: UUID, voice_id: UUID) -> None:
    new = await start(opened, owner, voice_id)
    async with opened.as_user(owner) as tx:
        assert await voices.delete_voice(tx, owner, voice_id)
        assert await voices.delete_voice(tx, owner, voice_id)
        assert not await voices.delete_voice(tx, owner, uuid4())
        assert await voices.get_voice(tx, owner, voice_id) is None
        found = await voices.list_voices(tx, owner, search=None, source=None, page=1, per_page=10)
    assert (found.items, found.total) == ([], 0)
    generation, _ = await read(opened, new)
    assert (generation.voice_id, generation.voice_name) == (voice_id, "Ada")


async def test_a_generation_starts_with_its_task(opened: Database, owner: UUID, voice_id: UUID) -> None:
    new = await start(opened, owner, voice_id)
    generation, task = await read(opened, new)
    assert (generation.status, generation.text, generation.language) == ("processing", "Good morning.", "English")
    assert (generation.tts_provider, generation.provider_model) == ("qwen", new.provider_model)
    assert generation.timings is None
    assert (task.type, task.status, task.provider_status) == ("generate_stream", "pending", "queued")
    assert (task.generation_id, task.voice_id, task.provider) == (new.generation_id, voice_id, "qwen")
    assert task.metadata == {
        "voice_id": str(voice_id),
        "voice_name": "Ada",
        "language": "English",
        "text_length": len(new.text),
    }
    assert task.result is None


async def test_one_active_generate_per_user_and_streams_do_not_count(
    opened: Database, database: TestDatabase, owner: UUID, voice_id: UUID
) -> None:
    await start(opened, owner, voice_id, "generate_stream")
    first = await start(opened, owner, voice_id, "generate")
    await start(opened, owner, voice_id, "generate_stream")
    with pytest.raises(ActiveTaskExists):
        await start(opened, owner, voice_id, "generate")
    async with opened.as_user(owner) as tx:
        listed = await generations.list_generations(tx, owner, search=None, status=None, page=1, per_page=10)
    assert listed.total == 3, "the refused one left no generation"
    other = database.create_user()
    other_voice = new_voice(other)
    async with opened.as_user(other) as tx:
        await voices.insert_voice(tx, other_voice)
    await start(opened, other, other_voice.id, "generate")
    await end(opened, first, "fail")
    await start(opened, owner, voice_id, "generate")


async def test_of_two_generates_at_once_one_wins(opened: Database, owner: UUID, voice_id: UUID) -> None:
    refused: list[ActiveTaskExists] = []

    async def attempt() -> None:
        try:
            await start(opened, owner, voice_id, "generate")
        except ActiveTaskExists as error:
            refused.append(error)

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(attempt)
    assert len(refused) == 3


async def test_progress_makes_a_task_processing_until_it_ends(opened: Database, owner: UUID, voice_id: UUID) -> None:
    new = await start(opened, owner, voice_id)
    seen = []
    for status in ("queued", "ws_connecting", "streaming", "finalizing"):
        async with opened.as_service() as tx:
            assert await tasks.set_provider_status(tx, new.task_id, status)
        _, task = await read(opened, new)
        seen.append((task.provider_status, task.status))
    assert seen == [
        ("queued", "pending"),
        ("ws_connecting", "processing"),
        ("streaming", "processing"),
        ("finalizing", "processing"),
    ]
    await end(opened, new, "cancel")
    async with opened.as_service() as tx:
        assert not await tasks.set_provider_status(tx, new.task_id, "streaming")
        assert not await tasks.set_provider_status(tx, uuid4(), "streaming")
    _, task = await read(opened, new)
    assert task.provider_status == "cancelled"


@pytest.mark.parametrize("status", ["completed", "cancelled", "provider_submitting", ""])
async def test_progress_outside_the_closed_list_is_refused(opened: Database, status: str) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError):
        async with opened.as_service() as tx:
            await tasks.set_provider_status(tx, uuid4(), status)


async def test_a_completed_generation_carries_everything_back(opened: Database, owner: UUID, voice_id: UUID) -> None:
    new = await start(opened, owner, voice_id)
    assert await end(opened, new, "complete")
    done: Completion = completion(new)
    generation, task = await read(opened, new)
    assert (generation.status, task.status, task.provider_status) == ("completed", "completed", "completed")
    assert generation.audio_object_key == done.object_key
    assert (generation.audio_bytes, generation.audio_sha256) == (done.audio_bytes, done.audio_sha256)
    assert (generation.duration_seconds, generation.generation_time_seconds) == (1.5, 0.75)
    assert (generation.first_audio_seconds, generation.characters_billed) == (0.25, 13)
    assert (generation.timings, generation.provider_metadata) == (done.timings, done.provider_metadata)
    assert generation.output_format == "mp3"
    assert generation.completed_at is not None
    assert task.completed_at == generation.completed_at
    assert task.result == {
        "audio_url": f"/api/generations/{new.generation_id}/audio",
        "audio_bytes": done.audio_bytes,
        "audio_sha256": done.audio_sha256,
    }


async def test_a_failed_generation_says_why_in_both_rows(opened: Database, owner: UUID, voice_id: UUID) -> None:
    new = await start(opened, owner, voice_id)
    assert await end(opened, new, "fail")
    generation, task = await read(opened, new)
    assert (generation.status, generation.error_message) == ("failed", "It failed.")
    assert (task.status, task.error, task.provider_status) == ("failed", "It failed.", "failed")
    assert not task.cancellation_requested


async def test_a_cancelled_generation_is_cancelled_in_both_rows(opened: Database, owner: UUID, voice_id: UUID) -> None:
    new = await start(opened, owner, voice_id)
    assert await end(opened, new, "cancel")
    generation, task = await read(opened, new)
    assert (generation.status, generation.error_message) == ("cancelled", CANCELLED_BY_USER)
    assert (task.status, task.error, task.cancellation_requested) == ("cancelled", CANCELLED_BY_USER, True)
    assert generation.generation_time_seconds is not None
    assert generation.generation_time_seconds >= 0


@pytest.mark.parametrize("first", ["complete", "fail", "cancel"])
@pytest.mark.parametrize("second", ["complete", "fail", "cancel"])
async def test_whoever_comes_second_changes_nothing(
    opened: Database, owner: UUID, voice_id: UUID, first: str, second: str
) -> None:
    new = await start(opened, owner, voice_id)
    assert await end(opened, new, first)
    before = await read(opened, new)
    assert not await end(opened, new, second)
    assert await read(opened, new) == before


@pytest.mark.parametrize("how", ["complete", "fail", "cancel"])
async def test_ending_what_never_was_changes_nothing(opened: Database, owner: UUID, how: str) -> None:
    assert not await end(opened, new_generation(owner, uuid4()), how)


@pytest.mark.parametrize("how", ["fail", "cancel"])
async def test_a_task_whose_generation_is_gone_still_ends(
    opened: Database, owner: UUID, voice_id: UUID, how: str
) -> None:
    new = await start(opened, owner, voice_id)
    async with opened.as_user(owner) as tx:
        gone = await generations.delete_generation(tx, owner, new.generation_id)
        assert gone is not None
        assert (gone.id, gone.voice_name, gone.status) == (new.generation_id, "Ada", "processing")
        assert await generations.delete_generation(tx, owner, new.generation_id) is None
        task = await tasks.get_task(tx, owner, new.task_id)
    assert task is not None
    assert task.generation_id is None
    assert not await end(opened, new, "complete")
    assert await end(opened, new, how)


async def test_a_generation_whose_task_is_gone_still_completes(opened: Database, owner: UUID, voice_id: UUID) -> None:
    new = await start(opened, owner, voice_id)
    async with opened.as_user(owner) as tx:
        gone = await tasks.delete_task(tx, owner, new.task_id)
        assert gone is not None
        assert gone.id == new.task_id
        assert await tasks.delete_task(tx, owner, new.task_id) is None
    assert await end(opened, new, "complete")
    async with opened.as_user(owner) as tx:
        row = await generations.get_generation(tx, owner, new.generation_id)
    assert row is not None
    assert row.status == "completed"


async def test_generations_are_listed_by_text_and_status(opened: Database, owner: UUID, voice_id: UUID) -> None:
    done = await start(opened, owner, voice_id, text="100% sure")
    await end(opened, done, "complete")
    running = await start(opened, owner, voice_id, text="100 times")

    async def listed(search: str | None, status: str | None) -> list[UUID]:
        async with opened.as_user(owner) as tx:
            page = await generations.list_generations(tx, owner, search=search, status=status, page=1, per_page=10)
        assert page.total == len(page.items)
        return [row.id for row in page.items]

    assert await listed(None, None) == [running.generation_id, done.generation_id]
    assert await listed("100%", None) == [done.generation_id]
    assert await listed(None, "processing") == [running.generation_id]
    assert await listed(None, "no such status") == []


async def test_local_users_are_made_once_by_the_administrator(database: TestDatabase) -> None:
    user = uuid4()
    async with Database.open(database.admin_url, max_connections=1) as admin, admin.as_service() as tx:
        assert await profiles.create_local_user(tx, user)
        assert not await profiles.create_local_user(tx, user)
    async with Database.open(database.gateway_url, max_connections=1) as opened, opened.as_user(user) as tx:
        assert (await profiles.get_or_create_profile(tx, user)).id == user


def test_a_page_number_of_any_size_is_an_offset_postgres_takes() -> None:
    assert offset(1, 20) == 0
    assert offset(3, 20) == 40
    assert offset(10**300, 100) == MAX_OFFSET
