"""Tasks: poll, cancel, delete (v1 contract 1.8 and 2, appendix A)."""

from __future__ import annotations

from uuid import UUID

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from gateway.cancellation import end_work
from gateway.errors import ApiError
from gateway.responses import JsonResponse
from gateway.routes.access import belongs_to, caller, path_id, services_of, unknown
from gateway.routes.links import object_url, stream_url
from schema.http import Done, Task, TaskCancelled
from schema.records import TaskRow
from storage import tasks
from storage.objects import REFERENCES

ACTIVE = ("pending", "processing")
"""The states that can still change (v1 contract 2.1)."""


async def get(request: Request) -> Response:
    """One transaction: v1 clients ask every second."""
    user = caller(request)
    row = await _read(request, user.id, path_id(request, "task_id", "task"))
    return JsonResponse(_task(request, row))


async def cancel(request: Request) -> Response:
    """Reaches the provider's socket at once; answers when the rows say so."""
    user = caller(request)
    task_id = path_id(request, "task_id", "task")
    row = await _read(request, user.id, task_id)
    if row.status in ACTIVE:
        await end_work(services_of(request), row.generation_id, task_id)
        row = await _read(request, user.id, task_id)
    elif row.status == "cancelled":
        raise _too_late("was already cancelled")
    if row.status != "cancelled":
        raise _too_late("has already ended")
    return JsonResponse(TaskCancelled(task_id))


async def delete(request: Request) -> Response:
    """Removes the task in any state; a running one is cancelled first (product section 4)."""
    user = caller(request)
    task_id = path_id(request, "task_id", "task")
    services = services_of(request)
    row = await _read(request, user.id, task_id)
    if row.status in ACTIVE:
        await end_work(services, row.generation_id, task_id)
    async with services.database.as_user(user.id) as transaction:
        if await tasks.delete_task(transaction, user.id, task_id) is None:
            raise unknown("task")
    return JsonResponse(Done())


async def _read(request: Request, owner: UUID, task_id: UUID) -> TaskRow:
    async with services_of(request).database.as_user(owner) as transaction:
        row = await tasks.get_task(transaction, owner, task_id)
    if row is None:
        raise unknown("task")
    return row


def _task(request: Request, row: TaskRow) -> Task:
    task = Task.of(row, provider_status=_provider_status(request, row), stream_url=_stream_url(request, row))
    return msgspec.structs.replace(task, result=_with_preview_link(request, row, task.result))


def _provider_status(request: Request, row: TaskRow) -> str | None:
    """The running generation knows better than the row, which is written a moment later."""
    running = services_of(request).supervisor.get(row.generation_id) if row.generation_id else None
    return running.provider_status if running and row.status in ACTIVE else row.provider_status


def _stream_url(request: Request, row: TaskRow) -> str | msgspec.UnsetType:
    """Where the audio can be heard: while a Qwen generation runs, and once any generation is stored."""
    live = row.provider == "qwen" and row.status in ACTIVE
    if row.generation_id is None or row.type == "design_preview" or not (live or row.status == "completed"):
        return msgspec.UNSET
    return stream_url(request, row.generation_id)


def _with_preview_link(
    request: Request, row: TaskRow, result: dict[str, object] | msgspec.UnsetType
) -> dict[str, object] | msgspec.UnsetType:
    """A design preview's audio is fetched without a token, by a link signed anew on each read (v1 contract 2.2)."""
    if isinstance(result, msgspec.UnsetType) or row.type != "design_preview":
        return result
    key = result.get("object_key")
    if not isinstance(key, str) or not belongs_to(row.user_id, key):
        return result
    return {**result, "audio_url": object_url(request, REFERENCES, key)}


def _too_late(what: str) -> ApiError:
    return ApiError(400, f"This task {what}.")
