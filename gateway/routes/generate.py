"""Both generate routes: one pipeline with or without a live listener, or a job at Modal (product sections 3 and 7)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import cast
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from gateway.admission import admit, estimated_minutes
from gateway.auth import User
from gateway.delivery import CLIENT_GONE, ClientGone, while_connected
from gateway.errors import ApiError, as_api_error
from gateway.frames import forget_frames
from gateway.idempotency import HEADER as KEY_HEADER
from gateway.idempotency import Earlier, find_earlier, read_key
from gateway.metrics import STARTS
from gateway.modal import ModalOrder
from gateway.responses import JsonResponse
from gateway.routes.access import caller, services_of
from gateway.routes.links import stream_url
from gateway.routes.listen import Answer, Listener, play
from gateway.running import GenerationOrder, RunningGeneration, TaskType
from gateway.services import Services
from gateway.settings import ProviderMode, Settings
from gateway.streaming import AudioLogResponse
from gateway.tracing import Trace
from protocol.errors import ProviderFailure
from schema.body import BodyError, read_generate_request
from schema.http import GenerateAccepted, GenerateRequest
from schema.javascript import utf16_length
from schema.records import RequestKey
from storage.errors import RequestKeyTaken, StorageError

_Order = GenerationOrder | ModalOrder

_NOT_THE_CLIENTS_FAULT = frozenset({429, *range(500, 600)})
"""Statuses with which a request to speak that was good was turned away; 429 is the provider's limit, not the user's."""


async def generate(request: Request) -> Response:
    """v1: the generation runs, the client polls its task."""
    user = caller(request)
    services = services_of(request)
    trace = _trace(request)
    with _answered(trace, "generate"):
        wanted = await _wanted(request, "generate")
        earlier = await find_earlier(services.database, user.id, wanted.key)
        if earlier is None:
            try:
                order = await _begin_task(services, user, trace, wanted)
            except RequestKeyTaken as taken:
                earlier = await _begun_meanwhile(services, user, wanted, taken)
    if earlier is not None:
        return _accepted_before(request, earlier)
    minutes = cast("float", order.metadata["estimated_duration_minutes"])
    return _accepted(order.task_id, order.generation_id, minutes, _headers(request, order, trace))


async def generate_stream(request: Request) -> Answer:
    """v2: the audio itself, from its first byte. Nothing is sent before that byte exists."""
    user = caller(request)
    services = services_of(request)
    _require_streams(services.settings)
    trace = _trace(request)
    with _answered(trace, "generate_stream"):
        wanted = await _wanted(request, "generate/stream")
        earlier = await find_earlier(services.database, user.id, wanted.key)
        if earlier is None:
            try:
                running = await _start(services, user, trace, wanted, "generate_stream")
            except RequestKeyTaken as taken:
                earlier = await _begun_meanwhile(services, user, wanted, taken)
        if earlier is not None:
            return await _played_again(request, user, earlier)
        return await _from_its_beginning(request, running, trace)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is asked for, and the key that makes a repetition the same request."""

    request: GenerateRequest
    key: RequestKey | None


async def _begun_meanwhile(services: Services, user: User, wanted: _Wanted, taken: RequestKeyTaken) -> Earlier:
    """What the same request began at this moment. Raises `taken` when there is no such thing."""
    earlier = await find_earlier(services.database, user.id, wanted.key)
    if earlier is None:
        raise taken
    forget_frames(taken)
    return earlier


async def _begin_task(services: Services, user: User, trace: Trace, wanted: _Wanted) -> _Order:
    if services.settings.provider_mode is ProviderMode.MODAL:
        return await services.jobs.generate(user.id, wanted.request, trace, wanted.key)
    return (await _start(services, user, trace, wanted, "generate")).order


async def _start(
    services: Services, user: User, trace: Trace, wanted: _Wanted, task_type: TaskType
) -> RunningGeneration:
    """The generation runs and its rows exist."""
    with trace.step("admission"):
        order = await admit(services.database, services.settings, user.id, wanted.request, task_type, wanted.key)
    running = services.supervisor.start(order, trace)
    await running.accepted()
    return running


async def _from_its_beginning(request: Request, running: RunningGeneration, trace: Trace) -> Answer:
    running.joined()
    try:
        failure = await while_connected(request.receive, partial(_failure_before_audio, running))
        if failure is not None:
            raise failure
    except ClientGone:
        running.left()
        return Response(status_code=CLIENT_GONE)
    except ProviderFailure:
        running.left()
        raise
    return AudioLogResponse(
        running.log,
        offset=0,
        headers=_headers(request, running.order, trace),
        stall_seconds=services_of(request).settings.write_stall_seconds,
        on_end=running.left,
    )


async def _failure_before_audio(running: RunningGeneration) -> ProviderFailure | None:
    try:
        await running.first_audio()
    except ProviderFailure as failure:
        return failure
    return None


def _accepted(task_id: UUID, generation_id: UUID, minutes: float, headers: dict[str, str]) -> Response:
    return JsonResponse(
        GenerateAccepted(
            task_id=task_id,
            status="processing",
            is_long_running=True,
            estimated_duration_minutes=minutes,
            generation_id=generation_id,
        ),
        headers=headers,
    )


def _accepted_before(request: Request, earlier: Earlier) -> Response:
    row = earlier.generation
    minutes = estimated_minutes(utf16_length(row.text))
    return _accepted(earlier.task_id, row.id, minutes, _ids(request, row.tts_provider, row.id, earlier.task_id))


async def _played_again(request: Request, user: User, earlier: Earlier) -> Answer:
    """From the first byte: joined while it runs, from the store afterwards."""
    row = earlier.generation
    listener = Listener(
        owner=user.id,
        generation_id=row.id,
        stall_seconds=services_of(request).settings.write_stall_seconds,
        offset=0,
        headers=_ids(request, row.tts_provider, row.id, earlier.task_id),
    )
    return await play(request, listener)


async def _wanted(request: Request, route: str) -> _Wanted:
    body = await request.body()
    key = read_key(request.headers.get(KEY_HEADER), route, body)
    try:
        return _Wanted(read_generate_request(body), key)
    except BodyError as error:
        raise ApiError(400, str(error)) from error


def _trace(request: Request) -> Trace:
    """It begins here, so that every later time counts from the request."""
    return Trace(trace_id=request.state.trace_id, request_id=request.state.request_id)


@contextmanager
def _answered(trace: Trace, flow: TaskType) -> Iterator[None]:
    """What the body raises becomes an answer that says how long the steps took so far, as a success does."""
    try:
        yield
        STARTS.labels(flow, "begun").inc()
    except (ApiError, ProviderFailure, StorageError) as error:
        answer = as_api_error(error)
        if answer.status in _NOT_THE_CLIENTS_FAULT:
            STARTS.labels(flow, "failed").inc()
        timing = trace.server_timing()
        if timing:
            answer.headers["Server-Timing"] = timing
        raise answer from error


def _require_streams(settings: Settings) -> None:
    flow = "Please use POST /api/generate and poll its task instead."
    if settings.provider_mode is not ProviderMode.QWEN:
        raise ApiError(409, f"Live streaming is not available with the active speech provider. {flow}")
    if not settings.enable_generate_stream:
        raise ApiError(409, f"Live streaming is switched off on this server. {flow}")


def _headers(request: Request, order: _Order, trace: Trace) -> dict[str, str]:
    provider = services_of(request).settings.provider_mode.value
    return {
        **_ids(request, provider, order.generation_id, order.task_id),
        "Server-Timing": trace.server_timing(),
    }


def _ids(request: Request, provider: str, generation_id: UUID, task_id: UUID) -> dict[str, str]:
    return {
        "X-Utter-Provider": provider,
        "X-Utter-Generation-Id": str(generation_id),
        "X-Utter-Task-Id": str(task_id),
        "X-Utter-Stream-Url": stream_url(request, generation_id),
    }
