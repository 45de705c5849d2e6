"""Previews whose maker died: found and finished, or ended honestly, never made a second time (product section 6)."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from uuid import UUID

import anyio
import pytest

from gateway.studio.recovery import LOST, MAX_ATTEMPTS, NO_CREDENTIALS
from tests.gateway.studio.conftest import Bill
from tests.gateway.studio.scene import CREATE, LIST, Scene, open_scene
from tests.support.emulator import Emulator
from tests.support.exchange import WAIT_SECONDS
from tests.support.postgres import TestDatabase

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

TEXT = "Good evening."

ONE = {"clones": 0, "designs": 1, "characters": 0}
SPOKEN = {**ONE, "characters": len(TEXT)}

_ATTEMPTS = "update utter.voice_creates set attempts = :'attempts'::integer"


class Crash:
    """A gateway that died while the vendor had its create, and what runs after it."""

    def __init__(self, database: TestDatabase, folder: Path, vendor: Emulator, billed: Bill) -> None:
        self._database = database
        self._folder = folder
        self._vendor = vendor
        self._billed = billed
        self.user: UUID | None = None

    async def __call__(self, fault: str = "lost_answer_hang") -> UUID:
        """Die while the vendor keeps the answer, as `fault` says. The id of the preview's task."""
        self._vendor.order_faults(CREATE, fault, times=1)
        async with self.scene() as before:
            self.user = before.user.id
            task_id = await before.start_preview(text=TEXT)
            if fault == "lost_answer_hang":
                await before.until(lambda: self._billed()["designs"] == 1)
        return task_id

    def scene(self, **environment: str) -> AbstractAsyncContextManager[Scene]:
        """The next gateway."""
        return open_scene(self._database, self._folder, self._vendor, self.user, **environment)


@pytest.fixture
def crash(database: TestDatabase, tmp_path: Path, vendor: Emulator, billed: Bill) -> Crash:
    return Crash(database, tmp_path, vendor, billed)


async def test_a_lost_preview_is_found_and_its_text_spoken(crash: Crash, billed: Bill) -> None:
    task_id = await crash()
    async with crash.scene() as scene:
        await scene.gateway.services.studio.recover_stale()
        assert (await scene.poll(task_id))["status"] == "processing", "the claim has not run out"
        await scene.recover()
        task = await scene.poll(task_id)
        assert task["status"] == "completed"
        assert billed() == SPOKEN
        audio = await scene.object(task["result"]["object_key"])
        assert audio
        answer = await scene.save(audio)
        assert answer.status == 200
        assert await scene.orphans() == []
        await scene.recover()
    assert billed() == SPOKEN


async def test_a_preview_that_was_never_made_fails(crash: Crash, billed: Bill) -> None:
    task_id = await crash("rest_hang")
    async with crash.scene() as scene:
        await scene.recover()
        task, create = await scene.ended(task_id), await scene.create(task_id)
        assert create is not None
        assert (task.status, task.error, create.state) == ("failed", LOST, "refused")
        assert await scene.orphans() == []
    assert billed() == {**ONE, "designs": 0}


async def test_a_preview_that_was_stored_is_not_spoken(crash: Crash, billed: Bill) -> None:
    task_id = await crash()
    async with crash.scene() as scene:
        key = f"{scene.user.id}/preview_{task_id}.wav"
        await scene.gateway.services.objects.put("references", key, b"RIFF as it was made", "audio/wav")
        await scene.recover()
        assert (await scene.ended(task_id)).status == "completed"
        assert await scene.object(key) == b"RIFF as it was made"
        assert (await scene.save(b"RIFF as it was made")).status == 200
    assert billed() == ONE


@pytest.mark.parametrize("how", ["delete", "cancel"])
async def test_what_nobody_wants_any_more_is_not_spoken_but_listed(crash: Crash, billed: Bill, how: str) -> None:
    task_id = await crash()
    async with crash.scene() as scene:
        if how == "delete":
            assert (await scene.user.ask("DELETE", f"/api/tasks/{task_id}")).status == 200
        else:
            assert (await scene.post(f"/tasks/{task_id}/cancel")).status == 200
        await scene.recover()
        (orphan,) = await scene.orphans()
        assert orphan.reason == ("preview_deleted" if how == "delete" else "preview_ended")
        assert orphan.provider_voice_id == scene.emulator.creates()[-1]["voice"]
    assert billed() == ONE


async def test_a_user_who_is_gone_leaves_an_orphan(crash: Crash, billed: Bill) -> None:
    await crash()
    async with crash.scene() as scene:
        await scene.sql("delete from auth.users where id = :'id'", id=str(scene.user.id))
        await scene.recover()
        (orphan,) = await scene.orphans()
        assert orphan.provider_voice_id == scene.emulator.creates()[-1]["voice"]
    assert billed() == ONE


async def test_a_claim_without_a_task_is_let_go(scene: Scene, billed: Bill) -> None:
    """Its maker died before there was a task to fail."""
    await scene.sql(
        "insert into utter.voice_creates (id, user_id, kind, region, target_model, claimed_until) "
        "values (gen_random_uuid(), :'user', 'vd', 'intl', 'm', now())",
        user=str(scene.user.id),
    )
    await scene.recover()
    assert await scene.orphans() == []
    assert billed()["designs"] == 0


@pytest.mark.parametrize("at", [LIST, "*"], ids=["the list", "speaking"])
async def test_a_vendor_that_is_away_is_asked_again_later(crash: Crash, billed: Bill, at: str) -> None:
    task_id = await crash()
    async with crash.scene() as scene:
        scene.order("throttled_upgrade", at=at)
        await scene.recover()
        assert (await scene.ended(task_id)).status == "processing"
        scene.emulator.clear_faults()
        await scene.recover()
        assert (await scene.ended(task_id)).status == "completed"
    assert billed() == SPOKEN


@pytest.mark.parametrize(
    ("at", "fault", "reason", "attempts"),
    [
        (LIST, "throttled_upgrade", "ambiguous", MAX_ATTEMPTS),
        (LIST, "wrong_key", "ambiguous", 1),
        ("*", "throttled_upgrade", "preview_ended", MAX_ATTEMPTS),
        ("*", "zero_audio", "preview_ended", 1),
    ],
)
async def test_but_not_for_ever_and_not_in_vain(
    crash: Crash, billed: Bill, at: str, fault: str, reason: str, attempts: int
) -> None:
    task_id = await crash()
    async with crash.scene() as scene:
        await scene.sql(_ATTEMPTS, attempts=str(attempts - 1))
        scene.order(fault, at=at)
        await scene.recover()
        task = await scene.ended(task_id)
        assert (task.status, task.error) == ("failed", LOST)
        (orphan,) = await scene.orphans()
        assert (orphan.id, orphan.reason) == (task_id, reason)
        assert (orphan.provider_voice_id is None) == (reason == "ambiguous")
    assert billed()["designs"] == 1


class TestInTheOtherMode:
    async def test_the_work_is_finished_by_the_provider_on_its_row(self, crash: Crash, billed: Bill) -> None:
        task_id = await crash()
        async with crash.scene(TTS_PROVIDER_MODE="modal") as scene:
            await scene.recover()
            assert (await scene.ended(task_id)).status == "completed"
        assert billed() == SPOKEN

    @pytest.mark.parametrize("change", [{"DASHSCOPE_API_KEY": ""}, {"DASHSCOPE_REGION": "cn"}])
    async def test_without_its_credentials_it_fails_with_that_reason(
        self, crash: Crash, billed: Bill, change: dict[str, str]
    ) -> None:
        task_id = await crash()
        async with crash.scene(TTS_PROVIDER_MODE="modal", **change) as scene:
            await scene.recover()
            task = await scene.ended(task_id)
            assert (task.status, task.error) == ("failed", NO_CREDENTIALS)
            assert [(orphan.id, orphan.reason) for orphan in await scene.orphans()] == [(task_id, "ambiguous")]
        assert billed() == ONE


async def test_two_sweepers_share_the_work(crash: Crash, billed: Bill) -> None:
    task_id = await crash()
    async with crash.scene() as scene, crash.scene() as other:
        await scene.expire_claims()
        async with anyio.create_task_group() as tasks:
            for one in (scene, other):
                tasks.start_soon(one.gateway.services.studio.recover_stale)
        assert (await scene.ended(task_id)).status == "completed"
    assert billed() == SPOKEN, "spoken once"


async def test_the_sweeper_does_it_by_itself(crash: Crash) -> None:
    task_id = await crash()
    async with crash.scene(UTTER_SWEEP_SECONDS="0.1") as scene:
        await scene.expire_claims()
        with anyio.fail_after(WAIT_SECONDS):
            while (await scene.ended(task_id)).status != "completed":
                await scene.look()
