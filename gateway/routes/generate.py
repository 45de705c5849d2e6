"""Both generate routes: one pipeline with or without a live listener, or a job at Modal (product sections 3 and 7)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from starlette.requests import Request
from starlette.responses import Response

from gateway.admission import admit
from gateway.auth import User
from gateway.errors import ApiError, as_api_error
from gateway.modal import ModalOrder
from gateway.responses import JsonResponse
from gateway.routes.access import caller, services_of
from gateway.routes.links import stream_url
from gateway.running import GenerationOrder, RunningGeneration, TaskType
from gateway.settings import ProviderMode, Settings
from gateway.streaming import AudioLogResponse
from gateway.tracing import Trace
from protocol.errors import ProviderFailure
from schema.body import BodyError, read_generate_request
from schema.http import GenerateAccepted, GenerateRequest
from storage.errors import StorageError

_Order = GenerationOrder | ModalOrder


async def generate(request: Request) -> Response:
    """v1: the generation runs, the client polls its task."""
    user = caller(request)
    services = services_of(request)
    trace = _trace(request)
    with _answered(trace):
        if services.settings.provider_mode is ProviderMode.MODAL:
            order: _Order = await services.jobs.generate(user.id, await _wanted(request), trace)
        else:
            order = (await _start(request, user, trace, "generate")).order
    return JsonResponse(
        GenerateAccepted(
            task_id=order.task_id,
            status="processing",
            is_long_running=True,
            estimated_duration_minutes=cast("float", order.metadata["estimated_duration_minutes"]),
            generation_id=order.generation_id,
        ),
        headers=_headers(request, order, trace),
    )


async def generate_stream(request: Request) -> AudioLogResponse:
    """v2: the audio itself, from its first byte. Nothing is sent before that byte exists."""
    user = caller(request)
    settings = services_of(request).settings
    _require_streams(settings)
    trace = _trace(request)
    with _answered(trace):
        running = await _start(request, user, trace, "generate_stream")
        await running.first_audio()
    return AudioLogResponse(
        running.log,
        offset=0,
        headers=_headers(request, running.order, trace),
        stall_seconds=settings.write_stall_seconds,
    )


async def _start(request: Request, user: User, trace: Trace, task_type: TaskType) -> RunningGeneration:
    """The generation runs and its rows exist."""
    services = services_of(request)
    wanted = await _wanted(request)
    with trace.step("admission"):
        order = await admit(services.database, services.settings, user.id, wanted, task_type)
    running = services.supervisor.start(order, trace)
    await running.accepted()
    return running


async def _wanted(request: Request) -> GenerateRequest:
    try:
        return read_generate_request(await request.body())
    except BodyError as error:
        raise ApiError(400, str(error)) from error


def _trace(request: Request) -> Trace:
    """It begins here, so that every later time counts from the request."""
    return Trace(trace_id=request.state.trace_id, request_id=request.state.request_id)


@contextmanager
def _answered(trace: Trace) -> Iterator[None]:
    """What the body raises becomes an answer that says how long the steps took so far, as a success does."""
    try:
        yield
    except (ApiError, ProviderFailure, StorageError) as error:
        answer = as_api_error(error)
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
    return {
        "X-Utter-Provider": services_of(request).settings.provider_mode.value,
        "X-Utter-Generation-Id": str(order.generation_id),
        "X-Utter-Task-Id": str(order.task_id),
        "X-Utter-Stream-Url": stream_url(request, order.generation_id),
        "Server-Timing": trace.server_timing(),
    }
