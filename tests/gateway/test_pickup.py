"""What becomes of the work of a process that died: spoken again, failed with honest words, or left to others."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from gateway import pickup as pickup_module
from gateway.admission import readmit
from gateway.leases import Holding
from gateway.modal.words import DESIGN_INTERRUPTED
from gateway.pickup import GAVE_UP
from gateway.pipeline import INTERRUPTED
from gateway.running import EndReason, GenerationOrder
from tests.gateway.modal.scene import Scene
from tests.support.desk import open_desk
from tests.support.gateway import Caller
from tests.support.migrations import connected
from tests.support.modal_server import modal_server
from tests.support.postgres import TestDatabase
from tests.support.processes import Process, TimeTravel, left_running, open_process
from tests.support.workshop import cut_off

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


@pytest.fixture
async def here(anyio_backend: Any, database: TestDatabase, tmp_path: Path) -> AsyncIterator[Process]:
    async with open_process(database, tmp_path, UTTER_TASK_ATTEMPTS="3") as process:
        yield process


@pytest.fixture
async def ada(here: Process) -> Caller:
    return await here.gateway.user()


class TestSpokenAgain:
    async def test_a_v1_task_completes_with_what_its_next_attempt_says(self, here: Process, ada: Caller) -> None:
        new = await left_running(here, ada)
        await here.look()
        assert not here.supervisor.active
        with capture_logs() as lines:
            await here.look(after=here.lease_seconds)
        assert [(line["attempt"], line["handed_over"]) for line in lines if line["event"] == "pickup.taken"] == [
            (2, False)
        ]
        await here.finish(b"second attempt")
        assert await here.states(new) == ("completed", "completed")
        row = await here.generation(new)
        assert row.audio_object_key == f"{ada.id}/{new.generation_id}-2.mp3"
        assert await here.stored(row.audio_object_key) == b"second attempt"
        assert row.audio_sha256 == hashlib.sha256(b"second attempt").hexdigest()
        assert here.keeper._held == {}

    async def test_not_for_ever(self, here: Process, ada: Caller) -> None:
        new = await left_running(here, ada, epoch=3)
        await here.outwait()
        assert not here.supervisor.active
        assert await here.states(new) == ("failed", "failed")
        assert (await here.task(new)).error == GAVE_UP
        assert (await ada.generate((await ada.add_voice()).id)).status == 200, "the guard is free"

    async def test_a_voice_that_was_deleted_meanwhile_still_speaks(self, here: Process, ada: Caller) -> None:
        new = await left_running(here, ada)
        assert (await ada.ask("DELETE", f"/api/voices/{new.voice_id}")).status == 200
        await here.outwait()
        await here.finish(b"audio")
        assert await here.states(new) == ("completed", "completed")

    async def test_a_voice_that_is_gone_is_named(self, here: Process, ada: Caller) -> None:
        new = await left_running(here, ada)
        await here.sql("delete from public.voices")
        await here.outwait()
        assert await here.states(new) == ("failed", "failed")
        assert "voice" in str((await here.task(new)).error)

    async def test_a_user_who_is_gone_needs_no_audio(self, here: Process, ada: Caller) -> None:
        await left_running(here, ada)
        await here.look()
        await here.sql("delete from auth.users")
        await here.look(after=here.lease_seconds)
        assert not here.supervisor.active


class TestEndedHonestly:
    async def test_a_stream_fails_and_its_users_other_work_goes_on(self, here: Process, ada: Caller) -> None:
        stream = await left_running(here, ada, "generate_stream")
        assert (await ada.generate((await ada.add_voice()).id)).status == 200
        await here.stage.began()
        await here.outwait()
        assert await here.states(stream) == ("failed", "failed")
        assert (await here.task(stream)).error == INTERRUPTED
        assert (await here.generation(stream)).fault == "connection_lost"
        assert (await ada.generate((await ada.add_voice()).id)).status == 409, "one generate is active"
        await here.finish(b"audio")

    async def test_a_submission_without_job_fails_and_frees_the_guard(self, here: Process, ada: Caller) -> None:
        lost = await left_running(here, ada, provider="modal")
        await here.outwait()
        assert await here.states(lost) == ("failed", "failed")
        assert (await here.task(lost)).error == INTERRUPTED
        assert (await ada.generate((await ada.add_voice()).id)).status == 200

    async def test_a_job_at_modal_is_left_to_the_sweeper(self, here: Process, ada: Caller) -> None:
        new = await left_running(here, ada, provider="modal")
        await here.sql("update public.tasks set modal_job_id = 'fc-1'")
        await here.outwait()
        assert await here.states(new) == ("processing", "pending")

    async def test_a_preview_that_was_being_made_fails_and_others_wait_for_their_own(
        self, here: Process, ada: Caller
    ) -> None:
        with modal_server() as modal:
            scene = Scene(here.gateway, ada, modal)
            previews = {
                (provider, status): await scene.design(provider, status)
                for provider in ("modal", "qwen")
                for status in ("pending", "processing")
            }
            await here.outwait()
            tasks = {kind: await scene.task(task_id) for kind, task_id in previews.items()}
        errors = {kind: task.error for kind, task in tasks.items() if task is not None}
        assert errors.pop(("modal", "processing")) == DESIGN_INTERRUPTED
        assert set(errors.values()) == {None}

    async def test_rows_of_v1_code_get_one_lease_from_their_last_change(self, here: Process, ada: Caller) -> None:
        new = await left_running(here, ada, provider="modal", epoch=0)
        await here.outwait_almost()
        await here.sql("update public.tasks set modal_poll_count = 1")
        await here.look(after=1)
        await here.outwait_almost()
        assert await here.states(new) == ("processing", "pending")
        await here.look(after=1)
        assert await here.states(new) == ("failed", "failed")


class TestNotTaken:
    async def test_what_is_renewed(self, here: Process, ada: Caller, database: TestDatabase, tmp_path: Path) -> None:
        async with open_process(database, tmp_path) as other:
            new = await left_running(here, ada, instance=other.keeper.instance.id)
            other.keeper.hold(Holding(new.task_id))
            for _ in range(4):
                await here.look(after=here.lease_seconds / 2)
                await other.keeper.renew()
        assert await here.states(new) == ("processing", "pending")

    async def test_anything_while_draining(self, here: Process) -> None:
        tasks = [await left_running(here, await here.gateway.user(), kind) for kind in ("generate", "generate_stream")]
        here.supervisor.start_draining()
        await here.outwait()
        for new in tasks:
            assert await here.states(new) == ("processing", "pending")

    async def test_a_v1_task_without_room_but_what_only_fails(
        self, here: Process, ada: Caller, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """However many of those there are before it."""
        monkeypatch.setattr(pickup_module, "TAKEN_PER_LOOK", 1)
        here.supervisor._places.total_tokens = 0
        tasks = [await left_running(here, await here.gateway.user()) for _ in range(3)]
        await here.look()
        stream = await left_running(here, ada, "generate_stream")
        await here.outwait()
        assert [await here.states(new) for new in tasks] == [("processing", "pending")] * 3
        assert await here.states(stream) == ("failed", "failed")

    async def test_what_was_silent_while_the_database_was_away(
        self, here: Process, ada: Caller, database: TestDatabase
    ) -> None:
        new = await left_running(here, ada)
        await here.look()
        with capture_logs() as lines:
            async with cut_off(database):
                await here.look(after=here.lease_seconds / 2)
        assert [line["event"] for line in lines] == ["pickup.not_looking"]
        await here.look(after=here.lease_seconds / 2)
        assert await here.states(new) == ("processing", "pending")
        await here.look(after=here.lease_seconds)
        assert here.supervisor.active, "everybody had a lease's time to renew"
        await here.finish(b"audio")

    async def test_what_was_silent_while_the_database_hung(
        self, here: Process, ada: Caller, database: TestDatabase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whoever works on it could not renew either."""
        new = await left_running(here, ada)
        await here.look()
        monkeypatch.setattr(here.keeper, "instance", replace(here.keeper.instance, lease_seconds=0.3))
        async with connected(database) as sql:
            await sql.execute("begin; lock table utter.leases")
            with capture_logs() as lines:
                await here.look(after=here.lease_seconds)
            await sql.execute("rollback")
        assert [line["error"] for line in lines if line["event"] == "pickup.not_looking"] == ["TimeoutError"]
        await here.look(after=1)
        assert await here.states(new) == ("processing", "pending")

    async def test_time_in_which_the_database_did_not_answer_is_no_silence(
        self, here: Process, ada: Caller, database: TestDatabase
    ) -> None:
        await left_running(here, ada)
        watch = TimeTravel(here.lease_seconds)
        object.__setattr__(here.pick_up, "watch", watch)
        async with open_desk(database) as desk, connected(database) as other, anyio.create_task_group() as group:
            await other.execute("begin; lock table utter.leases")
            group.start_soon(here.look)
            await desk.somebody_waits()
            answered = anyio.current_time()
            await other.execute("rollback")
        assert watch.told < answered


class TestComingBack:
    async def test_what_it_has_no_room_for_any_more_is_handed_on(
        self, here: Process, ada: Caller, database: TestDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def drained_meanwhile(*given: Any) -> GenerationOrder:
            here.supervisor.start_draining()
            return await readmit(*given)

        new = await left_running(here, ada)
        with monkeypatch.context() as patched:
            patched.setattr(pickup_module, "readmit", drained_meanwhile)
            await here.outwait()
        assert not here.supervisor.active
        async with open_process(database, tmp_path) as other:
            await other.look()
            await other.finish(b"audio")
            assert await other.states(new) == ("completed", "completed")

    async def test_what_this_process_gave_up_itself_is_found_by_it(self, here: Process, ada: Caller) -> None:
        """Perhaps it is the only one. Here its rows could not be written when it ended."""
        new = await left_running(here, ada, "generate_stream", instance=here.keeper.instance.id)
        await here.outwait()
        assert await here.states(new) == ("processing", "pending")
        await here.sql("update utter.leases set until = now()")
        await here.keeper.renew()
        await here.look()
        assert await here.states(new) == ("failed", "failed")

    async def test_a_task_may_come_round_to_where_its_first_attempt_still_speaks(
        self, here: Process, ada: Caller, database: TestDatabase, tmp_path: Path
    ) -> None:
        answer = await ada.generate((await ada.add_voice()).id)
        (first,) = here.supervisor._running.values()
        await here.say(first, b"first attempt")
        async with open_process(database, tmp_path) as other:
            await other.outwait()
            await other.stage.began()
        await here.look()  # handed over
        await here.stage.began(2)
        with anyio.fail_after(10):
            await first.ended.wait()
        assert first.end_reason is EndReason.LOST
        del here.stage._sinks[0]  # nobody listens to that one any more
        await here.finish(b"third attempt")
        row = await ada.ask("GET", f"/api/tasks/{answer.json()['task_id']}")
        assert row.json()["status"] == "completed"
        key = f"{ada.id}/{answer.json()['generation_id']}"
        assert await here.stored(f"{key}-3.mp3") == b"third attempt"
        assert [await here.stored(f"{key}{attempt}.mp3") for attempt in ("", "-2")] == [None, None]
