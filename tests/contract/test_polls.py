"""Section 2.3: in Modal mode the poll drives everything. Each line of it, with the provider made to say so."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from tests.contract.beside import Beside, beside, modal_endpoints
from tests.contract.faults import MODAL
from tests.contract.shapes import TASK
from tests.contract.spa import Spa, assert_shape
from tests.contract.things import Voice
from tests.contract.world import READ_SECONDS, User, World

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120), pytest.mark.parametrize("mode", ["modal"])]

VENDOR_WORDS = ("emulat", "traceback", "modal.com", "http://", "job_id", "{")
"""None of which a user may ever read (product section 4)."""


@pytest.fixture
def spa(world: World, owner: User) -> Spa:
    return Spa(world, owner)


@pytest.fixture
def voice(world: World, owner: User) -> str:
    return Voice().make(world, owner, {})


@pytest.fixture(scope="module")
def lenient(worlds: Callable[[str], World]) -> Iterator[Beside]:
    """A gateway that speaks to Modal's lenient flavour."""
    world = worlds("modal")
    with beside(world, **modal_endpoints(world, "modal-lenient")) as server:
        yield server


def assert_for_people(text: str) -> None:
    assert not [word for word in VENDOR_WORDS if word in text.lower()], text


class TestGenerate:
    def test_the_job_runs_then_it_is_finalized_and_no_longer_counted(self, world: World, spa: Spa, voice: str) -> None:
        with world.faults("modal_pending_for_ever", voice=MODAL):
            accepted = spa.generate(voice)
            looks = [spa.poll(accepted["task_id"]) for _ in range(3)]
        assert [look["modal_poll_count"] for look in looks] == [1, 2, 3]
        assert {look["status"] for look in looks} == {"processing"}
        assert {look["modal_status"] for look in looks} <= {"running", "processing", "queued", "finalizing"}
        for look in looks:
            assert_shape(
                look, {**TASK, "provider_status": look["modal_status"], "provider_poll_count": look["modal_poll_count"]}
            )
        ended = spa.watch(accepted["task_id"])[-1]
        assert (ended["status"], ended["error"]) == ("completed", None)
        count = ended["modal_poll_count"]
        again = spa.poll(accepted["task_id"])
        assert (again["modal_status"], again["modal_poll_count"]) == (None, count)
        row = world.sql.row(
            "select modal_job_id, provider_job_id from public.tasks where id::text = $1", accepted["task_id"]
        )
        assert row["modal_job_id"] == row["provider_job_id"]

    @pytest.mark.parametrize(
        "fault", ["modal_500", "modal_malformed", "modal_empty", "modal_cut", "modal_throttled", "modal_stopped"]
    )
    def test_a_status_that_cannot_be_had_is_said_and_not_kept(
        self, world: World, spa: Spa, voice: str, fault: str
    ) -> None:
        with world.faults(fault, voice="modal:status"):
            accepted = spa.generate(voice)
            look = spa.poll(accepted["task_id"])
        assert (look["status"], look["modal_status"]) == ("processing", "status_error")
        assert_for_people(look["error"])
        assert world.sql.value("select error from public.tasks where id::text = $1", accepted["task_id"]) is None
        ended = spa.watch(accepted["task_id"])[-1]
        assert (ended["status"], ended["error"]) == ("completed", None)

    def test_a_result_that_is_not_there_yet_is_finalizing(self, world: World, spa: Spa, voice: str) -> None:
        """202: said, not kept, and fetched by a later poll."""
        with world.faults("modal_pending_for_ever", voice="modal:result"):
            accepted = spa.generate(voice)
            look = spa.poll(accepted["task_id"])
            while look["modal_status"] not in {"finalizing", "completed"}:
                look = spa.poll(accepted["task_id"])
            look = spa.poll(accepted["task_id"])
        assert (look["status"], look["modal_status"]) == ("processing", "finalizing")
        assert_for_people(look["error"])
        ended = spa.watch(accepted["task_id"])[-1]
        assert (ended["status"], ended["error"]) == ("completed", None)

    @pytest.mark.parametrize("fault", ["modal_failed", "modal_unknown_job"])
    def test_a_failed_job_fails_task_and_generation(self, world: World, spa: Spa, voice: str, fault: str) -> None:
        """A job that expired, or never was, reads `failed` at Modal (4.2)."""
        with world.faults(fault, voice="modal:status"):
            ended = spa.watch(spa.generate(voice)["task_id"])[-1]
        assert ended["status"] == "failed"
        assert_for_people(ended["error"])
        [generation] = spa.listed("generations", "?status=failed")
        assert generation["error_message"] == ended["error"]
        assert spa.generate(voice)["status"] == "processing", "the guard is released"

    def test_a_job_nobody_polls_is_finished_all_the_same(self, world: World, spa: Spa, voice: str) -> None:
        """Deliberate difference: in v1 nothing finished unless a client polled (2.3, product section 4)."""
        accepted = spa.generate(voice)
        deadline = time.monotonic() + READ_SECONDS
        status = None
        while time.monotonic() < deadline and status != "completed":
            status = world.sql.value("select status from public.tasks where id::text = $1", accepted["task_id"])
            time.sleep(0.05)
        assert status == "completed"
        assert spa.play(f"/api/generations/{accepted['generation_id']}/audio")[:4] == b"RIFF"

    @pytest.mark.parametrize(
        "fault",
        [
            *("modal_500", "modal_malformed", "modal_empty", "modal_cut", "modal_throttled"),
            *("modal_stopped", "modal_submit_refused"),
        ],
    )
    def test_a_submit_that_fails_is_502_and_leaves_nothing_open(
        self, world: World, spa: Spa, voice: str, fault: str
    ) -> None:
        body = {"voice_id": voice, "text": "Good morning."}
        with world.faults(fault, voice="modal:submit"):
            refused = spa.ask("POST", "/generate", json=body)
        assert refused.status_code == 502
        assert_for_people(refused.json()["detail"])
        for table in ("tasks", "generations"):
            row = world.sql.row(f"select status, completed_at from public.{table} where user_id = $1", spa.user.id)  # noqa: S608
            assert row["status"] == "failed", table
            assert row["completed_at"] is not None, table
        assert spa.generate(voice)["status"] == "processing"


class TestLenientFlavour:
    """The other shape of the same five endpoints (4.4): elapsed times, 404 for an unknown job."""

    @pytest.fixture
    def spa(self, world: World, owner: User, lenient: Beside) -> Spa:
        return Spa(world, owner, lenient.http)

    def test_a_generation(self, spa: Spa, voice: str) -> None:
        looks = spa.watch(spa.generate(voice)["task_id"])
        assert looks[-1]["status"] == "completed"
        assert {type(look["modal_elapsed_seconds"]) for look in looks} <= {int, float}
        assert spa.play(looks[-1]["result"]["audio_url"])[:4] == b"RIFF"

    def test_a_preview(self, spa: Spa) -> None:
        ended = spa.watch(spa.start_preview())[-1]
        assert spa.fetch_twice(ended["result"]["audio_url"])[:4] == b"RIFF"

    def test_an_unknown_job_is_404_and_no_verdict(self, world: World, spa: Spa, voice: str) -> None:
        with world.faults("modal_unknown_job", voice="modal:status"):
            accepted = spa.generate(voice)
            look = spa.poll(accepted["task_id"])
        assert (look["status"], look["modal_status"]) == ("processing", "status_error")
        assert spa.watch(accepted["task_id"])[-1]["status"] == "completed"


class TestDesign:
    def test_nothing_is_asked_for_before_the_first_poll(self, world: World, spa: Spa) -> None:
        task = spa.start_preview()
        row = world.sql.row("select status, modal_poll_count, metadata from public.tasks where id::text = $1", task)
        assert (row["status"], row["modal_poll_count"]) == ("pending", 0)
        assert row["metadata"] == {"text": "Good evening.", "instruct": "A calm narrator.", "language": "English"}
        first = spa.poll(task)
        assert (first["status"], first["modal_status"], first["modal_poll_count"]) == ("processing", "processing", 1)
        assert spa.watch(task)[-1]["status"] == "completed"

    def test_metadata_without_a_text_fails(self, world: World, spa: Spa) -> None:
        task = spa.start_preview()
        world.sql.run("update public.tasks set metadata = '{}' where id::text = $1", task)
        assert spa.poll(task)["status"] == "failed"

    @pytest.mark.parametrize("fault", ["modal_500", "modal_malformed", "modal_submit_refused", "modal_stopped"])
    def test_a_design_that_fails_says_so_in_words(self, world: World, spa: Spa, fault: str) -> None:
        with world.faults(fault, voice="modal:design"):
            ended = spa.watch(spa.start_preview())[-1]
        assert ended["status"] == "failed"
        assert_for_people(ended["error"])

    def test_a_design_that_takes_its_time_is_followed_elsewhere(self, world: World, spa: Spa) -> None:
        """303 and then 202 (4.3)."""
        with world.faults("modal_design_303", voice="modal:design"):
            ended = spa.watch(spa.start_preview())[-1]
        assert ended["status"] == "completed", ended

    def test_many_first_polls_are_one_design(self, world: World, spa: Spa) -> None:
        task = spa.start_preview()
        world.sql.run("update public.tasks set status = 'processing' where id::text = $1", task)
        assert spa.poll(task)["status"] == "processing", "claimed by another process: not begun again here"
