"""Modal's five endpoints on the REST port, in both flavours (v1 contract 4): `/modal/...` and `/modal-lenient/...`."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from bench.emulator.answers import BodyTooLarge, CutAnswer, no_answer, read_body
from bench.emulator.faults import FAULT_HEADER, Fault, UnknownFault, parse_faults
from bench.emulator.modal_flavours import LenientFlavour, ModalFlavour, RealFlavour, Refused, detail, speaker_of
from bench.emulator.modal_jobs import Job, JobState
from bench.emulator.studio import Studio

MODAL_PATH = "/modal"
LENIENT_PATH = "/modal-lenient"

MODAL = "modal"
"""The key under which faults of all five endpoints are ordered; "modal:result" is that of one."""

ENDPOINTS = ("submit", "status", "result", "cancel", "design")

MAX_BODY_BYTES = 16 * 1024 * 1024
"""A recording of 10 MiB in base64, and the text around it."""

CALL_ID = "__modal_function_call_id"
"""The query of the address that a design which outlives its request is found at (v1 contract 4.3)."""

METHODS = {"submit": ["POST"], "cancel": ["POST"], "design": ["POST", "GET"]}
"""Those that an endpoint answers; GET where nothing else is said. An app that was stopped answers none."""

_NEVER = float("inf")


def modal_routes(studio: Studio) -> list[Route]:
    """Both flavours' routes."""
    return [
        *_routes(MODAL_PATH, ModalServer(studio, RealFlavour(studio))),
        *_routes(LENIENT_PATH, ModalServer(studio, LenientFlavour())),
    ]


def _routes(base: str, server: ModalServer) -> list[Route]:
    return [Route(f"{base}/{name}", server.endpoint(name), methods=["GET", "POST"]) for name in ENDPOINTS]


class ModalServer:
    """One flavour's endpoints, and what can go wrong at each."""

    def __init__(self, studio: Studio, flavour: ModalFlavour) -> None:
        self._studio = studio
        self._flavour = flavour

    def endpoint(self, name: str) -> Callable[[Request], Awaitable[Response]]:
        """The handler of one of ENDPOINTS, faults and all."""
        perform: Callable[[Request, frozenset[Fault]], Awaitable[Response]] = getattr(self, f"_{name}")

        async def handle(request: Request) -> Response:
            try:
                faults = self._faults(request, name)
                answer = await _instead(request, faults) or _not_allowed(request, name)
                answer = answer or await perform(request, faults)
            except (Refused, BodyTooLarge) as refused:
                answer = refused.answer if isinstance(refused, Refused) else detail(413, "Payload too large")
            except UnknownFault as unknown:
                return detail(400, str(unknown))
            return _cut(answer) if Fault.MODAL_CUT in faults else answer

        return handle

    def _faults(self, request: Request, endpoint: str) -> frozenset[Fault]:
        book = self._studio.faults
        asked = parse_faults(request.headers.get(FAULT_HEADER, "").split(","))
        return asked | book.take(MODAL) | book.take(f"{MODAL}:{endpoint}")

    async def _submit(self, request: Request, faults: frozenset[Fault]) -> Response:
        asked = await _object(request)
        failure = self._flavour.check_submit(asked)
        if Fault.MODAL_SUBMIT_REFUSED in faults:
            return detail(400, "text is required")
        job = self._job(asked, "job", asked.get("ref_audio_base64"), faults)
        job.failure = job.failure or failure
        await self._keep(job)
        return self._flavour.submitted(job)

    async def _status(self, request: Request, faults: frozenset[Fault]) -> Response:
        job_id, job = self._asked_for(request, faults)
        if job is not None:
            job.polls += 1
            await self._studio.modal_jobs.save()
        return self._flavour.status(job_id, job, self._state(job, faults))

    async def _result(self, request: Request, faults: frozenset[Fault]) -> Response:
        _, job = self._asked_for(request, faults)
        if job is None:
            return await self._flavour.result(None, None)
        job.results += 1
        await self._studio.modal_jobs.save()
        held = msgspec.structs.replace(job, due=_NEVER) if Fault.MODAL_PENDING_FOR_EVER in faults else job
        return await self._flavour.result(held, self._state(job, faults))

    async def _cancel(self, request: Request, faults: frozenset[Fault]) -> Response:
        job_id = _text((await _object(request)).get("job_id"))
        job = None if Fault.MODAL_UNKNOWN_JOB in faults else self._find(job_id)
        # What is done stays done, and can still be fetched.
        if job is not None and job.state() is JobState.RUNNING:
            job.cancelled = True
            await self._studio.modal_jobs.save()
        return self._flavour.cancelled(job_id, job)

    async def _design(self, request: Request, faults: frozenset[Fault]) -> Response:
        if request.method == "GET":
            return await self._look_at_design(request, faults)
        asked = await _object(request)
        self._flavour.check_design(asked)
        if Fault.MODAL_SUBMIT_REFUSED in faults:
            return detail(400, "instruct is required")
        if Fault.MODAL_FAILED in faults:
            return detail(500, "Voice design failed")
        job = self._job(asked, "design", asked.get("instruct"), faults)
        if faults & {Fault.MODAL_DESIGN_303, Fault.MODAL_PENDING_FOR_EVER}:
            await self._keep(job)
            return _see_other(request, job.id)
        await self._studio.account.charge_modal("design")
        return await self._flavour.audio(job)

    async def _look_at_design(self, request: Request, faults: frozenset[Fault]) -> Response:
        job = self._find(request.query_params.get(CALL_ID, ""))
        if job is None or job.kind != "design" or Fault.MODAL_UNKNOWN_JOB in faults:
            return detail(404, "No such call")
        if Fault.MODAL_PENDING_FOR_EVER in faults:
            return detail(202, "Not ready")
        if Fault.MODAL_FAILED in faults:
            return detail(500, "Voice design failed")
        return await self._flavour.audio(job) if time.time() >= job.due else _see_other(request, job.id)

    def _job(self, asked: dict[str, Any], kind: str, source: object, faults: frozenset[Fault]) -> Job:
        return Job(
            id=self._studio.modal_jobs.new_id(self._flavour.flavour),
            flavour=self._flavour.flavour,
            kind=kind,
            text=_text(asked.get("text")),
            language=_text(asked.get("language")) or "Auto",
            speaker=speaker_of(_text(source)),
            due=time.time() + self._studio.options.modal_seconds,
            failure="Job failed: out of memory" if Fault.MODAL_FAILED in faults else "",
        )

    async def _keep(self, job: Job) -> None:
        await self._studio.modal_jobs.add(job)
        await self._studio.account.charge_modal(job.kind)

    def _find(self, job_id: str) -> Job | None:
        return self._studio.modal_jobs.find(self._flavour.flavour, job_id)

    def _asked_for(self, request: Request, faults: frozenset[Fault]) -> tuple[str, Job | None]:
        job_id = request.query_params.get("job_id")
        if job_id is None:
            raise Refused(detail(422, [{"type": "missing", "loc": ["query", "job_id"], "msg": "Field required"}]))
        if not job_id:
            raise Refused(detail(400, "job_id is required"))
        job = None if Fault.MODAL_UNKNOWN_JOB in faults else self._find(job_id)
        return job_id, job if job is not None and job.kind == "job" else None

    def _state(self, job: Job | None, faults: frozenset[Fault]) -> JobState | None:
        if job is None:
            return None
        forced = {
            Fault.MODAL_PENDING_FOR_EVER: JobState.RUNNING,
            Fault.MODAL_FAILED: JobState.FAILED,
            Fault.MODAL_CANCELLED: JobState.CANCELLED,
        }
        return next((state for fault, state in forced.items() if fault in faults), job.state())


async def _instead(request: Request, faults: frozenset[Fault]) -> Response | None:
    """What a fault answers before anything is done; None where it does not."""
    for fault in faults:
        match fault:
            case Fault.MODAL_HANG:
                return await no_answer(request)
            case Fault.MODAL_500:
                return detail(500, "Internal server error")
            case Fault.MODAL_THROTTLED:
                return detail(429, "Too many requests")
            case Fault.MODAL_STOPPED:
                return PlainTextResponse("modal-http: app for invoked web endpoint is stopped", 404)
            case Fault.MODAL_MALFORMED:
                return Response('{"job_id": "fc-', media_type="application/json")
            case Fault.MODAL_EMPTY:
                return Response(b"", media_type="application/octet-stream")
    return None


def _not_allowed(request: Request, endpoint: str) -> Response | None:
    allowed = METHODS.get(endpoint, ["GET"])
    return None if request.method in {*allowed, "HEAD"} else detail(405, "Method Not Allowed")


def _cut(answer: Response) -> Response:
    return CutAnswer(answer.body, answer.status_code, media_type=answer.media_type)


def _see_other(request: Request, call_id: str) -> Response:
    return RedirectResponse(request.url.include_query_params(**{CALL_ID: call_id}), 303)


async def _object(request: Request) -> dict[str, Any]:
    """The body. Raises `Refused` unless it is a JSON object, and `BodyTooLarge`."""
    try:
        return msgspec.json.decode(await read_body(request, MAX_BODY_BYTES), type=dict[str, Any])
    except (ValueError, RecursionError):
        raise Refused(
            detail(422, [{"type": "dict_type", "loc": ["body"], "msg": "Input should be a valid dictionary"}])
        ) from None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
