"""Voice previews at Modal: the first poll starts one, in the background (v1 contract 2.3, step 2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import pytest

from gateway.modal import designs, words
from protocol import modal as messages
from protocol.errors import Fault
from storage.objects import REFERENCES
from tests.gateway.modal.scene import Scene
from tests.support.gateway import Caller, Gateway, open_gateway
from tests.support.modal_server import WAV, ModalServer, Reply
from tests.support.postgres import TestDatabase

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

HELD = Reply(raw=WAV, held=True)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two looks at a design that outlived its request."""
    monkeypatch.setattr(messages, "DESIGN_FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(messages, "DESIGN_LONGEST_PAUSE_SECONDS", 0.01)


async def preview(scene: Scene, task_id: UUID) -> bytes | None:
    return await scene.object(REFERENCES, f"{scene.user.id}/preview_{task_id}.wav")


async def ended(scene: Scene, task_id: UUID) -> dict[str, Any]:
    """The task once its job is over."""
    await scene.poll(task_id)
    await scene.idle()
    return await scene.poll(task_id)


async def test_a_design_from_first_poll_to_end(scene: Scene) -> None:
    task_id = await scene.design()
    scene.modal.order("design", HELD)
    first = await scene.poll(task_id)
    assert (first["status"], first["modal_status"], first["modal_poll_count"]) == ("processing", "processing", 1)
    await scene.until_asked("design")
    second = await scene.poll(task_id)
    assert (second["status"], second["modal_status"], second["modal_poll_count"]) == ("processing", "processing", 2)
    assert "result" not in second
    scene.modal.release()
    await scene.idle()
    done = await scene.poll(task_id)
    assert (done["status"], done["modal_status"], done["modal_poll_count"]) == ("completed", None, 2)
    assert done["result"]["object_key"] == f"{scene.user.id}/preview_{task_id}.wav"
    assert scene.modal.asked("design")[0].json() == {
        "text": "Hello.",
        "language": "German",
        "instruct": "A calm narrator.",
    }


async def test_its_audio_is_fetched_without_a_token(scene: Scene, gateway: Gateway) -> None:
    done = await ended(scene, await scene.design())
    url = done["result"]["audio_url"]
    heard = await gateway.ask("GET", url.removeprefix("http://127.0.0.1:8080"))
    assert (heard.status, heard.body) == (200, WAV)


async def test_nothing_starts_before_the_first_poll(scene: Scene, gateway: Gateway) -> None:
    task_id = await scene.design()
    await gateway.services.jobs.sweep()
    assert scene.modal.asked("design") == []
    row = await scene.task(task_id)
    assert row is not None
    assert row.status == "pending"


async def test_many_first_polls_start_one(scene: Scene) -> None:
    task_id = await scene.design()
    scene.modal.usual["design"] = HELD
    answers: list[dict[str, Any]] = []

    async def poll() -> None:
        answers.append(await scene.poll(task_id))

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(poll)
    await scene.until_asked("design")
    assert {task["status"] for task in answers} == {"processing"}
    scene.modal.release()
    await scene.idle()
    assert len(scene.modal.asked("design")) == 1


async def test_a_poll_that_loses_the_race_is_not_counted(scene: Scene, gateway: Gateway) -> None:
    task_id = await scene.design()
    scene.modal.usual["design"] = HELD
    unclaimed = await scene.task(task_id)
    assert unclaimed is not None
    await scene.poll(task_id)
    late = await gateway.services.jobs.poll(unclaimed)
    assert late is not None
    assert (late.row.status, late.modal_status, late.row.modal_poll_count) == ("processing", "processing", 1)
    await scene.until_asked("design")
    assert len(scene.modal.asked("design")) == 1


async def test_a_row_without_a_language_is_english(scene: Scene) -> None:
    await ended(scene, await scene.design(language=None))
    assert scene.modal.asked("design")[0].json()["language"] == "English"


@pytest.mark.parametrize("missing", ["text", "instruct"])
async def test_a_row_that_does_not_say_enough_fails_at_once(scene: Scene, missing: str) -> None:
    wanted: dict[str, Any] = {missing: None}
    task_id = await scene.design(**wanted)
    task = await scene.poll(task_id)
    assert (task["status"], task["modal_status"], task["error"]) == ("failed", "failed", words.DESIGN_INCOMPLETE)
    assert scene.modal.asked("design") == []


async def test_a_design_that_outlives_its_request(scene: Scene) -> None:
    later = Reply(status=303, raw=b"", location="/design?__modal_function_call_id=fc-7")
    scene.modal.order("design", later, Reply(status=202, raw=b""), Reply(raw=WAV))
    task_id = await scene.design()
    assert (await ended(scene, task_id))["status"] == "completed"
    assert await preview(scene, task_id) == WAV


FAILURES = [
    (Reply({"detail": "Unsupported language: 'Hindi'"}, status=400), words.DESIGN_REFUSED),
    (Reply({"detail": "CUDA"}, status=500), Fault.OVERLOADED.facts.detail),
    (Reply(cut=True), Fault.CONNECTION_LOST.facts.detail),
    (Reply(raw=b""), Fault.NO_AUDIO.facts.detail),
    (Reply(held=True), Fault.ANSWER_TIMEOUT.facts.detail),
    (Reply(status=303, location="http://169.254.169.254/"), Fault.PROTOCOL_BROKEN.facts.detail),
]


@pytest.mark.parametrize(("reply", "message"), FAILURES)
async def test_a_design_that_fails_says_why_in_words_of_ours(scene: Scene, reply: Reply, message: str) -> None:
    scene.modal.order("design", reply)
    task_id = await scene.design()
    task = await ended(scene, task_id)
    assert (task["status"], task["error"], "result" in task) == ("failed", message, False)
    assert await preview(scene, task_id) is None
    assert len(scene.modal.asked("design")) == 1, "a design is never repeated"


@pytest.mark.parametrize("how", ["cancel", "delete"])
async def test_a_late_design_overturns_nothing(scene: Scene, how: str) -> None:
    """v1 turned a cancelled preview into a completed one."""
    task_id = await scene.design()
    scene.modal.order("design", HELD)
    await scene.poll(task_id)
    await scene.until_asked("design")
    if how == "cancel":
        assert (await scene.user.ask("POST", f"/api/tasks/{task_id}/cancel")).status == 200
    else:
        assert (await scene.user.ask("DELETE", f"/api/tasks/{task_id}")).status == 200
    scene.modal.release()
    await scene.idle()
    row = await scene.task(task_id)
    assert (row.status if row else None) == ("cancelled" if how == "cancel" else None)
    assert await preview(scene, task_id) is None, "audio was left behind"


async def test_a_late_failure_overturns_nothing_either(scene: Scene) -> None:
    task_id = await scene.design()
    scene.modal.order("design", Reply(status=500, held=True))
    await scene.poll(task_id)
    await scene.until_asked("design")
    await scene.user.ask("POST", f"/api/tasks/{task_id}/cancel")
    scene.modal.release()
    await scene.idle()
    assert (await scene.poll(task_id))["status"] == "cancelled"


async def test_while_draining_none_is_begun_and_none_is_lost(scene: Scene, gateway: Gateway) -> None:
    task_id = await scene.design()
    gateway.services.supervisor.start_draining()
    assert (await scene.user.ask("GET", f"/api/tasks/{task_id}")).status == 503
    row = await scene.task(task_id)
    assert row is not None
    assert row.status == "pending", "another server can begin it"


async def test_a_stop_of_the_server_in_the_middle_fails_the_row(
    database: TestDatabase, tmp_path: Path, modal: ModalServer
) -> None:
    environment = {"TTS_PROVIDER_MODE": "modal", **modal.environment()}
    modal.order("design", HELD)
    async with open_gateway(database, tmp_path, **environment) as stopping:
        scene = Scene(stopping, await stopping.user(), modal)
        task_id = await scene.design()
        await scene.poll(task_id)
        await scene.until_asked("design")
    async with open_gateway(database, tmp_path, **environment) as later:
        task = await Scene(later, Caller(later, scene.user.id), modal).poll(task_id)
    assert (task["status"], task["error"]) == ("failed", words.DESIGN_INTERRUPTED)


async def test_a_design_whose_process_died_is_not_waited_for_for_ever(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """v1 did."""
    task_id = await scene.design(status="processing")
    assert (await scene.poll(task_id))["status"] == "processing", "another process may be making it"
    await scene.age(task_id, designs.ABANDONED_SECONDS)
    task = await scene.poll(task_id)
    assert (task["status"], task["error"]) == ("failed", words.DESIGN_INTERRUPTED)
    assert scene.modal.asked("design") == [], "a preview is never run again"


async def test_an_address_that_is_not_set_fails_the_design(
    database: TestDatabase, tmp_path: Path, modal: ModalServer
) -> None:
    environment = {name: value for name, value in modal.environment().items() if "DESIGN" not in name}
    async with open_gateway(database, tmp_path, TTS_PROVIDER_MODE="modal", **environment) as unset:
        scene = Scene(unset, await unset.user(), modal)
        task = await ended(scene, await scene.design())
    assert (task["status"], task["error"]) == ("failed", Fault.NOT_CONFIGURED.facts.detail)
