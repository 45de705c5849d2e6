"""Designing at Qwen: one create for each preview, whatever becomes of its task (product section 6)."""

from __future__ import annotations

import hashlib

import anyio
import pytest

from gateway.studio.qwen_design import FAILED
from protocol.customization import preferred_name
from protocol.errors import Fault
from storage.objects import ObjectStoreUnavailable
from tests.gateway.studio.conftest import Bill
from tests.gateway.studio.scene import LIST, Scene
from tests.support.emulator import VD_MODEL

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

NOTHING = {"clones": 0, "designs": 0, "characters": 0}
ONE = {**NOTHING, "designs": 1}


async def test_from_request_to_preview(scene: Scene, billed: Bill) -> None:
    task_id = await scene.start_preview(name="Narrator")
    first = await scene.poll(task_id)
    assert (first["status"], first["provider"]) == ("processing", "qwen")
    assert "result" not in first
    await scene.idle()
    task = await scene.poll(task_id)
    create = await scene.create(task_id)
    assert create is not None
    key = f"{scene.user.id}/preview_{task_id}.wav"
    assert task["status"] == task["provider_status"] == "completed"
    result = dict(task["result"])
    link = result.pop("audio_url")
    assert result == {
        "object_key": key,
        "provider_voice_id": create.provider_voice_id,
        "provider_target_model": VD_MODEL,
        "provider_voice_kind": "vd",
        "provider_request_id": create.request_id,
    }
    heard = await scene.gateway.ask("GET", link.removeprefix("http://127.0.0.1:8080"))
    assert (heard.status, heard.headers["content-type"]) == (200, "audio/wav")
    assert heard.body == await scene.object(key)
    assert create.preview_sha256 == hashlib.sha256(heard.body).hexdigest()
    assert (create.state, create.kind, create.request_id) == ("created", "vd", result["provider_request_id"])
    assert scene.emulator.creates()[-1]["preferred_name"] == preferred_name(task_id)
    assert billed() == ONE


async def test_the_first_poll_says_processing_even_when_it_is_done(scene: Scene) -> None:
    task_id, _ = await scene.made_preview()
    assert (await scene.poll(task_id))["status"] == "processing"
    assert (await scene.poll(task_id))["status"] == "completed"


async def test_the_words_are_kept_as_v1_kept_them(scene: Scene) -> None:
    task_id = await scene.start_preview(text=" Hello. ", language="German")
    task = await scene.ended(task_id)
    assert task.metadata == {"text": "Hello.", "instruct": "A calm narrator.", "language": "German"}


async def test_any_number_at_a_time(scene: Scene, billed: Bill) -> None:
    tasks = [await scene.start_preview() for _ in range(3)]
    await scene.idle()
    assert [(await scene.ended(task)).status for task in tasks] == ["completed"] * 3
    assert billed() == {**NOTHING, "designs": 3}


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("wrong_key", Fault.KEY_REFUSED.facts.detail),
        ("model_gone", Fault.MODEL_GONE.facts.detail),
        ("voice_quota", Fault.VOICE_QUOTA.facts.detail),
        ("throttled_upgrade", Fault.RATE_LIMITED.facts.detail),
        ("content_blocked", "descriptions work best in English or Chinese"),
        ("rest_500", Fault.OVERLOADED.facts.detail),
    ],
)
async def test_a_vendor_that_refuses_fails_the_task(scene: Scene, billed: Bill, fault: str, words: str) -> None:
    scene.order(fault, times=1)
    task = await scene.ended(await scene.start_preview())
    assert (task.status, task.result) == ("failed", None)
    assert words in (task.error or "")
    assert billed() == NOTHING
    await scene.recover()
    assert billed() == NOTHING, "a preview is never made again"


async def test_a_language_that_is_not_spoken_begins_nothing(scene: Scene, billed: Bill) -> None:
    wanted = {"text": "Hello.", "instruct": "Calm.", "language": "Dutch"}
    answer = await scene.post("/voices/design/preview", wanted)
    assert answer.status == 400
    assert "Japanese" in answer.json()["detail"]
    assert billed() == NOTHING


async def test_while_draining_nothing_is_begun(scene: Scene, billed: Bill) -> None:
    scene.gateway.services.supervisor.start_draining()
    answer = await scene.post("/voices/design/preview", {"text": "Hi.", "instruct": "Calm.", "language": "Auto"})
    assert answer.status == 503
    assert billed() == NOTHING


async def test_a_deleted_user_is_401_and_costs_nothing(scene: Scene, billed: Bill) -> None:
    await scene.sql("delete from auth.users where id = :'id'", id=str(scene.user.id))
    answer = await scene.post("/voices/design/preview", {"text": "Hi.", "instruct": "Calm.", "language": "Auto"})
    assert answer.status == 401
    await scene.recover()
    assert billed() == NOTHING


async def test_a_client_that_leaves_has_its_preview_all_the_same(scene: Scene, billed: Bill) -> None:
    body = b'{"text": "Hi.", "instruct": "Calm.", "language": "English"}'
    async with scene.held_outcomes(), scene.user.listening("/api/voices/design/preview", "POST", body):
        await scene.until(lambda: billed()["designs"] == 1)
    await scene.idle()
    assert scene.emulator.creates()[-1]["kind"] == "vd"
    assert await scene.orphans() == []
    assert billed() == ONE


@pytest.mark.parametrize("fault", ["lost_answer", "lost_answer_cut"])
async def test_a_lost_answer_is_looked_up_and_its_text_spoken(scene: Scene, billed: Bill, fault: str) -> None:
    scene.order(fault, times=1)
    task_id = await scene.start_preview(text="Good evening.")
    task, create = await scene.ended(task_id), await scene.create(task_id)
    assert create is not None
    assert (task.status, create.state) == ("completed", "created")
    assert billed() == {**ONE, "characters": len("Good evening.")}
    audio = await scene.object(f"{scene.user.id}/preview_{task_id}.wav")
    assert audio
    assert hashlib.sha256(audio).hexdigest() == create.preview_sha256
    answer = await scene.save(audio)
    assert answer.status == 200
    recording = await scene.user.ask("GET", f"/api/voices/{answer.json()['id']}/preview")
    heard = await scene.gateway.ask("GET", recording.headers["location"].removeprefix("http://127.0.0.1:8080"))
    assert (heard.body, heard.headers["content-type"]) == (audio, "audio/mpeg")


async def test_a_lost_answer_whose_text_cannot_be_spoken_leaves_an_orphan(scene: Scene, billed: Bill) -> None:
    scene.order("lost_answer", times=1)
    scene.order("zero_audio", at="*")
    task_id = await scene.start_preview()
    task, create = await scene.ended(task_id), await scene.create(task_id)
    assert create is not None
    assert (task.status, task.error) == ("failed", Fault.NO_AUDIO.facts.detail)
    assert [(orphan.id, orphan.reason) for orphan in await scene.orphans()] == [(task_id, "preview_ended")]
    assert create.provider_voice_id == scene.emulator.creates()[-1]["voice"]
    assert billed()["designs"] == 1


async def test_an_outcome_that_nobody_can_tell_fails_honestly_and_is_listed(scene: Scene, billed: Bill) -> None:
    scene.order("lost_answer", times=1)
    scene.order("wrong_key", at=LIST)
    task_id = await scene.start_preview()
    assert (await scene.ended(task_id)).status == "failed"
    assert [(orphan.id, orphan.reason) for orphan in await scene.orphans()] == [(task_id, "ambiguous")]
    scene.emulator.clear_faults()
    await scene.recover()
    assert billed() == ONE


async def test_a_preview_that_cannot_be_stored_leaves_an_orphan(
    scene: Scene, billed: Bill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.persister.LANDING_SECONDS", 0.0)

    async def away(*_: object, **__: object) -> int:
        raise ObjectStoreUnavailable("away")

    monkeypatch.setattr(type(scene.gateway.services.objects), "put", away)
    task_id = await scene.start_preview()
    task = await scene.ended(task_id)
    assert (task.status, task.error) == ("failed", FAILED)
    assert [(orphan.id, orphan.reason) for orphan in await scene.orphans()] == [(task_id, "preview_ended")]
    assert billed() == ONE


async def test_a_cancelled_preview_stays_cancelled_and_its_voice_is_an_orphan(scene: Scene, billed: Bill) -> None:
    async with scene.held_outcomes():
        task_id = await scene.start_preview()
        await scene.until(lambda: billed()["designs"] == 1)
        assert (await scene.post(f"/tasks/{task_id}/cancel")).status == 200
    assert (await scene.ended(task_id)).status == "cancelled"
    assert [(orphan.id, orphan.reason) for orphan in await scene.orphans()] == [(task_id, "preview_ended")]
    answer = await scene.save(changes={"task_id": str(task_id)})
    assert answer.status == 409
    assert billed() == ONE


async def test_a_preview_deleted_while_it_is_made_is_an_orphan(scene: Scene, billed: Bill) -> None:
    async with scene.held_outcomes():
        task_id = await scene.start_preview()
        await scene.until(lambda: billed()["designs"] == 1)
        assert (await scene.user.ask("DELETE", f"/api/tasks/{task_id}")).status == 200
    await scene.idle()
    assert [(orphan.id, orphan.reason) for orphan in await scene.orphans()] == [(task_id, "preview_deleted")]
    assert billed() == ONE


async def test_nobody_sees_anothers_preview(scene: Scene) -> None:
    task_id, audio = await scene.made_preview()
    other = Scene(scene.gateway, await scene.gateway.user(), scene.emulator)
    assert (await other.user.ask("GET", f"/api/tasks/{task_id}")).status == 404
    assert (await other.save(changes={"task_id": str(task_id)})).status == 404
    assert (await other.save(audio)).status == 400
    assert await other.voices() == []


async def test_previews_of_two_users_that_sound_the_same_are_two(scene: Scene) -> None:
    """The digest finds the caller's own, and no other."""
    other = Scene(scene.gateway, await scene.gateway.user(), scene.emulator)
    async with anyio.create_task_group() as tasks:
        for who in (scene, other):
            tasks.start_soon(_save_same, who)
    assert len(await scene.voices()) == len(await other.voices()) == 1
    assert await scene.voices() != await other.voices()


async def _save_same(scene: Scene) -> None:
    task_id = await scene.start_preview()
    await scene.idle()
    same = b"RIFF the same"
    await scene.sql(
        "update utter.voice_creates set preview_sha256 = :'digest' where id = :'id'",
        digest=hashlib.sha256(same).hexdigest(),
        id=str(task_id),
    )
    assert (await scene.save(same)).status == 200


async def test_a_caller_without_token_is_401(scene: Scene) -> None:
    for route in ("/voices/design/preview", "/voices/design", "/clone/upload-url", "/clone/finalize"):
        assert (await scene.gateway.ask("POST", f"/api{route}")).status == 401
