"""Work already begun belongs to the provider on its row, whatever the mode is now (product decision 1)."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from gateway.modal import words
from storage.database import Transaction
from storage.generations import cancel_generation, fail_generation
from storage.tasks import complete_design
from tests.gateway.modal.scene import Scene, Started
from tests.support.gateway import Caller, Gateway, open_gateway
from tests.support.modal_server import WAV, ModalServer
from tests.support.postgres import TestDatabase

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


async def begun(database: TestDatabase, folder: Path, modal: ModalServer) -> tuple[UUID, Started, UUID]:
    """Ada, a generation that runs and a preview that waits, left by a server in Modal mode."""
    environment = {"TTS_PROVIDER_MODE": "modal", **modal.environment()}
    async with open_gateway(database, folder, **environment) as before:
        scene = Scene(before, await before.user(), modal)
        return scene.user.id, await scene.started(), await scene.design()


async def test_it_is_finished_in_qwen_mode(database: TestDatabase, tmp_path: Path, modal: ModalServer) -> None:
    user_id, started, design = await begun(database, tmp_path, modal)
    async with open_gateway(database, tmp_path, TTS_PROVIDER_MODE="qwen", **modal.environment()) as qwen:
        scene = Scene(qwen, Caller(qwen, user_id), modal)
        assert (await scene.poll(started.task_id))["status"] == "completed"
        assert await scene.stored(started) == WAV
        await scene.poll(design)
        await scene.idle()
        assert (await scene.poll(design))["status"] == "completed"


async def test_it_is_cancelled_in_qwen_mode(database: TestDatabase, tmp_path: Path, modal: ModalServer) -> None:
    user_id, started, _ = await begun(database, tmp_path, modal)
    async with open_gateway(database, tmp_path, TTS_PROVIDER_MODE="qwen", **modal.environment()) as qwen:
        scene = Scene(qwen, Caller(qwen, user_id), modal)
        assert (await scene.user.ask("POST", f"/api/tasks/{started.task_id}/cancel")).status == 200
        assert len(modal.asked("cancel")) == 1


async def test_it_is_swept_in_qwen_mode(database: TestDatabase, tmp_path: Path, modal: ModalServer) -> None:
    user_id, started, _ = await begun(database, tmp_path, modal)
    async with open_gateway(database, tmp_path, UTTER_SWEEP_SECONDS="0.1", **modal.environment()) as qwen:
        scene = Scene(qwen, Caller(qwen, user_id), modal)
        await scene.age_of_last_look(started.task_id)
        await qwen.services.jobs.sweep()
        assert await scene.states(started) == ("completed", "completed")


async def test_without_modals_addresses_it_fails_with_that_reason(
    database: TestDatabase, tmp_path: Path, modal: ModalServer
) -> None:
    user_id, started, design = await begun(database, tmp_path, modal)
    async with open_gateway(database, tmp_path) as qwen:
        scene = Scene(qwen, Caller(qwen, user_id), modal)
        task = await scene.poll(started.task_id)
        assert (task["status"], task["error"]) == ("failed", words.NO_LONGER_SET_UP)
        assert await scene.states(started) == ("failed", "failed")
        await scene.poll(design)
        await scene.idle()
        assert (await scene.poll(design))["status"] == "failed"


async def test_its_row_says_modal_in_qwen_mode(database: TestDatabase, tmp_path: Path, modal: ModalServer) -> None:
    user_id, started, _ = await begun(database, tmp_path, modal)
    async with open_gateway(database, tmp_path, **modal.environment()) as qwen:
        task = await Scene(qwen, Caller(qwen, user_id), modal).poll(started.task_id)
    assert (task["provider"], task["modal_status"]) == ("modal", "completed")


async def complete(tx: Transaction, task_id: UUID) -> None:
    await complete_design(tx, task_id, {"object_key": "nobody/preview.wav"})


async def fail(tx: Transaction, task_id: UUID) -> None:
    await fail_generation(tx, None, task_id, "It broke.")


async def cancel(tx: Transaction, task_id: UUID) -> None:
    await cancel_generation(tx, None, task_id)


@pytest.mark.parametrize("mode", ["qwen", "modal"])
async def test_the_first_poll_of_a_qwen_preview_never_shows_its_end(
    database: TestDatabase, tmp_path: Path, modal: ModalServer, mode: str
) -> None:
    """It began at its POST, in v1 at its first poll (v1 contract 2.3, rule)."""
    async with open_gateway(database, tmp_path, TTS_PROVIDER_MODE=mode, **modal.environment()) as gateway:
        scene = Scene(gateway, await gateway.user(), modal)
        task_id = await scene.design(provider="qwen")
        await _end(gateway, task_id, complete)
        first, second = await scene.poll(task_id), await scene.poll(task_id)
    assert (first["status"], first["error"], first["provider_poll_count"]) == ("processing", None, 1)
    assert "result" not in first
    assert first["provider_status"] not in {"completed", "failed"}
    assert (second["status"], second["provider_poll_count"]) == ("completed", 1)
    assert second["result"]["object_key"] == "nobody/preview.wav"
    assert "audio_url" not in second["result"], "a link to what is not the owner's"
    assert modal.asked("design") == []


async def test_the_first_poll_of_a_preview_under_way_is_processing_too(
    database: TestDatabase, tmp_path: Path, modal: ModalServer
) -> None:
    async with open_gateway(database, tmp_path) as gateway:
        scene = Scene(gateway, await gateway.user(), modal)
        task_id = await scene.design(provider="qwen")
        first = await scene.poll(task_id)
        row = await scene.task(task_id)
    assert first["status"] == "processing"
    assert row is not None
    assert row.provider_poll_count == 1


async def test_a_cancelled_preview_is_cancelled_at_once(
    database: TestDatabase, tmp_path: Path, modal: ModalServer
) -> None:
    """Its user has just been told so: `processing` would be a step back."""
    async with open_gateway(database, tmp_path) as gateway:
        scene = Scene(gateway, await gateway.user(), modal)
        task_id = await scene.design(provider="qwen")
        await _end(gateway, task_id, cancel)
        assert (await scene.poll(task_id))["status"] == "cancelled"


async def _end(gateway: Gateway, task_id: UUID, how: object) -> None:
    async with gateway.services.database.as_service() as transaction:
        await how(transaction, task_id)  # type: ignore[operator]
