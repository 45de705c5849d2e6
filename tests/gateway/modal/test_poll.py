"""GET /tasks/:id of a job at Modal: the poll drives everything (v1 contract 2.3), and nothing is done twice."""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import UUID, uuid4

import anyio
import pytest
import structlog

from gateway.modal import patience, words
from protocol.errors import Fault
from schema.records import TaskRow
from storage.objects import GENERATIONS
from tests.gateway.modal.scene import Scene, Started
from tests.support.gateway import Gateway
from tests.support.modal_server import JOB, RUNNING, WAV, Reply
from tests.support.workshop import cut_off

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

DONE = Reply({"job_id": JOB, "status": "completed", "result_ready": True})
FIELDS = {
    "id",
    "type",
    "status",
    "error",
    "modal_status",
    "modal_elapsed_seconds",
    "modal_poll_count",
    "provider",
    "provider_status",
    "provider_poll_count",
}


def lenient(status: str, elapsed: int, *, ready: bool = False) -> Reply:
    return Reply({"job_id": JOB, "status": status, "result_ready": ready, "elapsed_seconds": elapsed})


def seen(task: dict[str, Any]) -> tuple[Any, ...]:
    """What v1 clients look at."""
    return task["status"], task["modal_status"], task["modal_elapsed_seconds"], task["modal_poll_count"]


async def test_a_job_from_start_to_end_at_the_deployed_app(scene: Scene) -> None:
    started = await scene.started()
    scene.modal.order("status", RUNNING, RUNNING, DONE)
    running = [await scene.poll(started.task_id) for _ in range(2)]
    assert [seen(task) for task in running] == [("processing", "running", None, 1), ("processing", "running", None, 2)]
    assert set(running[0]) == FIELDS
    done = await scene.poll(started.task_id)
    assert seen(done) == ("completed", "completed", None, 3)
    assert done["error"] is None
    assert done["result"] == {
        "audio_url": f"/api/generations/{started.generation_id}/audio",
        "audio_bytes": len(WAV),
        "audio_sha256": hashlib.sha256(WAV).hexdigest(),
    }
    after = await scene.poll(started.task_id)
    assert seen(after) == ("completed", None, None, 3), "a terminal read neither asks nor counts"
    assert after["result"] == done["result"]
    assert len(scene.modal.asked("status")) == 3


async def test_the_same_at_a_lenient_one(scene: Scene) -> None:
    started = await scene.started()
    scene.modal.order("status", lenient("processing", 1), lenient("completed", 2, ready=True))
    assert seen(await scene.poll(started.task_id)) == ("processing", "processing", 1.0, 1)
    assert seen(await scene.poll(started.task_id)) == ("completed", "completed", 2.0, 2)


async def test_provider_fields_repeat_modals(scene: Scene) -> None:
    """Product section 7."""
    started = await scene.started()
    scene.modal.order("status", RUNNING, Reply(status=500), Reply(status=500), Reply(status=500), DONE)
    for _ in range(4):
        task = await scene.poll(started.task_id)
        assert task["provider"] == "modal"
        assert task["provider_status"] == task["modal_status"]
        assert task["provider_poll_count"] == task["modal_poll_count"]


async def test_its_generation_and_audio(scene: Scene) -> None:
    started = await scene.started()
    await scene.poll(started.task_id)
    generation = await scene.generation(started.generation_id)
    assert generation is not None
    assert (generation.status, generation.output_format) == ("completed", "wav")
    assert generation.audio_object_key == f"{scene.user.id}/{started.generation_id}.wav"
    assert generation.duration_seconds is None
    assert generation.generation_time_seconds is not None
    assert generation.provider_metadata == {"job_id": JOB}
    assert [timing["step"] for timing in generation.timings or []] == ["provider.result"]
    assert await scene.stored(started) == WAV
    moved = await scene.user.ask("GET", f"/api/generations/{started.generation_id}/audio")
    assert moved.status == 302
    played = await scene.user.ask("GET", f"/api/generations/{started.generation_id}/stream")
    assert (played.status, played.body) == (200, WAV)


async def test_what_is_not_stored_yet_cannot_be_listened_to(scene: Scene) -> None:
    started = await scene.started()
    assert (await scene.user.ask("GET", f"/api/generations/{started.generation_id}/stream")).status == 409
    assert (await scene.user.ask("GET", f"/api/generations/{started.generation_id}/audio")).status == 404


async def test_a_completed_job_whose_result_is_not_ready_still_runs(scene: Scene) -> None:
    started = await scene.started()
    scene.modal.order("status", lenient("completed", 1))
    assert seen(await scene.poll(started.task_id)) == ("processing", "completed", 1.0, 1)
    assert scene.modal.asked("result") == []


STATUS_TROUBLE = [
    (Reply({"detail": "boom 'Good morning.'"}, status=500), Fault.OVERLOADED),
    (Reply(raw=b"not json"), Fault.PROTOCOL_BROKEN),
    (Reply(raw=b"[]"), Fault.PROTOCOL_BROKEN),
    (Reply(cut=True), Fault.CONNECTION_LOST),
    (Reply(held=True), Fault.ANSWER_TIMEOUT),
    (Reply(raw=b"modal-http: app is stopped", status=404), Fault.NOT_CONFIGURED),
    (Reply(status=303, location="http://127.0.0.1:1/"), Fault.NOT_CONFIGURED),
]


@pytest.mark.parametrize(("trouble", "fault"), STATUS_TROUBLE)
async def test_a_status_that_cannot_be_had_is_a_passing_error(scene: Scene, trouble: Reply, fault: Fault) -> None:
    started = await scene.started("Good morning.")
    usual = scene.modal.usual["status"]
    scene.modal.usual["status"] = trouble
    with structlog.testing.capture_logs() as logs:
        task = await scene.poll(started.task_id)
    assert seen(task) == ("processing", "status_error", None, 1)
    assert task["error"] == fault.facts.detail
    assert "Good morning" not in str(logs), "a user's text got into the log"
    row = await scene.task(started.task_id)
    assert row is not None
    assert row.error is None, "it is not kept (v1 contract 2.3, step 4)"
    scene.modal.usual["status"] = usual
    scene.modal.release()
    assert (await scene.poll(started.task_id))["status"] == "completed"


async def test_a_job_that_failed(scene: Scene) -> None:
    started = await scene.started()
    scene.modal.order(
        "status", Reply({"status": "failed", "result_ready": False, "error": "CUDA out of memory at 0x7f"})
    )
    with structlog.testing.capture_logs() as logs:
        task = await scene.poll(started.task_id)
    assert seen(task) == ("failed", "failed", None, 1)
    assert task["error"] == words.JOB_FAILED
    assert [line["vendor_message"] for line in logs if line["event"] == "modal.job_failed"] == [
        "CUDA out of memory at 0x7f"
    ]
    assert await scene.states(started) == ("failed", "failed")
    assert (await scene.generate()).status == 200, "the guard of one active task was not freed"


async def test_a_job_that_modal_cancelled_converges(scene: Scene) -> None:
    """v1 polled on for ever."""
    started = await scene.started()
    scene.modal.order("status", lenient("cancelled", 3))
    task = await scene.poll(started.task_id)
    assert seen(task) == ("cancelled", "cancelled", 3.0, 1)
    assert task["error"] == words.JOB_CANCELLED
    assert await scene.states(started) == ("cancelled", "cancelled")
    assert (await scene.generate()).status == 200


async def test_an_unknown_job_gets_a_minute(scene: Scene) -> None:
    started = await scene.started()
    scene.modal.usual["status"] = Reply({"error": "Job not found"}, status=404)
    assert seen(await scene.poll(started.task_id))[:2] == ("processing", "status_error")
    await scene.age(started.task_id, patience.UNKNOWN_JOB_SECONDS)
    task = await scene.poll(started.task_id)
    assert (task["status"], task["error"]) == ("failed", words.JOB_UNKNOWN)


RESULT_TROUBLE = [
    Reply({"detail": "not ready"}, status=202),
    Reply({"detail": "expired"}, status=500),
    Reply(cut=True),
    Reply(raw=WAV, short=True),
    Reply(raw=b""),
    Reply(held=True),
]


@pytest.mark.parametrize("trouble", RESULT_TROUBLE)
async def test_a_result_that_cannot_be_had_is_fetched_at_the_next_poll(scene: Scene, trouble: Reply) -> None:
    started = await scene.started()
    scene.modal.usual["result"] = trouble
    task = await scene.poll(started.task_id)
    assert seen(task) == ("processing", "finalizing", None, 1)
    assert task["error"]
    assert await scene.stored(started) is None
    scene.modal.usual["result"] = Reply(raw=WAV)
    scene.modal.release()
    assert (await scene.poll(started.task_id))["status"] == "completed"
    assert await scene.stored(started) == WAV


async def test_many_polls_at_once_store_once(scene: Scene) -> None:
    started = await scene.started()
    scene.modal.usual["result"] = Reply(raw=WAV, held=True)
    answers: list[dict[str, Any]] = []

    async def poll() -> None:
        answers.append(await scene.poll(started.task_id))

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(poll)
        await scene.until_asked("result")
        await scene.until_asked("status", 5)
        scene.modal.release()
    assert len(scene.modal.asked("result")) == 1
    states = {task["status"] for task in answers}
    assert states <= {"processing", "completed"}
    assert "completed" in states
    assert max(task["modal_poll_count"] for task in answers) == 5


async def test_audio_that_is_stored_already_is_not_fetched_again(scene: Scene, gateway: Gateway) -> None:
    """Another process stored it a moment ago, or one that ended before its rows did."""
    started = await scene.started()
    key = f"{scene.user.id}/{started.generation_id}.wav"
    await gateway.services.objects.put(GENERATIONS, key, b"RIFF of the first", "audio/wav")
    done = await scene.poll(started.task_id)
    assert done["result"]["audio_sha256"] == hashlib.sha256(b"RIFF of the first").hexdigest()
    assert scene.modal.asked("result") == []


async def test_of_two_processes_that_store_at_once_one_wins(scene: Scene, gateway: Gateway) -> None:
    started = await scene.started()
    key = f"{scene.user.id}/{started.generation_id}.wav"
    scene.modal.order("result", Reply(raw=WAV, held=True))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(scene.poll, started.task_id)
        await scene.until_asked("result")
        await gateway.services.objects.put(GENERATIONS, key, b"RIFF of the first", "audio/wav")
        scene.modal.release()
    assert await scene.stored(started) == b"RIFF of the first"
    generation = await scene.generation(started.generation_id)
    assert generation is not None
    assert generation.audio_sha256 == hashlib.sha256(b"RIFF of the first").hexdigest()


async def test_a_cancellation_beats_a_result_on_its_way(scene: Scene) -> None:
    started = await scene.started()
    scene.modal.order("result", Reply(raw=WAV, held=True))
    async with anyio.create_task_group() as tasks:
        polled: list[dict[str, Any]] = []

        async def poll() -> None:
            polled.append(await scene.poll(started.task_id))

        tasks.start_soon(poll)
        await scene.until_asked("result")
        assert (await scene.user.ask("POST", f"/api/tasks/{started.task_id}/cancel")).status == 200
        scene.modal.release()
    assert polled[0]["status"] == "cancelled"
    assert await scene.states(started) == ("cancelled", "cancelled")
    assert await scene.stored(started) is None, "audio was left behind by a cancelled generation"


async def test_a_task_deleted_during_a_poll_is_404(scene: Scene) -> None:
    started = await scene.started()
    scene.modal.order("status", Reply(RUNNING.content, held=True))
    statuses: list[int | None] = []

    async def poll() -> None:
        statuses.append((await scene.user.ask("GET", f"/api/tasks/{started.task_id}")).status)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(poll)
        await scene.until_asked("status")
        assert (await scene.user.ask("DELETE", f"/api/tasks/{started.task_id}")).status == 200
        scene.modal.release()
    assert statuses == [404]


async def test_a_generation_that_v1_stored_only_completes_its_task(scene: Scene, gateway: Gateway) -> None:
    """v1 wrote the generation and the task one after the other."""
    started = await scene.started()
    key = f"{scene.user.id}/{started.generation_id}.wav"
    await gateway.services.objects.put(GENERATIONS, key, WAV, "audio/wav")
    await scene.sql(
        "update public.generations set status = 'completed', audio_object_key = :'key' where id = :'id'",
        key=key,
        id=str(started.generation_id),
    )
    done = await scene.poll(started.task_id)
    assert seen(done)[:2] == ("completed", "completed")
    assert done["result"]["audio_url"] == f"/api/generations/{started.generation_id}/audio"
    assert scene.modal.asked("result") == []


async def test_a_task_whose_generation_v1_deleted_converges(scene: Scene) -> None:
    started = await scene.started()
    await scene.sql("delete from public.generations where id = :'id'", id=str(started.generation_id))
    assert (await scene.poll(started.task_id))["status"] == "cancelled"
    assert (await scene.generate()).status == 200


async def test_a_task_that_v1_left_pending_with_a_job_becomes_processing(scene: Scene) -> None:
    started = await scene.started()
    await scene.sql("update public.tasks set status = 'pending' where id = :'id'", id=str(started.task_id))
    scene.modal.order("status", RUNNING)
    assert (await scene.poll(started.task_id))["status"] == "processing"
    row = await scene.task(started.task_id)
    assert row is not None
    assert row.status == "processing"


async def without_job(scene: Scene) -> Started:
    """As left by a process that died before Modal answered, or that still waits for it."""
    started = await scene.started()
    forget = "update public.tasks set status = 'pending', modal_job_id = null, provider_job_id = null where id = :'id'"
    await scene.sql(forget, id=str(started.task_id))
    return started


async def test_a_task_that_is_being_submitted_just_reads_pending(scene: Scene) -> None:
    started = await without_job(scene)
    assert seen(await scene.poll(started.task_id)) == ("pending", None, None, 0)
    assert scene.modal.asked("status") == []


async def test_a_task_that_was_never_submitted_fails_in_the_end(scene: Scene) -> None:
    started = await without_job(scene)
    await scene.age(started.task_id, 600)
    task = await scene.poll(started.task_id)
    assert (task["status"], task["error"]) == ("failed", words.INTERRUPTED)
    assert await scene.states(started) == ("failed", "failed")


WAITS_FOR_EVER = {
    "runs for ever": ("status", RUNNING),
    "202 for ever": ("result", Reply(status=202)),
    "500 for ever": ("status", Reply(status=500)),
    "malformed for ever": ("status", Reply(raw=b"{")),
    "empty for ever": ("result", Reply(raw=b"")),
}


@pytest.mark.parametrize("case", WAITS_FOR_EVER)
async def test_nothing_is_waited_for_for_ever(scene: Scene, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    endpoint, reply = WAITS_FOR_EVER[case]
    started = await scene.started()
    scene.modal.usual[endpoint] = reply
    await scene.age(started.task_id, 7200)
    assert (await scene.poll(started.task_id))["status"] == "processing", "this process has only just asked"
    monkeypatch.setattr(patience, "ASKED_SECONDS", 0.0)
    task = await scene.poll(started.task_id)
    assert (task["status"], task["error"]) == ("failed", words.JOB_TOO_LONG)
    assert await scene.states(started) == ("failed", "failed")
    assert [asked.json() for asked in scene.modal.asked("cancel")] == [{"job_id": JOB}]


async def test_a_result_is_welcome_however_late(scene: Scene) -> None:
    started = await scene.started()
    await scene.age(started.task_id, 500_000)
    assert (await scene.poll(started.task_id))["status"] == "completed"


async def test_a_store_that_is_away_is_503_and_the_next_poll_stores(scene: Scene, gateway: Gateway) -> None:
    started = await scene.started()
    folder = gateway.services.settings.data_dir / "objects" / GENERATIONS
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_bytes(b"a file where the bucket should be")
    assert (await scene.user.ask("GET", f"/api/tasks/{started.task_id}")).status == 503
    assert await scene.states(started) == ("processing", "processing")
    folder.unlink()
    assert (await scene.poll(started.task_id))["status"] == "completed"


async def test_a_database_that_is_away_is_503(scene: Scene, gateway: Gateway) -> None:
    started = await scene.started()
    async with cut_off(gateway.database):
        assert (await scene.user.ask("GET", f"/api/tasks/{started.task_id}")).status == 503
    assert (await scene.poll(started.task_id))["status"] == "completed"


async def test_others_can_neither_see_nor_move_it(scene: Scene, gateway: Gateway) -> None:
    started = await scene.started()
    bob = await gateway.user()
    for method, path in [("GET", ""), ("POST", "/cancel"), ("DELETE", "")]:
        assert (await bob.ask(method, f"/api/tasks/{started.task_id}{path}")).status == 404
    assert scene.modal.asked("status") == scene.modal.asked("cancel") == []
    assert await scene.states(started) == ("processing", "processing")


def test_patience_remembers_a_bounded_number_of_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "MAX_REMEMBERED", 3)
    kept = patience.Patience(1.0, clock=lambda: 0.0)
    for _ in range(5):
        kept.is_over(_task(uuid4()))
    assert len(kept._first_asked) == 3


def _task(task_id: UUID) -> TaskRow:
    from datetime import UTC, datetime

    now = datetime.now(UTC)
    return TaskRow(
        id=task_id,
        user_id=uuid4(),
        type="generate",
        status="processing",
        modal_job_id=JOB,
        error=None,
        generation_id=None,
        voice_id=None,
        modal_poll_count=0,
        metadata={},
        result=None,
        created_at=now,
        updated_at=now,
        completed_at=None,
        provider="modal",
        provider_job_id=JOB,
        provider_status=None,
        provider_poll_count=0,
        cancellation_requested=False,
    )
