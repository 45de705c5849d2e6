"""Tasks without a generation, v1's guard, and generations that end in Modal's way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import anyio
import msgspec
import pytest

from schema.records import Completion, NewGeneration, NewTask, TaskRow
from storage import generations, tasks, voices
from storage.database import AlreadyExists, Database, UnknownUser
from tests.support.postgres import TestDatabase
from tests.support.rows import completion, new_generation, new_voice

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

PREVIEW = {"object_key": "owner/preview.wav"}


@pytest.fixture
async def opened(database: TestDatabase) -> AsyncIterator[Database]:
    async with Database.open(database.gateway_url, max_connections=8) as found:
        yield found


@pytest.fixture
def owner(database: TestDatabase) -> UUID:
    return database.create_user()


def new_preview(owner: UUID) -> NewTask:
    return NewTask(
        id=uuid4(),
        user_id=owner,
        type="design_preview",
        provider="qwen",
        provider_status="queued",
        metadata={"text": "Hello.", "language": "English", "instruct": "Calm."},
    )


async def preview(opened: Database, owner: UUID) -> NewTask:
    new = new_preview(owner)
    async with opened.as_user(owner) as tx:
        await tasks.insert_task(tx, new)
    return new


async def start(opened: Database, owner: UUID) -> NewGeneration:
    voice = new_voice(owner)
    new = new_generation(owner, voice.id, "generate", provider="modal")
    async with opened.as_user(owner) as tx:
        await voices.insert_voice(tx, voice)
        await generations.start_generation(tx, new)
    return new


async def read(opened: Database, owner: UUID, task_id: UUID) -> TaskRow:
    async with opened.as_user(owner) as tx:
        row = await tasks.get_task(tx, owner, task_id)
    assert row is not None
    return row


def of_modal(new: NewGeneration) -> Completion:
    """Modal tells neither how long its audio is nor what it billed."""
    return msgspec.structs.replace(
        completion(new),
        object_key=f"{new.user_id}/{new.generation_id}.wav",
        output_format="wav",
        duration_seconds=None,
        characters_billed=None,
        first_audio_seconds=None,
    )


class TestPreviews:
    async def test_one_waits_with_what_was_asked_for(self, opened: Database, owner: UUID) -> None:
        new = await preview(opened, owner)
        row = await read(opened, owner, new.id)
        assert (row.type, row.status, row.provider, row.provider_status) == (
            "design_preview",
            "pending",
            "qwen",
            "queued",
        )
        assert (row.metadata, row.result, row.generation_id, row.voice_id) == (new.metadata, None, None, None)

    async def test_an_id_that_is_taken_and_an_owner_that_is_gone_are_told_apart(
        self, opened: Database, owner: UUID
    ) -> None:
        new = await preview(opened, owner)
        with pytest.raises(AlreadyExists):
            async with opened.as_user(owner) as tx:
                await tasks.insert_task(tx, new)
        nobody = uuid4()
        with pytest.raises(UnknownUser):
            async with opened.as_user(nobody) as tx:
                await tasks.insert_task(tx, new_preview(nobody))

    async def test_there_may_be_many_and_they_are_no_generate(self, opened: Database, owner: UUID) -> None:
        for _ in range(3):
            await preview(opened, owner)
        async with opened.as_user(owner) as tx:
            assert not await tasks.has_active_generate(tx, owner)

    @pytest.mark.parametrize("first", ["complete", "fail", "cancel"])
    @pytest.mark.parametrize("second", ["complete", "fail", "cancel"])
    async def test_whoever_comes_second_changes_nothing(
        self, opened: Database, owner: UUID, first: str, second: str
    ) -> None:
        new = await preview(opened, owner)
        assert await self.end(opened, new.id, first)
        before = await read(opened, owner, new.id)
        assert not await self.end(opened, new.id, second)
        assert await read(opened, owner, new.id) == before

    async def test_of_many_ends_at_once_one_counts(self, opened: Database, owner: UUID) -> None:
        new = await preview(opened, owner)
        ended: list[str] = []

        async def one(how: str) -> None:
            if await self.end(opened, new.id, how):
                ended.append(how)

        async with anyio.create_task_group() as group:
            for how in ["complete", "fail", "cancel"] * 7:
                group.start_soon(one, how)
        (how,) = ended
        status = {"complete": "completed", "fail": "failed", "cancel": "cancelled"}[how]
        assert (await read(opened, owner, new.id)).status == status

    async def test_only_previews_complete_this_way(self, opened: Database, owner: UUID) -> None:
        new = await start(opened, owner)
        assert not await self.end(opened, new.task_id, "complete")
        assert not await self.end(opened, uuid4(), "complete")
        assert (await read(opened, owner, new.task_id)).status == "pending"

    async def end(self, opened: Database, task_id: UUID, how: str) -> bool:
        async with opened.as_service() as tx:
            match how:
                case "complete":
                    return await tasks.complete_design(tx, task_id, PREVIEW)
                case "fail":
                    return await generations.fail_generation(tx, None, task_id, "It failed.")
                case _:
                    return await generations.cancel_generation(tx, None, task_id)


class TestTheGuard:
    async def test_it_sees_only_ones_own_running_generates(
        self, opened: Database, database: TestDatabase, owner: UUID
    ) -> None:
        other = database.create_user()
        new = await start(opened, owner)
        async with opened.as_user(owner) as tx:
            assert await tasks.has_active_generate(tx, owner)
        async with opened.as_user(other) as tx:
            assert not await tasks.has_active_generate(tx, other)
        async with opened.as_service() as tx:
            await generations.fail_generation(tx, new.generation_id, new.task_id, "It failed.")
        async with opened.as_user(owner) as tx:
            assert not await tasks.has_active_generate(tx, owner)


class TestTasksOfGenerations:
    async def test_the_newest_task_of_a_generation_is_found(
        self, opened: Database, database: TestDatabase, owner: UUID
    ) -> None:
        new = await start(opened, owner)
        async with opened.as_user(owner) as tx:
            found = await tasks.find_task(tx, owner, new.generation_id)
            assert found is not None
            assert found.id == new.task_id
            assert await tasks.find_task(tx, owner, uuid4()) is None
        stranger = database.create_user()
        async with opened.as_user(stranger) as tx:
            assert await tasks.find_task(tx, stranger, new.generation_id) is None


class TestModalCompletions:
    async def test_what_modal_does_not_tell_stays_unknown(self, opened: Database, owner: UUID) -> None:
        new = await start(opened, owner)
        done = of_modal(new)
        async with opened.as_service() as tx:
            assert await generations.complete_generation(tx, done)
        async with opened.as_user(owner) as tx:
            row = await generations.get_generation(tx, owner, new.generation_id)
        assert row is not None
        assert (row.status, row.output_format, row.audio_object_key) == ("completed", "wav", done.object_key)
        assert (row.duration_seconds, row.characters_billed, row.first_audio_seconds) == (None, None, None)
        assert (row.audio_bytes, row.audio_sha256) == (done.audio_bytes, done.audio_sha256)

    async def test_a_generation_that_v1_completed_lets_its_task_complete(
        self, opened: Database, database: TestDatabase, owner: UUID
    ) -> None:
        """v1 writes the generation, then the task, and may end between the two (contract 2.3, step 4)."""
        new = await start(opened, owner)
        database.run(
            "update public.generations set status = 'completed', audio_object_key = 'v1/key.wav', completed_at = now()"
            " where id = :'id'",
            id=str(new.generation_id),
        )
        async with opened.as_user(owner) as tx:
            before = await generations.get_generation(tx, owner, new.generation_id)
        async with opened.as_service() as tx:
            assert await generations.complete_generation(tx, of_modal(new))
            assert not await generations.complete_generation(tx, of_modal(new))
        async with opened.as_user(owner) as tx:
            assert await generations.get_generation(tx, owner, new.generation_id) == before
        task = await read(opened, owner, new.task_id)
        assert (task.status, task.provider_status, task.error) == ("completed", "completed", None)
        assert task.result == {"audio_url": f"/api/generations/{new.generation_id}/audio"}, "nothing it does not know"

    async def test_audio_that_is_stored_is_not_replaced_by_another_object(
        self, opened: Database, database: TestDatabase, owner: UUID
    ) -> None:
        new = await start(opened, owner)
        set_key = "update public.generations set audio_object_key = :'key' where id = :'id'"
        database.run(set_key, key="v1/key.wav", id=str(new.generation_id))
        async with opened.as_service() as tx:
            assert not await generations.complete_generation(tx, of_modal(new))
            done = msgspec.structs.replace(of_modal(new), object_key="v1/key.wav")
            assert await generations.complete_generation(tx, done)
        assert (await read(opened, owner, new.task_id)).status == "completed"

    @pytest.mark.parametrize("how", ["fail", "cancel"])
    async def test_what_has_ended_otherwise_stays_so(self, opened: Database, owner: UUID, how: str) -> None:
        new = await start(opened, owner)
        async with opened.as_service() as tx:
            if how == "fail":
                await generations.fail_generation(tx, new.generation_id, new.task_id, "It failed.")
            else:
                await generations.cancel_generation(tx, new.generation_id, new.task_id)
            assert not await generations.complete_generation(tx, of_modal(new))
        assert (await read(opened, owner, new.task_id)).result is None

    async def test_of_many_finalizers_one_completes(self, opened: Database, owner: UUID) -> None:
        new = await start(opened, owner)
        done: list[bool] = []

        async def one() -> None:
            async with opened.as_service() as tx:
                done.append(await generations.complete_generation(tx, of_modal(new)))

        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(one)
        assert done.count(True) == 1
