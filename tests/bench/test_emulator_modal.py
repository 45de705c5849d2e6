"""The emulator's Modal: both flavours, real speech, what survives a restart, and everything that can go wrong."""

from __future__ import annotations

import base64
import io
import time
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.support.emulator import Emulator, start_emulator, wav_recording

pytestmark = pytest.mark.integration

TEXT = "Good morning, and welcome back to the story."
RECORDING = wav_recording()
UNKNOWN = "fc-00"
AT_ONCE = ("--modal-seconds", "0")
LATER = ("--modal-seconds", "3600")

DONE_SECONDS = 10.0
"""Longest wait for a job that takes half a second."""


@dataclass(frozen=True)
class Modal:
    """A client of one flavour, as the gateway is one: five addresses, no key."""

    emulator: Emulator
    base: str
    http: httpx.Client

    def submit(self, text: str = TEXT, recording: bytes = RECORDING, **fields: Any) -> httpx.Response:
        asked = {
            "text": text,
            "language": "English",
            "ref_audio_base64": base64.b64encode(recording).decode(),
            "ref_text": "What the recording says.",
            "max_new_tokens": 4096,
        }
        return self.http.post(f"{self.base}/submit", json=asked | fields)

    def job(self, text: str = TEXT, recording: bytes = RECORDING, **fields: Any) -> str:
        return str(self.submit(text, recording, **fields).raise_for_status().json()["job_id"])

    def status(self, job_id: str) -> httpx.Response:
        return self.http.get(f"{self.base}/status", params={"job_id": job_id})

    def result(self, job_id: str) -> httpx.Response:
        return self.http.get(f"{self.base}/result", params={"job_id": job_id})

    def cancel(self, job_id: str) -> httpx.Response:
        return self.http.post(f"{self.base}/cancel", json={"job_id": job_id})

    def design(self, **fields: Any) -> httpx.Response:
        asked = {"text": TEXT, "language": "English", "instruct": "A calm narrator."}
        return self.http.post(f"{self.base}/design", json=asked | fields)

    def call(self, endpoint: str, job_id: str) -> httpx.Response:
        """Any of the five."""
        match endpoint:
            case "submit":
                return self.submit()
            case "design":
                return self.design()
        return {"status": self.status, "result": self.result, "cancel": self.cancel}[endpoint](job_id)

    def audio(self, job_id: str) -> bytes:
        """A job's result, when it is done."""
        deadline = time.monotonic() + DONE_SECONDS
        while (answer := self.result(job_id)).status_code == httpx.codes.ACCEPTED:
            assert time.monotonic() < deadline
        return answer.raise_for_status().content


@contextmanager
def calling(emulator: Emulator, flavour: str) -> Iterator[Modal]:
    with httpx.Client(timeout=30, trust_env=False) as http:
        yield Modal(emulator, f"{emulator.rest_url}/{flavour}", http)


@pytest.fixture
def modal(emulator: Emulator) -> Iterator[Modal]:
    """The deployed app."""
    with calling(emulator, "modal") as client:
        yield client
    emulator.clear_faults()


@pytest.fixture
def lenient(emulator: Emulator) -> Iterator[Modal]:
    with calling(emulator, "modal-lenient") as client:
        yield client
    emulator.clear_faults()


def samples(wav: bytes) -> np.ndarray[Any, np.dtype[np.int16]]:
    """What a WAV file sounds like. Fails unless it is 16 bit, mono, 24 kHz."""
    with wave.open(io.BytesIO(wav)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24000, 1, 2)
        return np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")


class TestDeployedApp:
    def test_a_job_is_spoken(self, modal: Modal) -> None:
        answer = modal.submit()
        assert answer.status_code == 200
        job_id = answer.json()["job_id"]
        assert job_id.startswith("fc-")
        assert answer.json() == {"job_id": job_id, "status": "submitted", "text_length": len(TEXT)}
        spoken = modal.result(job_id)
        assert spoken.status_code == 200, "a result call waits for a job that is soon done"
        assert spoken.headers["content-type"] == "audio/wav"
        assert "attachment" in spoken.headers["content-disposition"]
        sound = samples(spoken.content)
        assert 2 < len(sound) / 24000 < 6
        assert np.abs(sound.astype(int)).max() > 3000
        assert modal.status(job_id).json() == {"job_id": job_id, "status": "completed", "result_ready": True}

    def test_a_job_runs_for_its_time(self, tmp_path: Path) -> None:
        with start_emulator(tmp_path, LATER) as slow, calling(slow, "modal") as modal:
            job_id = modal.job()
            assert modal.status(job_id).json() == {"job_id": job_id, "status": "running", "result_ready": False}
            early = modal.result(job_id)
            assert early.status_code == 202
            assert set(early.json()) == {"detail"}
            assert modal.cancel(job_id).json() == {"job_id": job_id, "status": "cancelled"}
            assert modal.status(job_id).json()["status"] == "failed", "cancelled jobs read failed"
            assert modal.result(job_id).status_code == 500
            (row,) = slow.modal_jobs()
            assert (row["state"], row["polls"], row["results"]) == ("cancelled", 2, 2)

    def test_the_recording_decides_the_voice(self, modal: Modal) -> None:
        first, again = modal.job(), modal.job()
        other = modal.job(recording=wav_recording(amplitude=0.2))
        assert modal.audio(first) == modal.audio(again)
        assert modal.audio(first) != modal.audio(other)

    @pytest.mark.parametrize("missing", ["text", "ref_audio_base64", "ref_text"])
    def test_what_is_missing_is_refused(self, modal: Modal, missing: str) -> None:
        billed = modal.emulator.billing()["modal_jobs"]
        empty: dict[str, Any] = {missing: ""}
        answer = modal.submit(**empty)
        assert (answer.status_code, set(answer.json())) == (400, {"detail"})
        assert modal.emulator.billing()["modal_jobs"] == billed

    @pytest.mark.parametrize("body", [b"[]", b"nonsense", b""])
    def test_a_body_that_is_no_object_is_refused(self, modal: Modal, body: bytes) -> None:
        assert modal.http.post(f"{modal.base}/submit", content=body).status_code == 422

    @pytest.mark.parametrize("fields", [{"language": "Arabic"}, {"ref_audio_base64": "data:audio/wav;base64,AAAA"}])
    def test_what_the_worker_cannot_use_fails_late(self, tmp_path: Path, fields: dict[str, Any]) -> None:
        with start_emulator(tmp_path, AT_ONCE) as fast, calling(fast, "modal") as modal:
            job_id = modal.job(**fields)
            status = modal.status(job_id).json()
            assert (status["status"], status["result_ready"]) == ("failed", False)
            assert status["error"].startswith("Job failed")
            assert modal.result(job_id).status_code == 500

    def test_an_unknown_job_reads_failed(self, modal: Modal) -> None:
        status = modal.status(UNKNOWN)
        assert (status.status_code, status.json()["status"]) == (200, "failed")
        assert modal.result(UNKNOWN).status_code == 500
        assert modal.cancel(UNKNOWN).status_code == 500

    @pytest.mark.parametrize("endpoint", ["status", "result"])
    def test_a_call_without_an_id_is_refused(self, modal: Modal, endpoint: str) -> None:
        assert modal.http.get(f"{modal.base}/{endpoint}").status_code == 422
        assert modal.call(endpoint, "").status_code == 400
        assert modal.cancel("").status_code == 400

    def test_a_design_is_heard_at_once(self, modal: Modal) -> None:
        answer = modal.design()
        assert answer.headers["content-type"] == "audio/wav"
        assert len(samples(answer.content)) > 24000
        assert modal.design(instruct="A hoarse pirate.").content != answer.content

    @pytest.mark.parametrize(
        "fields", [{"text": ""}, {"instruct": ""}, {"text": "x" * 501}, {"instruct": "x" * 501}, {"language": "Hindi"}]
    )
    def test_a_bad_design_is_refused(self, modal: Modal, fields: dict[str, str]) -> None:
        assert modal.design(**fields).status_code == 400


class TestLenientServer:
    def test_a_job_is_done_at_its_second_poll(self, lenient: Modal) -> None:
        job_id = lenient.job()
        assert job_id.startswith("mock-job-")
        early = lenient.result(job_id)
        assert (early.status_code, early.headers["content-type"][:10]) == (202, "text/plain")
        first, second = lenient.status(job_id).json(), lenient.status(job_id).json()
        assert first == {"job_id": job_id, "status": "processing", "result_ready": False, "elapsed_seconds": 1}
        assert second == {"job_id": job_id, "status": "completed", "result_ready": True, "elapsed_seconds": 2}
        assert len(lenient.result(job_id).content) == 44

    def test_ids_count_up(self, lenient: Modal) -> None:
        first, second = (int(lenient.job().rpartition("-")[2]) for _ in range(2))
        assert second == first + 1

    def test_cancelling_always_works(self, lenient: Modal) -> None:
        job_id = lenient.job()
        assert lenient.cancel(job_id).json() == lenient.cancel(UNKNOWN).json() == {"cancelled": True}
        assert lenient.status(job_id).json()["status"] == "cancelled"

    def test_an_unknown_job_is_404(self, lenient: Modal, modal: Modal) -> None:
        for job_id in (UNKNOWN, modal.job()):
            answer = lenient.status(job_id)
            assert (answer.status_code, set(answer.json())) == (404, {"error"})

    def test_a_design_is_there_at_once(self, lenient: Modal) -> None:
        assert len(lenient.design().content) == 44


def test_kill_9_keeps_jobs_and_bill(tmp_path: Path) -> None:
    with start_emulator(tmp_path, LATER) as first, calling(first, "modal") as modal:
        with calling(first, "modal-lenient") as lenient:
            counted = lenient.job()
            assert lenient.status(counted).json()["elapsed_seconds"] == 1
        running, cancelled = modal.job(), modal.job()
        modal.cancel(cancelled)
        modal.design()
        before, bill = first.modal_jobs(), first.billing()
        first.process.kill()
        first.process.wait()
    assert (bill["modal_jobs"], bill["modal_designs"]) == (3, 1)
    with start_emulator(tmp_path, LATER) as second, calling(second, "modal") as modal:
        assert (second.modal_jobs(), second.billing()) == (before, bill)
        assert modal.status(running).json()["status"] == "running"
        assert modal.status(cancelled).json()["status"] == "failed"
        with calling(second, "modal-lenient") as lenient:
            assert lenient.status(counted).json()["elapsed_seconds"] == 2


class TestFaults:
    """Each ordered through the control endpoint for one call, and gone after it."""

    @pytest.mark.parametrize("endpoint", ["submit", "status", "result", "cancel", "design"])
    @pytest.mark.parametrize(
        ("fault", "status", "body"),
        [
            ("modal_500", 500, b'{"detail":'),
            ("modal_throttled", 429, b'{"detail":'),
            ("modal_stopped", 404, b"modal-http"),
            ("modal_malformed", 200, b'{"job_id": "fc-'),
            ("modal_empty", 200, b""),
        ],
    )
    def test_answers_of_any_endpoint(self, modal: Modal, endpoint: str, fault: str, status: int, body: bytes) -> None:
        job_id, bill = modal.job(), modal.emulator.billing()
        modal.emulator.order_faults(f"modal:{endpoint}", fault, times=1)
        answer = modal.call(endpoint, job_id)
        assert answer.status_code == status
        assert answer.content.startswith(body)
        assert len(answer.content) < 100
        assert modal.emulator.billing() == bill, "nothing was done"
        assert modal.call(endpoint, job_id).status_code == 200

    @pytest.mark.parametrize("endpoint", ["submit", "status", "result", "cancel", "design"])
    def test_silence_and_a_cut(self, modal: Modal, endpoint: str) -> None:
        job_id = modal.job()
        modal.emulator.order_faults(f"modal:{endpoint}", "modal_hang", times=1)
        with httpx.Client(timeout=0.3, trust_env=False) as impatient, pytest.raises(httpx.ReadTimeout):
            Modal(modal.emulator, modal.base, impatient).call(endpoint, job_id)
        modal.emulator.order_faults(f"modal:{endpoint}", "modal_cut", times=1)
        with pytest.raises(httpx.RemoteProtocolError):
            modal.call(endpoint, job_id)

    @pytest.mark.parametrize(("endpoint", "counted"), [("submit", "modal_jobs"), ("design", "modal_designs")])
    def test_a_cut_answer_was_done_and_is_billed(self, modal: Modal, endpoint: str, counted: str) -> None:
        before = modal.emulator.billing()[counted]
        modal.emulator.order_faults("modal", "modal_cut", times=1)
        with pytest.raises(httpx.RemoteProtocolError):
            modal.call(endpoint, UNKNOWN)
        assert modal.emulator.billing()[counted] == before + 1

    @pytest.mark.parametrize("endpoint", ["submit", "design"])
    def test_a_refusal(self, modal: Modal, endpoint: str) -> None:
        modal.emulator.order_faults("modal", "modal_submit_refused", times=1)
        assert modal.call(endpoint, UNKNOWN).status_code == 400

    def test_a_job_that_is_never_done(self, modal: Modal) -> None:
        job_id = modal.job()
        modal.audio(job_id)
        modal.emulator.order_faults("modal", "modal_pending_for_ever")
        assert modal.status(job_id).json()["status"] == "running"
        assert modal.result(job_id).status_code == 202

    def test_a_result_that_is_never_ready(self, modal: Modal) -> None:
        job_id = modal.job()
        modal.audio(job_id)
        modal.emulator.order_faults("modal:result", "modal_pending_for_ever")
        assert modal.status(job_id).json()["result_ready"] is True
        assert modal.result(job_id).status_code == 202

    @pytest.mark.parametrize("fault", ["modal_unknown_job", "modal_failed", "modal_cancelled"])
    def test_a_job_that_comes_to_nothing(self, modal: Modal, fault: str) -> None:
        job_id = modal.job()
        modal.emulator.order_faults("modal", fault)
        status = modal.status(job_id).json()
        assert (status["status"], status["result_ready"]) == ("failed", False)
        assert modal.result(job_id).status_code == 500
        modal.emulator.clear_faults()
        modal.audio(job_id)

    def test_a_job_fails_for_good_when_it_was_ordered_at_submit(self, tmp_path: Path) -> None:
        with start_emulator(tmp_path, AT_ONCE) as fast, calling(fast, "modal") as modal:
            fast.order_faults("modal:submit", "modal_failed", times=1)
            job_id = modal.job()
            assert modal.status(job_id).json()["status"] == "failed"
            assert modal.result(job_id).status_code == 500
            assert modal.status(modal.job()).json()["status"] == "completed"

    def test_the_lenient_server_has_words_of_its_own(self, lenient: Modal) -> None:
        job_id = lenient.job()
        words = {"modal_unknown_job": None, "modal_failed": "failed", "modal_cancelled": "cancelled"}
        for fault, word in words.items():
            lenient.emulator.order_faults("modal", fault, times=1)
            assert lenient.status(job_id).json().get("status") == word

    @pytest.mark.parametrize("flavour", ["modal", "modal-lenient"])
    def test_a_design_that_outlives_its_request(self, tmp_path: Path, flavour: str) -> None:
        with start_emulator(tmp_path, AT_ONCE) as fast, calling(fast, flavour) as modal:
            whole = modal.design().content
            fast.order_faults("modal:design", "modal_design_303", times=1)
            elsewhere = modal.design()
            assert elsewhere.status_code == 303
            assert elsewhere.headers["location"].startswith(f"{modal.base}/design?")
            assert modal.http.get(elsewhere.headers["location"]).content == whole
            assert modal.http.get(f"{modal.base}/design").status_code == 404

    def test_a_design_that_is_not_done_yet(self, tmp_path: Path) -> None:
        with start_emulator(tmp_path, LATER) as slow, calling(slow, "modal") as modal:
            slow.order_faults("modal:design", "modal_design_303", times=1)
            location = modal.design().headers["location"]
            again = modal.http.get(location)
            assert (again.status_code, again.headers["location"]) == (303, location)
            slow.order_faults("modal:design", "modal_pending_for_ever", times=1)
            assert modal.http.get(location).status_code == 202
            slow.order_faults("modal:design", "modal_failed", times=2)
            assert modal.http.get(location).status_code == modal.design().status_code == 500

    @pytest.mark.parametrize(
        ("key", "fault"),
        [("modal:sbmit", "modal_500"), ("customization", "modal_500"), ("modal", "rest_500"), ("*", "modal_hang")],
    )
    def test_an_order_that_would_never_strike_is_refused(self, modal: Modal, key: str, fault: str) -> None:
        with pytest.raises(httpx.HTTPStatusError):
            modal.emulator.order_faults(key, fault)

    def test_faults_by_header(self, modal: Modal) -> None:
        for fault, status in (("modal_500", 500), ("bogus", 400)):
            headers = {"X-Emulator-Fault": fault}
            answer = modal.http.get(f"{modal.base}/status", params={"job_id": UNKNOWN}, headers=headers)
            assert answer.status_code == status


def test_a_body_past_the_limit_is_refused(modal: Modal) -> None:
    assert modal.submit(recording=bytes(13 * 1024 * 1024)).status_code == 413
