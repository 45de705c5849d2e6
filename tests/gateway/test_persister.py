"""The persister: what is written when, and that whoever comes second changes nothing."""

from __future__ import annotations

import anyio
import pytest
import structlog

from gateway import persister as persister_module
from gateway.audio_log import AudioLog
from gateway.persister import NOT_STORED
from gateway.providers.base import Outcome
from gateway.running import RunningGeneration
from gateway.tracing import Trace
from protocol.errors import Fault
from storage.database import AlreadyExists
from tests.support.workshop import SPEECH, Workshop

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

OUTCOME = Outcome(
    session_id="sess_1", characters=13, responses=2, attempts=1, audio_seconds=0.3, usage={"characters": 13}
)


@pytest.fixture
async def running(workshop: Workshop) -> RunningGeneration:
    """A generation whose rows exist and whose audio is complete."""
    running = RunningGeneration(await workshop.order(workshop.user()), Trace(), AudioLog())
    await workshop.persister.begin(running)
    running.log.append(SPEECH)
    running.log.complete()
    return running


async def test_the_rows_begin_as_the_owners_own(workshop: Workshop, running: RunningGeneration) -> None:
    assert await workshop.states(running.order) == ("processing", "pending", "queued")
    task = await workshop.task(running.order)
    assert task is not None
    assert (task.type, task.provider, task.generation_id) == ("generate_stream", "qwen", running.generation_id)
    assert task.metadata == {
        "voice_id": str(running.order.voice_id),
        "voice_name": "Ada",
        "language": "English",
        "text_length": 13,
    }


async def test_rows_are_written_once(workshop: Workshop, running: RunningGeneration) -> None:
    with pytest.raises(AlreadyExists):
        await workshop.persister.begin(running)
    assert await workshop.states(running.order) == ("processing", "pending", "queued")


async def test_a_completion_says_everything(workshop: Workshop, running: RunningGeneration) -> None:
    await workshop.persister.store(running, OUTCOME)
    generation = await workshop.generation(running.order)
    assert generation is not None
    assert generation.provider_metadata == {
        "session_id": "sess_1",
        "responses": 2,
        "attempts": 1,
        "usage": {"characters": 13},
    }
    assert await workshop.stored(running.order) == SPEECH


@pytest.mark.parametrize("late", ["cancel", "fail"])
async def test_who_comes_after_the_completion_changes_nothing(
    workshop: Workshop, running: RunningGeneration, late: str
) -> None:
    """A commit that landed while its sender was being stopped: rows that point to audio must find it."""
    await workshop.persister.store(running, OUTCOME)
    if late == "cancel":
        await workshop.persister.cancel(running)
    else:
        await workshop.persister.fail(running, "Too late.", Fault.UNKNOWN)
    assert await workshop.states(running.order) == ("completed", "completed", "completed")
    assert await workshop.stored(running.order) == SPEECH


async def test_a_completion_that_is_sent_again_changes_nothing(workshop: Workshop, running: RunningGeneration) -> None:
    """A commit whose answer was lost with the connection is tried again, and finds itself done."""
    await workshop.persister.store(running, OUTCOME)
    await workshop.persister.store(running, OUTCOME)
    assert await workshop.states(running.order) == ("completed", "completed", "completed")
    assert await workshop.stored(running.order) == SPEECH


@pytest.mark.parametrize("first", ["cancel", "fail"])
async def test_a_completion_that_comes_second_changes_nothing(
    workshop: Workshop, running: RunningGeneration, first: str
) -> None:
    if first == "cancel":
        await workshop.persister.cancel(running)
    else:
        await workshop.persister.fail(running, "It broke.", Fault.UNKNOWN)
    states = await workshop.states(running.order)
    await workshop.persister.store(running, OUTCOME)
    assert await workshop.states(running.order) == states
    assert states is not None
    assert states[0] in {"cancelled", "failed"}
    assert await workshop.stored(running.order) is None


async def test_a_status_after_the_end_changes_nothing(workshop: Workshop, running: RunningGeneration) -> None:
    await workshop.persister.store(running, OUTCOME)
    await workshop.persister.note_status(running, "streaming")
    assert await workshop.states(running.order) == ("completed", "completed", "completed")


@pytest.mark.parametrize("status", ["streaming", "no word of the list"])
async def test_a_status_that_is_lost_is_no_failure(workshop: Workshop, running: RunningGeneration, status: str) -> None:
    with structlog.testing.capture_logs() as logs:
        if status == "streaming":
            async with workshop.database_away():
                await workshop.persister.note_status(running, status)
        else:
            await workshop.persister.note_status(running, status)
    assert [line["event"] for line in logs] == ["database.status_lost"]
    assert await workshop.states(running.order) == ("processing", "pending", "queued")


async def test_a_deleted_user_leaves_no_audio(workshop: Workshop, running: RunningGeneration) -> None:
    workshop.database.run("delete from auth.users")
    await workshop.persister.store(running, OUTCOME)
    assert await workshop.stored(running.order) is None


async def test_an_object_that_cannot_be_removed_is_logged(workshop: Workshop, running: RunningGeneration) -> None:
    with structlog.testing.capture_logs() as logs:
        async with workshop.store_away():
            await workshop.persister.cancel(running)
    orphan = next(line for line in logs if line["event"] == "persist.orphaned_object")
    assert orphan["object_key"] == running.order.object_key
    assert await workshop.states(running.order) == ("cancelled", "cancelled", "cancelled")


async def test_it_tries_again_and_again_with_growing_pauses(
    workshop: Workshop, running: RunningGeneration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(persister_module, "FIRST_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(persister_module, "LAST_RETRY_SECONDS", 0.03)
    retries: list[float] = []
    with structlog.testing.capture_logs() as logs:
        async with anyio.create_task_group() as group, workshop.store_away():
            group.start_soon(workshop.persister.store, running, OUTCOME)
            while len(retries) < 4:
                await workshop.look()
                retries = [line["pause_seconds"] for line in logs if line["event"] == "persist.retry"]
    assert retries[:4] == [0.01, 0.02, 0.03, 0.03]
    assert await workshop.stored(running.order) == SPEECH
    assert await workshop.states(running.order) == ("completed", "completed", "completed")


async def test_it_gives_up_with_words_for_the_user(
    workshop: Workshop, running: RunningGeneration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(persister_module, "LANDING_SECONDS", 0.0)
    async with workshop.store_away():
        await workshop.persister.store(running, OUTCOME)
    generation, task = await workshop.generation(running.order), await workshop.task(running.order)
    assert generation is not None
    assert task is not None
    assert (generation.status, generation.error_message, task.error) == ("failed", NOT_STORED, NOT_STORED)
