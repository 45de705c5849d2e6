"""The two servers that speak Modal's job protocol (v1 contract 4.4), as answers.

`RealFlavour` is the deployed app; `LenientFlavour` counts polls instead of time, says more, and knows 404. Neither
asks for a key: v1 sends none (v1 contract 4.1).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import time
from typing import Any, Protocol

import trio
from starlette.responses import PlainTextResponse, Response

from bench.emulator.answers import json_answer
from bench.emulator.encoder import wav_header
from bench.emulator.modal_jobs import Flavour, Job, JobState
from bench.emulator.segments import segments
from bench.emulator.studio import Delivery, Studio
from protocol.modal import LANGUAGES

SAMPLE_RATE = 24000
"""Hz: "typical" (v1 contract 4.2)."""

RESULT_WAIT_SECONDS = 5.0
"""How long a result call waits for its job before it says 202 (v1 contract 4.2)."""

MAX_DESIGN_CHARS = 500
"""Longest text and longest description of a design (v1 contract 4.2)."""

JsonObject = dict[str, Any]


class Refused(Exception):
    """Raised where a call is refused; `answer` says it."""

    def __init__(self, answer: Response) -> None:
        super().__init__(answer.status_code)
        self.answer = answer


class ModalFlavour(Protocol):
    """The calls of one server. `job` is None where the id is unknown. All may raise `Refused`."""

    flavour: Flavour

    def submitted(self, job: Job) -> Response: ...

    def status(self, job_id: str, job: Job | None, state: JobState | None) -> Response: ...

    async def result(self, job: Job | None, state: JobState | None) -> Response: ...

    def cancelled(self, job_id: str, job: Job | None, /) -> Response: ...

    def check_submit(self, asked: JsonObject, /) -> str:
        """What the job will fail with, "" if nothing. Raises `Refused` for what is seen at once."""
        ...

    def check_design(self, asked: JsonObject, /) -> None: ...

    async def audio(self, job: Job) -> Response: ...


class RealFlavour:
    """Answers as the deployed app (v1 contract 4.2)."""

    flavour = Flavour.REAL

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def check_submit(self, asked: JsonObject) -> str:
        for name in ("text", "ref_audio_base64", "ref_text"):
            if not (isinstance(asked.get(name), str) and asked[name]):
                raise Refused(detail(400, f"{name} is required"))
        try:
            base64.b64decode(asked["ref_audio_base64"], validate=True)
        except (binascii.Error, ValueError):  # ValueError: not even ASCII
            return "Job failed: the reference audio is not base64"
        # Not looked at before the worker starts: the API advertises more languages (v1 contract 4.2).
        return "" if asked.get("language", "Auto") in LANGUAGES else "Job failed: unsupported language"

    def submitted(self, job: Job) -> Response:
        return json_answer({"job_id": job.id, "status": "submitted", "text_length": len(job.text)})

    def status(self, job_id: str, job: Job | None, state: JobState | None) -> Response:
        answer = {"job_id": job_id, "status": "failed", "result_ready": state is JobState.COMPLETED}
        match state:
            case JobState.RUNNING | JobState.COMPLETED:
                return json_answer(answer | {"status": state.value})
            case JobState.FAILED:
                return json_answer(answer | {"error": (job and job.failure) or "Job failed"})
            case _:
                return json_answer(answer | {"error": "Job not found, expired or cancelled"})

    async def result(self, job: Job | None, state: JobState | None) -> Response:
        if job is not None and state is JobState.RUNNING and job.due < float("inf"):
            await trio.sleep(min(max(0.0, job.due - time.time()), RESULT_WAIT_SECONDS))
            state = job.state()
        if job is None or state in {None, JobState.FAILED, JobState.CANCELLED}:
            return detail(500, "The job failed, was cancelled or has expired")
        return detail(202, "Result not ready") if state is JobState.RUNNING else await self.audio(job)

    def cancelled(self, job_id: str, job: Job | None) -> Response:
        if not job_id:
            return detail(400, "job_id is required")
        if job is None:
            return detail(500, "Could not cancel the job")
        return json_answer({"job_id": job_id, "status": "cancelled"})

    def check_design(self, asked: JsonObject) -> None:
        for name in ("text", "instruct"):
            value = asked.get(name)
            if not (isinstance(value, str) and 0 < len(value) <= MAX_DESIGN_CHARS):
                raise Refused(detail(400, f"{name} is required and has at most {MAX_DESIGN_CHARS} characters"))
        if asked.get("language", "Auto") not in LANGUAGES:
            raise Refused(detail(400, "Unsupported language"))

    async def audio(self, job: Job) -> Response:
        """The job's text in its voice: raw WAV, PCM16 mono."""
        delivery = Delivery(voice=job.speaker, language_type=job.language, sample_rate=SAMPLE_RATE)
        language = delivery.language(job.text)
        pcm = b""
        for portion in segments(job.text):
            pcm += await self._studio.worker.speak(delivery.utterance(portion, language))
        return _wav(pcm, job.id)


class LenientFlavour:
    """Answers as the second server of v1 contract 4.4: a job is done at its second poll, its audio is empty."""

    flavour = Flavour.LENIENT

    def check_submit(self, _asked: JsonObject) -> str:
        return ""

    def submitted(self, job: Job) -> Response:
        return json_answer({"job_id": job.id, "status": "submitted"})

    def status(self, job_id: str, job: Job | None, state: JobState | None) -> Response:
        if job is None or state is None:
            return json_answer({"error": "job not found"}, 404)
        word = "processing" if state is JobState.RUNNING else state.value
        answer = {"job_id": job_id, "status": word, "result_ready": state is JobState.COMPLETED}
        failure = {"error": job.failure or "told to fail"} if state is JobState.FAILED else {}
        return json_answer(answer | failure | {"elapsed_seconds": job.polls})

    async def result(self, job: Job | None, state: JobState | None) -> Response:
        if job is None or state is None:
            return json_answer({"error": "job not found"}, 404)
        if state is JobState.RUNNING:
            return PlainTextResponse("not ready", 202)
        return await self.audio(job) if state is JobState.COMPLETED else PlainTextResponse("generation failed", 500)

    def cancelled(self, _job_id: str, _job: Job | None) -> Response:
        return json_answer({"cancelled": True})

    def check_design(self, _asked: JsonObject) -> None:
        """Takes anything."""

    async def audio(self, job: Job) -> Response:
        """A WAV file of 44 bytes, which v1 takes too."""
        return _wav(b"", job.id)


def speaker_of(source: str) -> str:
    """The voice that belongs to a recording (in base64), or to a description."""
    return hashlib.sha256(source.encode()).hexdigest()


def detail(status: int, message: object) -> Response:
    """The app's error shape, FastAPI's."""
    return json_answer({"detail": message}, status)


def _wav(pcm: bytes, name: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}.wav"'}
    return Response(wav_header(SAMPLE_RATE, len(pcm)) + pcm, media_type="audio/wav", headers=headers)
