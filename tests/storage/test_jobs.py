"""Modal's rows: one job a task, polls counted, idle jobs to one caller, terminal states that stay."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import anyio
import msgspec
import pytest

from schema.records import NewGeneration, NewTask, TaskRow
from storage import generations, jobs, tasks, voices
from storage.database import Database
from tests.support.postgres import TestDatabase
from tests.support.rows import completion, new_generation, new_voice

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


async def start(opened: Database, owner: UUID) -> NewGeneration:
    voice = new_voice(owner)
    new = new_generation(owner, voice.id, "generate", provider="modal")
    async with opened.as_user(owner) as tx:
        await voices.insert_voice(tx, voice)
        await generations.start_generation(tx, new)
    return new


async def design(opened: Database, owner: UUID, new: NewTask) -> None:
    async with opened.as_user(owner) as tx:
        await tasks.insert_task(tx, new)


async def task_of(opened: Database, owner: UUID, task_id: UUID) -> TaskRow:
    async with opened.as_user(owner) as tx:
        row = await tasks.get_task(tx, owner, task_id)
    assert row is not None
    return row


def new_design(owner: UUID, task_id: UUID) -> NewTask:
    return NewTask(id=task_id, user_id=owner, type="design_preview", provider="modal", metadata={"text": "Hello."})


class TestJobIds:
    async def test_a_task_has_one_job_and_then_runs(self, opened: Database, owner: UUID) -> None:
        new = await start(opened, owner)
        async with opened.as_service() as tx:
            assert await jobs.set_job(tx, new.task_id, "fc-1")
            assert not await jobs.set_job(tx, new.task_id, "fc-2")
            assert await jobs.set_job(tx, new.task_id, "fc-1"), "the same one again, after an answer that was lost"
        row = await task_of(opened, owner, new.task_id)
        assert (row.modal_job_id, row.provider_job_id, row.status) == ("fc-1", "fc-1", "processing")

    async def test_one_that_was_cancelled_meanwhile_gets_none(self, opened: Database, owner: UUID) -> None:
        new = await start(opened, owner)
        async with opened.as_service() as tx:
            await generations.cancel_generation(tx, new.generation_id, new.task_id)
            assert not await jobs.set_job(tx, new.task_id, "fc-1")
        assert (await task_of(opened, owner, new.task_id)).status == "cancelled"


class TestPolls:
    async def test_every_poll_is_counted_once_in_both_columns(self, opened: Database, owner: UUID) -> None:
        new = await start(opened, owner)
        counts: list[int | None] = []

        async def one() -> None:
            async with opened.as_service() as tx:
                counts.append(await jobs.count_poll(tx, new.task_id))

        async with anyio.create_task_group() as group:
            for _ in range(MANY):
                group.start_soon(one)
        assert sorted(counts, key=int) == list(range(1, MANY + 1))  # type: ignore[arg-type]
        row = await task_of(opened, owner, new.task_id)
        assert (row.modal_poll_count, row.provider_poll_count) == (MANY, MANY)

    async def test_a_cancelled_task_is_not_counted_any_more(self, opened: Database, owner: UUID) -> None:
        new = await start(opened, owner)
        async with opened.as_service() as tx:
            await generations.cancel_generation(tx, new.generation_id, new.task_id)
            assert await jobs.count_poll(tx, new.task_id) is None

    async def test_a_completed_one_still_is_for_its_first_poll_may_come_late(
        self, opened: Database, owner: UUID
    ) -> None:
        """The first poll of a preview never shows its end (contract 2.3, rule), which the count tells."""
        task = msgspec.structs.replace(new_design(owner, uuid4()), provider="qwen")
        await design(opened, owner, task)
        async with opened.as_service() as tx:
            await tasks.complete_design(tx, task.id, {"object_key": "k"})
            assert await jobs.count_poll(tx, task.id) == 1
            assert await jobs.count_poll(tx, task.id) == 2
            assert await jobs.count_poll(tx, uuid4()) is None
        row = await task_of(opened, owner, task.id)
        assert (row.status, row.modal_poll_count, row.provider_poll_count) == ("completed", 0, 2)


class TestDesigns:
    async def test_of_many_polls_one_starts_it(self, opened: Database, owner: UUID) -> None:
        task = new_design(owner, uuid4())
        await design(opened, owner, task)
        won: list[bool] = []

        async def one() -> None:
            async with opened.as_service() as tx:
                won.append(await jobs.claim_design(tx, task.id))

        async with anyio.create_task_group() as group:
            for _ in range(MANY):
                group.start_soon(one)
        assert won.count(True) == 1
        assert (await task_of(opened, owner, task.id)).status == "processing"

    async def test_a_late_result_does_not_overturn_a_cancellation(self, opened: Database, owner: UUID) -> None:
        task = new_design(owner, uuid4())
        await design(opened, owner, task)
        async with opened.as_service() as tx:
            assert await generations.cancel_generation(tx, None, task.id)
            assert not await tasks.complete_design(tx, task.id, {"object_key": "k"})
            assert not await jobs.claim_design(tx, task.id)
        row = await task_of(opened, owner, task.id)
        assert (row.status, row.result) == ("cancelled", None)

    async def test_a_result_ends_it(self, opened: Database, owner: UUID) -> None:
        task = new_design(owner, uuid4())
        await design(opened, owner, task)
        async with opened.as_service() as tx:
            assert await tasks.complete_design(tx, task.id, {"object_key": "k"})
        row = await task_of(opened, owner, task.id)
        assert (row.status, row.result, row.error) == ("completed", {"object_key": "k"}, None)


class TestIdleJobs:
    async def test_what_one_caller_takes_another_does_not_wait_for(self, opened: Database, owner: UUID) -> None:
        new = await start(opened, owner)
        async with opened.as_service() as tx:
            await jobs.set_job(tx, new.task_id, "fc-1")
        async with opened.as_service() as first, opened.as_service() as second:
            taken = await jobs.take_due_jobs(first, idle_seconds=-1, limit=10)
            assert [row.id for row in taken] == [new.task_id]
            assert taken[0].modal_job_id == "fc-1"
            assert await jobs.take_due_jobs(second, idle_seconds=-1, limit=10) == []

    @pytest.mark.parametrize("how", ["complete", "without a job"])
    async def test_nothing_that_has_ended_or_has_no_job_is_taken(self, opened: Database, owner: UUID, how: str) -> None:
        new = await start(opened, owner)
        async with opened.as_service() as tx:
            if how == "complete":
                await jobs.set_job(tx, new.task_id, "fc-1")
                assert await generations.complete_generation(tx, completion(new))
            assert await jobs.take_due_jobs(tx, idle_seconds=-1, limit=10) == []

    async def test_one_that_was_just_asked_for_is_not_idle(self, opened: Database, owner: UUID) -> None:
        new = await start(opened, owner)
        async with opened.as_service() as tx:
            await jobs.set_job(tx, new.task_id, "fc-1")
            assert await jobs.take_due_jobs(tx, idle_seconds=60, limit=10) == []

    async def test_the_longest_idle_come_first_and_not_more_than_asked_for(
        self, opened: Database, database: TestDatabase
    ) -> None:
        started = [await start(opened, database.create_user()) for _ in range(3)]
        async with opened.as_service() as tx:
            for new in started:
                await jobs.set_job(tx, new.task_id, f"fc-{new.task_id}")
        taken: list[UUID] = []
        for _ in started:
            async with opened.as_service() as tx:
                taken += [row.id for row in await jobs.take_due_jobs(tx, idle_seconds=0, limit=1)]
        assert sorted(taken) == sorted(new.task_id for new in started), "being taken counts as being touched"

    async def test_many_sweepers_share_the_jobs(self, opened: Database, database: TestDatabase) -> None:
        started = [await start(opened, database.create_user()) for _ in range(10)]
        async with opened.as_service() as tx:
            for new in started:
                await jobs.set_job(tx, new.task_id, f"fc-{new.task_id}")
        database.run(
            "alter table public.tasks disable trigger set_updated_at;"
            "update public.tasks set updated_at = now() - interval '1 hour';"
            "alter table public.tasks enable trigger set_updated_at"
        )
        taken: list[UUID] = []

        async def one() -> None:
            async with opened.as_service() as tx:
                taken.extend(row.id for row in await jobs.take_due_jobs(tx, idle_seconds=60, limit=3))

        async with anyio.create_task_group() as group:
            for _ in range(MANY):
                group.start_soon(one)
        assert sorted(taken) == sorted(new.task_id for new in started)

    async def test_another_providers_task_is_never_taken(
        self, opened: Database, database: TestDatabase, owner: UUID
    ) -> None:
        new = await start(opened, owner)
        async with opened.as_service() as tx:
            await jobs.set_job(tx, new.task_id, "fc-1")
        database.run("update public.tasks set provider = 'qwen'")
        async with opened.as_service() as tx:
            assert await jobs.take_due_jobs(tx, idle_seconds=-1, limit=10) == []
