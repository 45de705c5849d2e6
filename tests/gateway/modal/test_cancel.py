"""Cancelling and deleting what runs at Modal (v1 contract 2.6, product section 4)."""

from __future__ import annotations

import pytest

from storage.generations import CANCELLED_BY_USER
from tests.gateway.modal.scene import Scene, Started
from tests.support.modal_server import JOB, RUNNING, Reply

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


async def cancel(scene: Scene, started: Started) -> int | None:
    return (await scene.user.ask("POST", f"/api/tasks/{started.task_id}/cancel")).status


async def test_cancel_tells_modal_and_frees_the_guard(scene: Scene) -> None:
    started = await scene.started()
    answer = await scene.user.ask("POST", f"/api/tasks/{started.task_id}/cancel")
    assert (answer.status, answer.json()) == (200, {"cancelled": True, "task_id": str(started.task_id)})
    assert [asked.json() for asked in scene.modal.asked("cancel")] == [{"job_id": JOB}]
    assert await scene.states(started) == ("cancelled", "cancelled")
    task, generation = await scene.poll(started.task_id), await scene.generation(started.generation_id)
    assert (task["error"], task["modal_status"], task["provider_status"]) == (CANCELLED_BY_USER, None, None)
    assert generation is not None
    assert generation.error_message == CANCELLED_BY_USER
    assert generation.generation_time_seconds is not None
    assert (await scene.generate()).status == 200


async def test_a_second_cancel_is_400(scene: Scene) -> None:
    started = await scene.started()
    assert await cancel(scene, started) == 200
    assert await cancel(scene, started) == 400
    assert len(scene.modal.asked("cancel")) == 1


async def test_what_is_completed_cannot_be_cancelled(scene: Scene) -> None:
    started = await scene.started()
    await scene.poll(started.task_id)
    assert await cancel(scene, started) == 400
    assert scene.modal.asked("cancel") == []
    assert await scene.states(started) == ("completed", "completed")


@pytest.mark.parametrize(
    "trouble", [Reply(status=500), Reply(cut=True), Reply(held=True), Reply({"detail": "no id"}, status=400)]
)
async def test_a_cancel_that_modal_does_not_take_is_one_all_the_same(scene: Scene, trouble: Reply) -> None:
    started = await scene.started()
    scene.modal.usual["cancel"] = trouble
    assert await cancel(scene, started) == 200
    assert await scene.states(started) == ("cancelled", "cancelled")
    scene.modal.order("status", RUNNING)
    assert (await scene.poll(started.task_id))["status"] == "cancelled"


async def test_deleting_the_task_cancels_its_job(scene: Scene) -> None:
    """v1 left the generation processing for ever, and the job billed."""
    started = await scene.started()
    assert (await scene.user.ask("DELETE", f"/api/tasks/{started.task_id}")).status == 200
    assert len(scene.modal.asked("cancel")) == 1
    generation = await scene.generation(started.generation_id)
    assert generation is not None
    assert generation.status == "cancelled"


async def test_deleting_the_generation_cancels_its_job(scene: Scene) -> None:
    started = await scene.started()
    assert (await scene.user.ask("DELETE", f"/api/generations/{started.generation_id}")).status == 200
    assert len(scene.modal.asked("cancel")) == 1
    task = await scene.poll(started.task_id)
    assert task["status"] == "cancelled"
    assert (await scene.generate()).status == 200


async def test_deleting_what_is_done_asks_modal_for_nothing(scene: Scene) -> None:
    started = await scene.started()
    await scene.poll(started.task_id)
    assert (await scene.user.ask("DELETE", f"/api/tasks/{started.task_id}")).status == 200
    assert (await scene.user.ask("DELETE", f"/api/generations/{started.generation_id}")).status == 200
    assert scene.modal.asked("cancel") == []
    assert await scene.stored(started) is None
