"""Jobs that nobody polls are finalized (product section 4)."""

from __future__ import annotations

import dataclasses
from typing import Any

import anyio
import pytest
import structlog

from gateway.services import open_services
from storage.objects import GENERATIONS
from tests.gateway.modal.scene import Scene
from tests.support.exchange import WAIT_SECONDS
from tests.support.gateway import Gateway
from tests.support.modal_server import RUNNING, WAV, Reply
from tests.support.workshop import cut_off

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


@pytest.fixture
async def scenes(scene: Scene, gateway: Gateway) -> list[Scene]:
    """Three users."""
    return [scene, *[Scene(gateway, await gateway.user(), scene.modal) for _ in range(2)]]


async def test_a_job_that_nobody_polls_is_stored(scene: Scene, gateway: Gateway) -> None:
    started = await scene.started()
    await scene.age_of_last_look(started.task_id)
    await gateway.services.jobs.sweep()
    assert await scene.states(started) == ("completed", "completed")
    assert await scene.stored(started) == WAV
    task = await scene.poll(started.task_id)
    assert task["modal_poll_count"] == 0, "it counts polls, not calls (v1 contract 2.4)"


async def test_what_ended_otherwise_is_ended_too(scenes: list[Scene], gateway: Gateway) -> None:
    started = [(scene, await scene.started()) for scene in scenes]
    for scene, one in started:
        await scene.age_of_last_look(one.task_id)
    replies = (Reply({"status": "failed"}), Reply({"status": "cancelled"}), RUNNING)
    scenes[0].modal.order("status", *replies)
    await gateway.services.jobs.sweep()
    states = sorted([await scene.states(one) for scene, one in started])
    assert states == [("cancelled", "cancelled"), ("failed", "failed"), ("processing", "processing")]


async def test_one_that_fails_does_not_hold_up_the_others(scenes: list[Scene], gateway: Gateway) -> None:
    started = [(scene, await scene.started()) for scene in scenes]
    for scene, one in started:
        await scene.age_of_last_look(one.task_id)
    scenes[0].modal.order("status", Reply(cut=True), Reply(raw=b"{"), Reply(held=True))
    await gateway.services.jobs.sweep()
    first = [(await scene.states(one))[0] for scene, one in started]
    assert set(first) <= {"processing", "completed"}
    assert "completed" in first or len(scenes[0].modal.asked("status")) >= 3
    scenes[0].modal.release()
    for scene, one in started:
        await scene.age_of_last_look(one.task_id)
    await gateway.services.jobs.sweep()
    assert [(await scene.states(one))[0] for scene, one in started] == ["completed"] * 3


async def test_a_store_that_is_away_is_logged_for_each_and_tried_again(scene: Scene, gateway: Gateway) -> None:
    started = await scene.started()
    await scene.age_of_last_look(started.task_id)
    folder = gateway.services.settings.data_dir / "objects" / GENERATIONS
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_bytes(b"")
    with structlog.testing.capture_logs() as logs:
        await gateway.services.jobs.sweep()
    assert [line["error"] for line in logs if line["event"] == "modal.sweep_failed"] == ["ObjectStoreUnavailable"]
    folder.unlink()
    await scene.age_of_last_look(started.task_id)
    await gateway.services.jobs.sweep()
    assert await scene.states(started) == ("completed", "completed")


async def test_poll_and_sweep_at_once_store_once(scene: Scene, gateway: Gateway) -> None:
    started = await scene.started()
    await scene.age_of_last_look(started.task_id)
    scene.modal.usual["result"] = Reply(raw=WAV, held=True)
    answers: list[dict[str, Any]] = []

    async def poll() -> None:
        answers.append(await scene.poll(started.task_id))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(gateway.services.jobs.sweep)
        await scene.until_asked("result")
        tasks.start_soon(poll)
        await scene.until_asked("status", 2)
        scene.modal.release()
    assert len(scene.modal.asked("result")) == 1
    assert (answers[0]["status"], answers[0]["modal_status"]) in {
        ("processing", "finalizing"),
        ("completed", None),
        ("completed", "completed"),
    }
    assert await scene.states(started) == ("completed", "completed")


async def test_a_running_server_sweeps_by_itself_and_outlives_an_outage(scene: Scene) -> None:
    first = await scene.started()
    quick = dataclasses.replace(scene.gateway.services.settings, sweep_seconds=0.05)
    with structlog.testing.capture_logs() as logs:
        async with open_services(quick):
            await scene.until_completed(first)
            async with cut_off(scene.gateway.database):
                with anyio.fail_after(WAIT_SECONDS):
                    while not any(line["event"] == "sweeper.chore_postponed" for line in logs):
                        await scene.look()
            await scene.until_completed(await scene.started())
