"""POST /generate in Modal mode: the rows of v1 contract 1.6, in their order, and what is left when it goes wrong."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import anyio
import pytest
import structlog

from gateway.modal import admission, submission
from protocol.errors import Fault
from storage.objects import REFERENCES
from storage.tasks import find_task
from tests.gateway.modal.held import held_tasks
from tests.gateway.modal.scene import RECORDING, Scene
from tests.support.exchange import open_request
from tests.support.gateway import Caller, Gateway, open_gateway, speech
from tests.support.modal_server import JOB, ModalServer, Reply, modal_server
from tests.support.postgres import TestDatabase
from tests.support.workshop import cut_off

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

NEW_VOICE = "00000000-0000-4000-8000-000000000001"


async def test_a_generation_is_submitted(scene: Scene) -> None:
    voice = await scene.voice()
    answer = await scene.user.generate(voice.id, "  Good morning.  ")
    assert answer.status == 200
    accepted = answer.json()
    assert set(accepted) == {
        "task_id",
        "status",
        "is_long_running",
        "estimated_duration_minutes",
        "generation_id",
    }
    assert (accepted["status"], accepted["is_long_running"]) == ("processing", True)
    assert accepted["estimated_duration_minutes"] == 0.1
    assert answer.headers["x-utter-provider"] == "modal"
    assert answer.headers["x-utter-task-id"] == accepted["task_id"]
    assert "provider_submit" in answer.headers["server-timing"]
    sent = scene.modal.asked("submit")[0].json()
    assert sent == {
        "text": "Good morning.",
        "language": "Auto",
        "ref_audio_base64": base64.b64encode(RECORDING).decode(),
        "ref_text": voice.reference_transcript,
        "max_new_tokens": 4096,
    }


async def test_its_rows(scene: Scene) -> None:
    started = await scene.started("x" * 60)
    task, generation = await scene.task(started.task_id), await scene.generation(started.generation_id)
    assert task is not None
    assert generation is not None
    assert (task.type, task.status, task.provider) == ("generate", "processing", "modal")
    assert (task.modal_job_id, task.provider_job_id) == (JOB, JOB)
    assert task.metadata == {
        "voice_id": str(generation.voice_id),
        "voice_name": "Ada",
        "text_length": 60,
        "text_preview": "x" * 50 + "...",
        "language": "Auto",
        "estimated_duration_minutes": 0.2,
    }
    assert (generation.status, generation.tts_provider, generation.text) == ("processing", "modal", "x" * 60)


async def test_a_language_is_passed_on_unchecked(scene: Scene) -> None:
    """v1 leaves that to the server, which refuses late (v1 contract 4.2)."""
    voice = await scene.voice()
    body = speech(voice.id, "Hi").replace(b'"model"', b'"language":"Klingon","model"')
    assert (await scene.user.ask("POST", "/api/generate", body=body)).status == 200
    assert scene.modal.asked("submit")[0].json()["language"] == "Klingon"


@pytest.mark.parametrize(
    ("recording", "changes", "status", "word"),
    [
        (RECORDING, {"tts_provider": "qwen"}, 409, "other speech provider"),
        (RECORDING, {"reference_transcript": None}, 400, "transcript"),
        (RECORDING, {"reference_transcript": ""}, 400, "transcript"),
        (RECORDING, {"reference_object_key": None}, 400, "recording"),
        (None, {"reference_object_key": "../../etc/passwd"}, 400, "recording"),
        (None, {"reference_object_key": f"{NEW_VOICE}/{NEW_VOICE}/reference.wav"}, 400, "recording"),
        (None, {}, 400, "recording"),
    ],
)
async def test_voices_that_cannot_be_used(
    scene: Scene, recording: bytes | None, changes: dict[str, Any], status: int, word: str
) -> None:
    voice = await scene.voice(recording=recording, **changes)
    answer = await scene.user.generate(voice.id)
    assert (answer.status, word in answer.json()["detail"]) == (status, True), answer.body
    assert scene.modal.asked("submit") == []


async def test_anothers_recording_is_never_sent(scene: Scene, gateway: Gateway) -> None:
    """Only rows of v1 can name such a key; what lies there is not its owner's."""
    bob = await gateway.user()
    foreign = f"{bob.id}/{uuid4()}/reference.wav"
    await gateway.services.objects.put(REFERENCES, foreign, b"Bob's voice", "audio/wav")
    voice = await scene.voice(recording=None, reference_object_key=foreign)
    assert (await scene.user.generate(voice.id)).status == 400
    assert scene.modal.asked("submit") == []


async def test_a_recording_may_have_ten_megabytes_and_no_more(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    assert admission.MAX_RECORDING_BYTES == 10 * 1024 * 1024
    monkeypatch.setattr(admission, "MAX_RECORDING_BYTES", len(RECORDING))
    fits = await scene.voice()
    larger = await scene.voice(recording=RECORDING + b"x")
    refused = await scene.user.generate(larger.id)
    assert (refused.status, "10 MB" in refused.json()["detail"]) == (400, True)
    assert (await scene.user.generate(fits.id)).status == 200


async def test_a_deleted_and_a_foreign_voice_are_404(scene: Scene, gateway: Gateway) -> None:
    voice = await scene.voice()
    bob = await gateway.user()
    assert (await bob.generate(voice.id)).status == 404
    await scene.user.ask("DELETE", f"/api/voices/{voice.id}")
    assert (await scene.user.generate(voice.id)).status == 404


async def order_of_checks(scene: Scene) -> list[tuple[str, int | None]]:
    """A request for each row of the contract's table, wrong in that row and, where it can be, in those below it."""
    bad = await scene.voice(recording=None, reference_transcript=None)
    without_recording = await scene.voice(recording=None)
    cases = {
        "text before voice": (uuid4(), "x" * 2001),
        "voice before transcript": (uuid4(), "Hi."),
        "transcript before recording": (bad.id, "Hi."),
        "recording before active task": (without_recording.id, "Hi."),
    }
    return [(name, (await scene.user.generate(voice, text)).status) for name, (voice, text) in cases.items()]


async def test_the_checks_come_in_the_contracts_order(scene: Scene) -> None:
    await scene.started()
    assert await order_of_checks(scene) == [
        ("text before voice", 400),
        ("voice before transcript", 404),
        ("transcript before recording", 400),
        ("recording before active task", 400),
    ]
    assert (await scene.generate()).status == 409
    assert len(scene.modal.asked("submit")) == 1


async def test_two_at_once_are_one(scene: Scene) -> None:
    voice = await scene.voice()
    statuses: list[int] = []

    async def post() -> None:
        answer = await scene.user.generate(voice.id)
        statuses.append(answer.status or 0)

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(post)
    assert sorted(statuses) == [200, 409, 409, 409]
    assert len(scene.modal.asked("submit")) == 1


FAILURES: list[tuple[Reply, Fault, str]] = [
    (Reply({"detail": "out of GPUs for 'Good morning.'"}, status=500), Fault.OVERLOADED, "provider_unavailable"),
    (Reply({"detail": [{"input": "Good morning."}]}, status=422), Fault.BAD_INPUT, "provider_rejected"),
    (Reply(raw=b"modal-http: app is stopped", status=404), Fault.NOT_CONFIGURED, "provider_rejected"),
    (Reply(status=401), Fault.ACCESS_DENIED, "provider_rejected"),
    (Reply(status=307, location="http://169.254.169.254/"), Fault.NOT_CONFIGURED, "provider_rejected"),
    (Reply({}), Fault.PROTOCOL_BROKEN, "provider_unavailable"),
    (Reply(raw=b"{"), Fault.PROTOCOL_BROKEN, "provider_unavailable"),
    (Reply(cut=True), Fault.CONNECTION_LOST, "provider_unavailable"),
    (Reply(held=True), Fault.ANSWER_TIMEOUT, "timeout"),
]


@pytest.mark.parametrize(("reply", "fault", "category"), FAILURES)
async def test_a_submit_that_fails_is_502_in_any_way(scene: Scene, reply: Reply, fault: Fault, category: str) -> None:
    scene.modal.order("submit", reply)
    with structlog.testing.capture_logs() as logs:
        answer = await scene.generate("Good morning.")
    assert (answer.status, answer.headers["x-utter-error-category"]) == (502, category)
    assert answer.json() == {"detail": fault.facts.detail}
    history = (await scene.user.ask("GET", "/api/generations")).json()["generations"]
    assert [(row["status"], row["error_message"]) for row in history] == [("failed", fault.facts.detail)]
    failed = next(line for line in logs if line["event"] == "modal.submit_failed")
    assert "Good morning" not in failed["vendor_message"], "a user's text got into the log"
    assert (await scene.generate()).status == 200, "the guard of one active task was not freed"


async def test_the_task_of_a_failed_submit_says_so_too(scene: Scene) -> None:
    scene.modal.order("submit", Reply({"detail": "secret"}, status=500))
    answer = await scene.generate()
    task_id = answer.headers.get("x-utter-task-id")
    assert task_id is None, "there is nothing to poll"
    generation = (await scene.user.ask("GET", "/api/generations")).json()["generations"][0]
    row = await scene.generation(UUID(generation["id"]))
    assert row is not None
    assert row.completed_at is not None


async def test_an_address_that_is_not_set_is_502(database: TestDatabase, tmp_path: Path) -> None:
    async with open_gateway(database, tmp_path, TTS_PROVIDER_MODE="modal") as unset:
        with modal_server() as nothing:
            scene = Scene(unset, await unset.user(), nothing)
            answer = await scene.generate()
    assert (answer.status, answer.json()["detail"]) == (502, Fault.NOT_CONFIGURED.facts.detail)


async def test_nothing_is_submitted_while_draining(scene: Scene, gateway: Gateway) -> None:
    voice = await scene.voice()
    gateway.services.supervisor.start_draining()
    answer = await scene.user.generate(voice.id)
    assert (answer.status, scene.modal.asked("submit")) == (503, [])
    assert (await scene.user.ask("GET", "/api/generations")).json()["generations"] == []


async def test_a_client_that_leaves_does_not_lose_the_job(scene: Scene, gateway: Gateway) -> None:
    voice = await scene.voice()
    scene.modal.order("submit", Reply({"job_id": JOB}, held=True))
    body = speech(voice.id, "Hi.")
    async with open_request(gateway.app, "POST", "/api/generate", headers=scene.user.headers, body=body):
        await scene.until_asked("submit")  # leaving the block cancels the request
    scene.modal.release()
    await scene.idle()
    history = (await scene.user.ask("GET", "/api/generations")).json()["generations"]
    assert [row["status"] for row in history] == ["processing"]


async def test_what_is_cancelled_while_it_is_submitted_is_cancelled_at_modal(scene: Scene, gateway: Gateway) -> None:
    voice = await scene.voice()
    scene.modal.order("submit", Reply({"job_id": "fc-late"}, held=True))
    async with open_request(
        gateway.app, "POST", "/api/generate", headers=scene.user.headers, body=speech(voice.id, "Hi.")
    ) as posted:
        await scene.until_asked("submit")
        generation = (await scene.user.ask("GET", "/api/generations")).json()["generations"][0]
        assert (await scene.user.ask("DELETE", f"/api/generations/{generation['id']}")).status == 200
        scene.modal.release()
        await posted.over()
    assert (posted.status, posted.headers["x-utter-error-category"]) == (409, "cancelled")
    assert [asked.json() for asked in scene.modal.asked("cancel")] == [{"job_id": "fc-late"}]


async def test_a_stop_of_the_server_in_the_middle_fails_the_rows(
    database: TestDatabase, tmp_path: Path, modal: ModalServer
) -> None:
    environment = {"TTS_PROVIDER_MODE": "modal", **modal.environment()}
    modal.order("submit", Reply(held=True))
    async with anyio.create_task_group() as tasks, open_gateway(database, tmp_path, **environment) as stopping:
        scene = Scene(stopping, await stopping.user(), modal)
        voice = await scene.voice()
        tasks.start_soon(scene.user.generate, voice.id)
        await scene.until_asked("submit")
    async with open_gateway(database, tmp_path, **environment) as later:
        user = Caller(later, scene.user.id)
        history = (await user.ask("GET", "/api/generations")).json()["generations"]
    assert [row["status"] for row in history] == ["failed"]
    assert "restarted" in history[0]["error_message"]


async def test_a_stop_of_the_server_does_not_lose_the_id_of_a_job(
    database: TestDatabase, tmp_path: Path, modal: ModalServer
) -> None:
    """Modal has answered, and the write of its answer has to wait for a lock at the moment of the stop."""
    environment = {"TTS_PROVIDER_MODE": "modal", **modal.environment()}
    modal.order("submit", Reply({"job_id": JOB}, held=True))
    async with (
        anyio.create_task_group() as tasks,
        held_tasks(database) as tasks_are_held,
        open_gateway(database, tmp_path, **environment) as stopping,
    ):
        scene = Scene(stopping, await stopping.user(), modal)
        tasks.start_soon(scene.user.generate, (await scene.voice()).id)
        await scene.until_asked("submit")
        await tasks_are_held.begin()
        modal.release()
        await tasks_are_held.somebody_waits()
        tasks.start_soon(tasks_are_held.end_when, lambda: any(job.cancel_called for job in jobs_of(stopping)))
    async with open_gateway(database, tmp_path, **environment) as later:
        again = Scene(later, Caller(later, scene.user.id), modal)
        history = (await again.user.ask("GET", "/api/generations")).json()["generations"]
        assert [row["status"] for row in history] == ["processing"]
        async with later.services.database.as_user(scene.user.id) as transaction:
            task = await find_task(transaction, scene.user.id, UUID(history[0]["id"]))
    assert task is not None
    assert task.modal_job_id == JOB


def jobs_of(gateway: Gateway) -> set[anyio.CancelScope]:
    return gateway.services.supervisor._jobs


async def test_a_job_whose_id_cannot_be_stored_is_cancelled(
    scene: Scene, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "STORE_JOB_SECONDS", 0.5)
    voice = await scene.voice()
    scene.modal.order("submit", Reply({"job_id": "fc-lost"}, held=True))
    async with open_request(
        gateway.app, "POST", "/api/generate", headers=scene.user.headers, body=speech(voice.id, "Hi.")
    ) as posted:
        await scene.until_asked("submit")
        async with cut_off(gateway.database):
            scene.modal.release()
            await scene.until_asked("cancel")
        await posted.over()
    assert posted.status == 503
    assert [asked.json() for asked in scene.modal.asked("cancel")] == [{"job_id": "fc-lost"}]
    history = (await scene.user.ask("GET", "/api/generations")).json()["generations"]
    assert [row["status"] for row in history] == ["failed"]


async def test_busy_is_said_when_no_place_comes_free(
    scene: Scene, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "QUEUE_SECONDS", 0.05)
    gateway.services.jobs._submission.places.total_tokens = 1
    scene.modal.order("submit", Reply({"job_id": JOB}, held=True))
    voice = await scene.voice()
    bob = Scene(gateway, await gateway.user(), scene.modal)
    async with open_request(
        gateway.app, "POST", "/api/generate", headers=scene.user.headers, body=speech(voice.id, "Hi.")
    ) as first:
        await scene.until_asked("submit")
        answer = await bob.generate()
        assert (answer.status, "busy" in answer.json()["detail"]) == (503, True)
        scene.modal.release()
        await first.over()
    assert first.status == 200
    assert (await bob.generate()).status == 200


@pytest.mark.parametrize("text", ["...", "a\0b", "x" * 2001])
async def test_the_same_texts_are_refused_as_in_qwen_mode(scene: Scene, text: str) -> None:
    assert (await scene.generate(text)).status == 400


async def test_languages_say_what_modal_offers(gateway: Gateway) -> None:
    answer = (await gateway.ask("GET", "/api/languages")).json()
    assert (answer["provider"], len(answer["languages"]), len(answer["spoken_languages"])) == ("modal", 15, 11)
    assert answer["capabilities"] == {
        "supports_generate": True,
        "supports_generate_stream": False,
        "default_generate_mode": "task",
        "allow_generate_mode_toggle": False,
        "max_text_chars": 2000,
    }
