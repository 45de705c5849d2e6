"""The gateway against the emulator's Modal: both flavours, each of its faults, and a provider that is killed between
two calls. What only a scripted server can do is in the modules beside this one."""

from __future__ import annotations

import io
import wave
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import anyio
import pytest

from gateway.modal import patience, words
from protocol import modal as messages
from protocol.errors import Fault
from storage.objects import REFERENCES
from tests.gateway.modal.conftest import HURRIED
from tests.gateway.modal.scene import Scene, Started
from tests.support.emulator import FAST, Emulator, start_emulator
from tests.support.exchange import WAIT_SECONDS
from tests.support.gateway import Caller, open_gateway
from tests.support.modal_server import ModalServer
from tests.support.postgres import TestDatabase

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

OPTIONS = (*FAST, "--modal-seconds", "0.1")
FLAVOURS = ["modal", "modal-lenient"]


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with start_emulator(tmp_path_factory.mktemp("emulator"), OPTIONS) as running:
        yield running


@pytest.fixture(params=FLAVOURS)
def flavour(request: pytest.FixtureRequest) -> str:
    """Where its endpoints are."""
    return str(request.param)


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "DESIGN_FIRST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(patience, "ASKED_SECONDS", 0.0)


@dataclass(frozen=True)
class Rehearsal(Scene):
    """A scene whose Modal is an emulator."""

    emulator: Emulator

    def go_wrong(self, endpoint: str, *faults: str, times: int | None = None) -> None:
        """From now on, at one endpoint, or at all of them ("")."""
        self.emulator.order_faults(f"modal:{endpoint}" if endpoint else "modal", *faults, times=times)

    async def ended(self, started: Started) -> dict[str, Any]:
        """Poll as v1's page does, only faster, until the task is terminal."""
        with anyio.fail_after(WAIT_SECONDS):
            while (task := await self.poll(started.task_id))["status"] in {"pending", "processing"}:
                await self.look()
        return task


@asynccontextmanager
async def open_rehearsal(
    database: TestDatabase, folder: Path, emulator: Emulator, flavour: str
) -> AsyncIterator[Rehearsal]:
    base = f"{emulator.rest_url}/{flavour}"
    addresses = ModalServer(base=base).environment()
    async with open_gateway(database, folder, TTS_PROVIDER_MODE="modal", **addresses, **HURRIED) as gateway:
        yield Rehearsal(gateway, await gateway.user(), ModalServer(base=base), emulator)


@pytest.fixture
async def play(
    anyio_backend: Any, database: TestDatabase, tmp_path: Path, emulator: Emulator, flavour: str
) -> AsyncIterator[Rehearsal]:
    """One user, one flavour; faults end with the test."""
    try:
        async with open_rehearsal(database, tmp_path, emulator, flavour) as rehearsal:
            yield rehearsal
    finally:
        emulator.clear_faults()


def seconds_of(audio: bytes) -> float:
    with wave.open(io.BytesIO(audio)) as file:
        return float(file.getnframes() / file.getframerate())


async def test_text_becomes_stored_audio(play: Rehearsal, flavour: str) -> None:
    started = await play.started("Good morning, this is what I sound like.")
    task = await play.ended(started)
    assert (task["status"], task["modal_status"]) == ("completed", "completed")
    audio = await play.stored(started)
    assert audio is not None
    assert len(audio) == task["result"]["audio_bytes"]
    # The lenient server's audio is a header without a sample, which v1 takes (v1 contract 1.4).
    assert seconds_of(audio) == 0 if flavour == "modal-lenient" else seconds_of(audio) > 1


async def test_a_preview_becomes_stored_audio(play: Rehearsal) -> None:
    task_id = await play.design()
    await play.poll(task_id)
    await play.idle()
    assert (await play.poll(task_id))["status"] == "completed"
    assert await play.object(REFERENCES, f"{play.user.id}/preview_{task_id}.wav")


async def test_a_preview_that_outlives_its_request(play: Rehearsal) -> None:
    play.go_wrong("design", "modal_design_303")
    task_id = await play.design()
    await play.poll(task_id)
    await play.idle()
    assert (await play.poll(task_id))["status"] == "completed"


async def test_cancelling_reaches_the_job(play: Rehearsal) -> None:
    play.go_wrong("status", "modal_pending_for_ever")
    started = await play.started()
    await play.poll(started.task_id)
    assert (await play.user.ask("POST", f"/api/tasks/{started.task_id}/cancel")).status == 200
    assert await play.states(started) == ("cancelled", "cancelled")
    assert (await play.generate()).status == 200


SUBMIT_FAULTS = {
    "modal_hang": Fault.ANSWER_TIMEOUT,
    "modal_cut": Fault.CONNECTION_LOST,
    "modal_500": Fault.OVERLOADED,
    "modal_throttled": Fault.RATE_LIMITED,
    "modal_stopped": Fault.NOT_CONFIGURED,
    "modal_malformed": Fault.PROTOCOL_BROKEN,
    "modal_empty": Fault.PROTOCOL_BROKEN,
    "modal_submit_refused": Fault.BAD_INPUT,
}


@pytest.mark.parametrize("fault", SUBMIT_FAULTS)
async def test_faults_of_a_submit_are_502(play: Rehearsal, fault: str) -> None:
    play.go_wrong("submit", fault, times=1)
    answer = await play.generate()
    assert (answer.status, answer.json()["detail"]) == (502, SUBMIT_FAULTS[fault].facts.detail)
    assert (await play.generate()).status == 200, "the fault was one, so the submit was sent once"


PASSING = ["modal_hang", "modal_cut", "modal_500", "modal_throttled", "modal_stopped", "modal_malformed", "modal_empty"]


@pytest.mark.parametrize("fault", PASSING)
@pytest.mark.parametrize("endpoint", ["status", "result"])
async def test_faults_while_it_runs_pass_with_their_cause(play: Rehearsal, endpoint: str, fault: str) -> None:
    started = await play.started()
    play.go_wrong(endpoint, fault)
    expected = {"status": "status_error", "result": "finalizing"}[endpoint]
    with anyio.fail_after(WAIT_SECONDS):
        while (task := await play.poll(started.task_id))["modal_status"] != expected:
            assert task["status"] == "processing"
            await play.look()
    assert task["status"] == "processing"
    assert task["error"]
    play.emulator.clear_faults()
    assert (await play.ended(started))["status"] == "completed"


@pytest.mark.parametrize(
    ("endpoint", "fault", "message"),
    [
        ("status", "modal_pending_for_ever", words.JOB_TOO_LONG),
        ("result", "modal_pending_for_ever", words.JOB_TOO_LONG),
        ("", "modal_hang", words.JOB_TOO_LONG),
        ("", "modal_500", words.JOB_TOO_LONG),
        ("", "modal_malformed", words.JOB_TOO_LONG),
        ("status", "modal_failed", words.JOB_FAILED),
    ],
)
async def test_what_never_ends_ends(play: Rehearsal, endpoint: str, fault: str, message: str) -> None:
    started = await play.started()
    play.go_wrong(endpoint, fault)
    await play.age(started.task_id, 7200)
    task = await play.ended(started)
    assert (task["status"], task["error"]) == ("failed", message)
    assert await play.states(started) == ("failed", "failed")


async def test_an_unknown_job_fails_in_the_way_of_its_flavour(play: Rehearsal, flavour: str) -> None:
    started = await play.started()
    play.go_wrong("", "modal_unknown_job")
    task = await play.poll(started.task_id)
    if flavour == "modal":
        assert (task["status"], task["error"]) == ("failed", words.JOB_FAILED)
    else:
        assert (task["status"], task["modal_status"]) == ("processing", "status_error")
        await play.age(started.task_id, patience.UNKNOWN_JOB_SECONDS)
        assert (await play.poll(started.task_id))["error"] == words.JOB_UNKNOWN


async def test_a_job_that_modal_cancelled(play: Rehearsal, flavour: str) -> None:
    started = await play.started()
    play.go_wrong("status", "modal_cancelled")
    task = await play.ended(started)
    # The deployed app says "failed" of a cancelled job (v1 contract 4.2).
    assert task["status"] == ("failed" if flavour == "modal" else "cancelled")


async def test_a_language_that_is_not_spoken_fails_late(play: Rehearsal, flavour: str) -> None:
    voice = await play.voice()
    body = b'{"voice_id": "%s", "text": "Hi.", "language": "Hindi"}' % str(voice.id).encode()
    answer = await play.user.ask("POST", "/api/generate", body=body)
    assert answer.status == 200
    accepted = answer.json()
    task = await play.ended(Started(UUID(accepted["task_id"]), UUID(accepted["generation_id"])))
    assert task["status"] == ("failed" if flavour == "modal" else "completed")


@pytest.mark.parametrize("after", ["submit", "status"])
async def test_a_provider_that_is_killed_between_two_calls_is_asked_again(
    database: TestDatabase, tmp_path: Path, flavour: str, after: str
) -> None:
    """Its jobs outlive it, as Modal's do; meanwhile a poll answers, and says that it cannot know."""
    state = tmp_path / "emulator"
    state.mkdir()
    with ExitStack() as processes:
        first = processes.enter_context(start_emulator(state, OPTIONS))
        port = str(urlsplit(first.rest_url).port)
        async with open_rehearsal(database, tmp_path, first, flavour) as play:
            started = await play.started("Good morning.")
            if after == "status":
                assert (await play.poll(started.task_id))["status"] in {"processing", "completed"}
            first.process.kill()
            first.process.wait()
            while_away = await play.poll(started.task_id)
            assert while_away["status"] in {"processing", "completed"}
            processes.enter_context(start_emulator(state, (*OPTIONS, "--rest-port", port)))
            assert (await play.ended(started))["status"] == "completed"
            assert await play.stored(started) is not None


async def test_a_gateway_that_is_restarted_goes_on_with_the_job(
    database: TestDatabase, tmp_path: Path, emulator: Emulator, flavour: str
) -> None:
    async with open_rehearsal(database, tmp_path, emulator, flavour) as before:
        started = await before.started()
    async with open_rehearsal(database, tmp_path, emulator, flavour) as after:
        again = Rehearsal(after.gateway, Caller(after.gateway, before.user.id), after.modal, emulator)
        assert (await again.ended(started))["status"] == "completed"
    assert emulator.billing()["modal_jobs"] >= 1
