"""Every voice is paid for once, whatever clients, networks and users do (product section 6). In Qwen mode: Modal bills
no creates.

The emulator counts as the vendor's account would; `billed` is what a test cost.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import httpx
import pytest

from tests.contract.beside import LOOK_SECONDS, beside
from tests.contract.spa import Spa
from tests.contract.things import TRANSCRIPT, Upload, Voice
from tests.contract.world import READ_SECONDS, RECORDING, User, World
from tests.support.emulator import wav_recording

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120), pytest.mark.parametrize("mode", ["qwen"])]

AT_ONCE = 20

LOST = ("lost_answer", "lost_answer_cut")
"""The vendor has made and billed a voice, but its answer is a 500, or breaks off."""

Bill = Callable[[], dict[str, int]]
T = TypeVar("T")


@pytest.fixture
def spa(world: World, owner: User) -> Spa:
    return Spa(world, owner)


@pytest.fixture
def billed(world: World) -> Bill:
    """Clones and designs since the test began."""
    before = world.billing()

    def since() -> dict[str, int]:
        now = world.billing()
        return {kind: now[kind] - before[kind] for kind in ("clones", "designs")}

    return since


def at_once(times: int, work: Callable[[], T]) -> list[T]:
    """What `work` gives when it is done so often at the same time."""
    with ThreadPoolExecutor(times) as threads:
        return [found.result() for found in [threads.submit(work) for _ in range(times)]]


def until(holds: Callable[[], bool]) -> None:
    """Raises AssertionError when it does not come to hold."""
    deadline = time.monotonic() + READ_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(LOOK_SECONDS)


def wanted(voice: str) -> dict[str, str]:
    return {"voice_id": voice, "name": "Ada", "language": "English", "transcript": TRANSCRIPT}


def finalize(spa: Spa, voice: str) -> httpx.Response:
    return spa.ask("POST", "/clone/finalize", json=wanted(voice))


def voices_of(spa: Spa) -> list[str]:
    return [voice["id"] for voice in spa.listed("voices")]


class TestClone:
    def test_many_at_once_are_one(self, world: World, spa: Spa, billed: Bill) -> None:
        voice = Upload().make(world, spa.user, {})
        answers = at_once(AT_ONCE, lambda: finalize(spa, voice))
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses[0] == 200
        assert set(statuses) <= {200, 409}
        assert billed() == {"clones": 1, "designs": 0}
        assert voices_of(spa) == [voice]

    @pytest.mark.parametrize("fault", LOST)
    def test_an_answer_that_was_lost_is_found_again(self, world: World, spa: Spa, billed: Bill, fault: str) -> None:
        """The vendor made and billed the voice, and nobody heard: list and match before creating again."""
        voice = Upload().make(world, spa.user, {})
        with world.faults(fault, voice="customization:create", times=1):
            first = finalize(spa, voice)
        assert first.status_code in {200, 503, 504}, first.text
        if first.status_code != 200:
            assert finalize(spa, voice).status_code == 200
        assert billed() == {"clones": 1, "designs": 0}
        assert voices_of(spa) == [voice]
        accepted = spa.generate(voice)
        assert spa.watch(accepted["task_id"])[-1]["status"] == "completed"

    def test_a_vendor_that_refuses_costs_nothing_and_may_be_asked_again(
        self, world: World, spa: Spa, billed: Bill
    ) -> None:
        voice = Upload().make(world, spa.user, {})
        with world.faults("wrong_key", voice="customization:create", times=1):
            assert finalize(spa, voice).status_code == 502
        assert voices_of(spa) == []
        assert finalize(spa, voice).status_code == 200
        assert billed() == {"clones": 1, "designs": 0}

    @pytest.mark.parametrize("fault", ["rest_500", "rest_cut"])
    def test_a_vendor_that_broke_down_is_asked_again_once_its_list_is_empty(
        self, world: World, spa: Spa, billed: Bill, fault: str
    ) -> None:
        voice = Upload().make(world, spa.user, {})
        with world.faults(fault, voice="customization:create", times=1):
            first = finalize(spa, voice)
        assert first.status_code in {200, 503}, first.text
        assert first.status_code == 200 or finalize(spa, voice).status_code == 200
        assert billed() == {"clones": 1, "designs": 0}
        assert voices_of(spa) == [voice]

    def test_a_recording_that_cannot_be_used_costs_nothing(self, world: World, spa: Spa, billed: Bill) -> None:
        voice = Upload(wav_recording(seconds=1.0)).make(world, spa.user, {})
        for _ in range(2):
            assert finalize(spa, voice).status_code == 400
        assert billed() == {"clones": 0, "designs": 0}

    def test_a_clone_that_came_out_poor_is_warned_about(self, world: World, spa: Spa, billed: Bill) -> None:
        voice = Upload().make(world, spa.user, {})
        with world.faults("fallback_mode", voice="customization:create", times=1):
            answer = finalize(spa, voice)
        assert answer.status_code == 200
        assert answer.json().keys() == {"id", "name", "warning"}
        assert isinstance(answer.json()["warning"], str)
        assert billed() == {"clones": 1, "designs": 0}

    def test_making_it_anew_at_this_provider_is_paid_once(self, world: World, spa: Spa, billed: Bill) -> None:
        old = Voice({"tts_provider": "modal"}).make(world, spa.user, {})
        answers = at_once(5, lambda: spa.ask("POST", f"/voices/{old}/reclone"))
        made = {answer.json()["id"] for answer in answers if answer.status_code == 200}
        assert len(made) == 1
        assert {answer.status_code for answer in answers} <= {200, 409}
        assert billed() == {"clones": 1, "designs": 0}
        assert sorted(voices_of(spa)) == sorted({old, *made})


class TestDesign:
    @pytest.fixture
    def preview(self, spa: Spa) -> tuple[str, bytes]:
        """A completed preview: its task, and its audio."""
        task = spa.start_preview()
        ended = spa.watch(task)[-1]
        assert ended["status"] == "completed", ended
        return task, spa.fetch_twice(ended["result"]["audio_url"])

    @pytest.mark.parametrize("by", ["task_id", "audio"])
    def test_many_saves_at_once_are_one(self, spa: Spa, billed: Bill, preview: tuple[str, bytes], by: str) -> None:
        task, audio = preview
        how = {"task_id": task} if by == "task_id" else {}
        answers = at_once(AT_ONCE, lambda: spa.save_design(audio, **how))
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.json()["id"] for answer in answers}) == 1
        assert voices_of(spa) == [answers[0].json()["id"]]
        assert billed() == {"clones": 0, "designs": 1}, "the preview itself; a save never creates"

    def test_a_save_after_the_task_was_deleted(self, spa: Spa, billed: Bill, preview: tuple[str, bytes]) -> None:
        """v1's page deletes the task 50 ms after it ended, usually before it saves (appendix A)."""
        task, audio = preview
        spa.json("DELETE", f"/tasks/{task}")
        by_task = spa.save_design(audio, task_id=task)
        by_audio = spa.save_design(audio)
        assert (by_task.status_code, by_audio.status_code) == (200, 200)
        assert by_task.json()["id"] == by_audio.json()["id"]
        assert billed() == {"clones": 0, "designs": 1}, "the preview itself"

    def test_deletes_and_saves_at_once_lose_nothing(self, spa: Spa, preview: tuple[str, bytes]) -> None:
        task, audio = preview
        with ThreadPoolExecutor(AT_ONCE) as threads:
            deletes = [threads.submit(spa.ask, "DELETE", f"/tasks/{task}") for _ in range(AT_ONCE // 2)]
            saves = [threads.submit(spa.save_design, audio) for _ in range(AT_ONCE // 2)]
        assert min(delete.result().status_code for delete in deletes) == 200
        assert {save.result().status_code for save in saves} == {200}
        assert len(voices_of(spa)) == 1

    def test_each_preview_is_created_once_however_often_it_is_polled(self, spa: Spa, billed: Bill) -> None:
        task = spa.start_preview()
        at_once(AT_ONCE, lambda: spa.poll(task))
        assert spa.watch(task)[-1]["status"] == "completed"
        at_once(AT_ONCE, lambda: spa.poll(task))
        assert billed() == {"clones": 0, "designs": 1}

    def test_every_preview_is_one_of_its_own(self, spa: Spa, billed: Bill) -> None:
        tasks = at_once(5, spa.start_preview)
        assert len(set(tasks)) == 5
        assert {spa.watch(task)[-1]["status"] for task in tasks} == {"completed"}
        assert billed() == {"clones": 0, "designs": 5}

    @pytest.mark.parametrize("fault", LOST)
    def test_an_answer_that_was_lost_is_found_again(self, world: World, spa: Spa, billed: Bill, fault: str) -> None:
        """The voice exists, its preview audio is gone with the answer: it is spoken anew, not paid for anew."""
        with world.faults(fault, voice="customization:create", times=1):
            ended = spa.watch(spa.start_preview())[-1]
        assert billed() == {"clones": 0, "designs": 1}
        assert ended["status"] == "completed", ended
        saved = spa.save_design(spa.fetch_twice(ended["result"]["audio_url"]))
        assert saved.status_code == 200
        assert spa.watch(spa.generate(saved.json()["id"])["task_id"])[-1]["status"] == "completed"

    def test_a_preview_deleted_at_once_is_paid_once_and_no_voice_is_lost(
        self, world: World, spa: Spa, billed: Bill
    ) -> None:
        """Whoever deletes a preview has no voice in their list, and the operator has it in theirs."""
        task = spa.start_preview()
        spa.json("DELETE", f"/tasks/{task}")
        assert spa.watch(spa.start_preview())[-1]["status"] == "completed"
        assert voices_of(spa) == []
        assert billed()["designs"] in {1, 2}  # the deletion may have come before the create was sent
        known = "select count(provider_voice_id) from utter.voice_creates where user_id = $1 and kind = 'vd'"
        until(lambda: bool(world.sql.value(known, spa.user.id) == billed()["designs"]))

    def test_a_preview_is_nobody_elses_to_save(self, world: World, spa: Spa, preview: tuple[str, bytes]) -> None:
        task, audio = preview
        thief = Spa(world, world.user())
        assert thief.save_design(audio).status_code == 400
        assert thief.save_design(audio, task_id=task).status_code == 404
        assert thief.save_design(RECORDING, task_id=task).status_code == 404
        assert voices_of(thief) == []
        assert spa.save_design(audio).status_code == 200


class TestCrash:
    """The process dies after the vendor made the voice and before any row says so."""

    @pytest.fixture
    def lapsed(self, world: World, owner: User) -> Callable[[], None]:
        """The dead process's claim is past its time, as it would be some minutes later."""

        def lapse() -> None:
            world.sql.run(
                "update utter.voice_creates set claimed_until = now() - interval '1 second' where user_id = $1",
                owner.id,
            )

        return lapse

    def test_in_a_clone(self, world: World, spa: Spa, billed: Bill, lapsed: Callable[[], None]) -> None:
        voice = Upload().make(world, spa.user, {})
        with (
            world.faults("lost_answer_hang", voice="customization:create", times=1),
            beside(world) as server,
            ThreadPoolExecutor(1) as threads,
        ):
            doomed = threads.submit(server.ask, spa.user, "POST", "/api/clone/finalize", json=wanted(voice))
            until(lambda: billed()["clones"] == 1)
            server.process.kill()
            with pytest.raises(httpx.TransportError):
                doomed.result()
        lapsed()
        assert finalize(spa, voice).status_code == 200
        assert billed() == {"clones": 1, "designs": 0}
        assert voices_of(spa) == [voice]

    def test_in_a_design(self, world: World, spa: Spa, billed: Bill, lapsed: Callable[[], None]) -> None:
        with world.faults("lost_answer_hang", voice="customization:create", times=1), beside(world) as server:
            task = Spa(world, spa.user, server.http).start_preview()
            until(lambda: billed()["designs"] == 1)
            server.process.kill()
            server.process.wait()
        lapsed()
        ended = spa.watch(task)[-1]
        assert billed() == {"clones": 0, "designs": 1}
        assert ended["status"] == "completed", ended
        assert spa.save_design(spa.fetch_twice(ended["result"]["audio_url"])).status_code == 200
        assert len(voices_of(spa)) == 1


class TestGenerate:
    def test_clicks_at_once_are_one_generation(self, world: World, spa: Spa) -> None:
        voice = spa.clone()["id"]
        before = world.billing()["characters"]
        body = {"voice_id": voice, "text": "Good morning.", "language": "English"}
        answers = at_once(AT_ONCE, lambda: spa.ask("POST", "/generate", json=body))
        accepted = [answer.json()["task_id"] for answer in answers if answer.status_code == 200]
        assert {answer.status_code for answer in answers} <= {200, 409}
        assert accepted
        for task in accepted:  # one that began after another had ended
            assert spa.watch(task)[-1]["status"] == "completed"
        rows = world.sql.value("select count(*) from public.generations where user_id = $1", spa.user.id)
        assert rows == len(accepted)
        assert world.billing()["characters"] - before == len("Good morning.") * len(accepted)
