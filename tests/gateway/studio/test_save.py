"""Saving a designed voice at Qwen: a row for what is paid for already, once (product section 6, v1 contract 1.5)."""

from __future__ import annotations

from uuid import UUID, uuid4

import anyio
import pytest

from tests.gateway.studio.conftest import Bill
from tests.gateway.studio.scene import Scene
from tests.support.emulator import VD_MODEL
from tests.support.exchange import Exchange

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

AT_ONCE = 20

_SET_TASK = "update public.tasks set {} where id = :'id'"


async def saves_at_once(scene: Scene, audio: bytes, how: dict[str, str]) -> list[Exchange]:
    answers: list[Exchange] = []

    async def one() -> None:
        answers.append(await scene.save(audio, changes=how))

    async with anyio.create_task_group() as tasks:
        for _ in range(AT_ONCE):
            tasks.start_soon(one)
    return answers


async def test_the_voice_is_the_previews(scene: Scene) -> None:
    task_id, audio = await scene.made_preview()
    answer = await scene.save(audio, changes={"task_id": str(task_id), "name": " Narrator "})
    saved, create = answer.json(), await scene.create(task_id)
    assert create is not None
    assert answer.status == 200
    link = saved.pop("preview_url")
    assert saved == {
        "id": str(create.voice_id),
        "name": "Narrator",
        "description": "A calm narrator.",
        "language": "English",
        "source": "designed",
    }
    heard = await scene.gateway.ask("GET", link.removeprefix("http://127.0.0.1:8080"))
    assert heard.body == audio
    row = await scene.voice(UUID(saved["id"]))
    assert row is not None
    assert (row.tts_provider, row.provider_voice_kind, row.provider_target_model) == ("qwen", "vd", VD_MODEL)
    assert (row.provider_voice_id, row.provider_region) == (create.provider_voice_id, "intl")
    assert row.provider_metadata == {"usage": {"count": 1}}
    assert (row.provider_request_id, row.reference_transcript) == (create.request_id, "Good evening.")
    assert row.reference_object_key == create.preview_object_key
    assert await scene.orphans() == []


@pytest.mark.parametrize("by", ["task", "audio"])
async def test_twenty_at_once_are_one(scene: Scene, billed: Bill, by: str) -> None:
    task_id, audio = await scene.made_preview()
    before = billed()
    answers = await saves_at_once(scene, audio, {"task_id": str(task_id)} if by == "task" else {})
    assert {answer.status for answer in answers} == {200}
    assert {UUID(answer.json()["id"]) for answer in answers} == set(await scene.voices())
    assert len(await scene.voices()) == 1
    assert billed() == before, "a save never creates"


async def test_after_the_task_was_deleted(scene: Scene, billed: Bill) -> None:
    """v1's page deletes the task 50 ms after it ended, usually before it saves (appendix A)."""
    task_id, audio = await scene.made_preview()
    assert (await scene.user.ask("DELETE", f"/api/tasks/{task_id}")).status == 200
    by_audio, by_task = await scene.save(audio), await scene.save(changes={"task_id": str(task_id)})
    assert (by_audio.status, by_task.status) == (200, 200)
    assert by_audio.json()["id"] == by_task.json()["id"]
    assert billed()["designs"] == 1
    assert await scene.orphans() == []


async def test_a_voice_that_was_saved_is_no_orphan_once_deleted_softly(scene: Scene) -> None:
    task_id, _ = await scene.made_preview()
    voice_id = (await scene.save(changes={"task_id": str(task_id)})).json()["id"]
    assert (await scene.user.ask("DELETE", f"/api/voices/{voice_id}")).status == 200
    again = await scene.save(changes={"task_id": str(task_id)})
    assert again.status == 409
    assert "Restore" in again.json()["detail"]
    assert (await scene.post(f"/voices/{voice_id}/restore")).status == 200
    assert (await scene.save(changes={"task_id": str(task_id)})).json()["id"] == voice_id


async def test_a_voice_that_is_gone_is_said_to_be(scene: Scene) -> None:
    task_id, _ = await scene.made_preview()
    voice_id = (await scene.save(changes={"task_id": str(task_id)})).json()["id"]
    await scene.sql("delete from public.voices where id = :'id'", id=voice_id)
    answer = await scene.save(changes={"task_id": str(task_id)})
    assert answer.status == 409
    assert "make another" in answer.json()["detail"]
    assert [orphan.reason for orphan in await scene.orphans()] == ["voice_gone"]


async def test_by_audio_that_is_nobodys_preview(scene: Scene) -> None:
    _, audio = await scene.made_preview()
    answer = await scene.save(audio + b"\0")
    assert (answer.status, answer.headers["x-utter-error-category"]) == (400, "validation")
    assert await scene.voices() == []


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ("status = 'processing'", 409),
        ("status = 'failed'", 409),
        ("type = 'generate'", 409),
        ("provider = 'modal'", 409),
    ],
)
async def test_a_task_that_cannot_be_saved(scene: Scene, change: str, status: int) -> None:
    task_id, _ = await scene.made_preview()
    await scene.sql(_SET_TASK.format(change), id=str(task_id))
    assert (await scene.save(changes={"task_id": str(task_id)})).status == status
    assert await scene.voices() == []


async def test_a_task_without_anything_of_the_providers(scene: Scene) -> None:
    task_id, _ = await scene.made_preview()
    await scene.sql("delete from utter.voice_creates where id = :'id'", id=str(task_id))
    assert (await scene.save(changes={"task_id": str(task_id)})).status == 409


async def test_an_unknown_task_is_404_and_a_malformed_one_400(scene: Scene) -> None:
    assert (await scene.save(changes={"task_id": str(uuid4())})).status == 404
    assert (await scene.save(changes={"task_id": "task"})).status == 400


async def test_a_clone_is_no_preview(scene: Scene) -> None:
    voice_id = await scene.upload()
    assert (await scene.finalize(voice_id)).status == 200
    assert (await scene.save(changes={"task_id": str(voice_id)})).status == 404


@pytest.mark.parametrize("name", ["name", "text", "language", "instruct"])
async def test_a_text_with_nul_is_400(scene: Scene, name: str) -> None:
    task_id, _ = await scene.made_preview()
    answer = await scene.save(changes={"task_id": str(task_id), name: "A\0da"})
    assert answer.status == 400
    assert "NUL" in answer.json()["detail"]
    assert await scene.voices() == []


async def test_with_a_task_the_audio_does_not_matter(scene: Scene) -> None:
    """A preview of 500 characters is longer than the form's audio may be (v1 contract 1.5)."""
    task_id, _ = await scene.made_preview()
    answer = await scene.save(bytes(1_000_001), "audio/ogg", {"task_id": str(task_id)})
    assert answer.status == 200
