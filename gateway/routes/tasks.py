"""Tasks: poll, cancel, delete (v1 contract 1.8 and 2, appendix A)."""

from __future__ import annotations

from uuid import UUID

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from gateway.cancellation import end_work
from gateway.errors import ApiError
from gateway.modal import Polled
from gateway.responses import JsonResponse
from gateway.routes.access import belongs_to, caller, path_id, services_of, unknown
from gateway.routes.links import object_url, stream_url
from gateway.running import ACTIVE
from schema.http import Done, Task, TaskCancelled
from schema.records import TaskRow
from storage import jobs, tasks
from storage.objects import REFERENCES


async def get(request: Request) -> Response:
    """The provider on the row decides who moves it on: at Modal a poll does (v1 contract 2.3), at Qwen nothing must."""
    user = caller(request)
    row = await _read(request, user.id, path_id(request, "task_id", "task"))
    if row.provider == "qwen":
        row = await _at_first_processing(request, row)
    task = await _moved_on(request, row)
    if task is None:
        raise unknown("task")
    return JsonResponse(task)


async def look(request: Request, owner: UUID, task_id: UUID) -> Task | None:
    """The task as it stands, None when it is unknown or somebody else's. At Modal the look moves it on.

    Raises what `storage.errors` lists, and `ApiError` 503 for a design that cannot begin now.
    """
    async with services_of(request).database.as_user(owner) as transaction:
        row = await tasks.get_task(transaction, owner, task_id)
    return None if row is None else await _moved_on(request, row)


async def cancel(request: Request) -> Response:
    """Reaches the provider's socket at once; answers when the rows say so."""
    user = caller(request)
    task_id = path_id(request, "task_id", "task")
    row = await _read(request, user.id, task_id)
    if row.status in ACTIVE:
        await end_work(services_of(request), user.id, row.generation_id, task_id)
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
        await end_work(services, user.id, row.generation_id, task_id)
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


async def _moved_on(request: Request, row: TaskRow) -> Task | None:
    if row.provider == "qwen":
        return _task(request, _under_way(row))
    polled = await services_of(request).jobs.poll(row)
    return None if polled is None else _modal_task(request, polled)


async def _at_first_processing(request: Request, row: TaskRow) -> TaskRow:
    """A preview starts at its POST here, in v1 at its first poll, so the first poll never shows its end (v1 contract
    2.3, rule). A cancelled one was ended by the caller, who has been told so."""
    if row.type != "design_preview" or row.provider_poll_count > 0 or row.status == "cancelled":
        return row
    async with services_of(request).database.as_service() as transaction:
        count = await jobs.count_poll(transaction, row.id)
    if count != 1:
        return row
    return msgspec.structs.replace(
        row,
        status="processing",
        provider_status=row.provider_status if row.status in ACTIVE else "finalizing",
        provider_poll_count=count,
        result=None,
        error=None,
    )


def _under_way(row: TaskRow) -> TaskRow:
    """Work at Qwen begins with its order: what the answer to a generate, or the first poll of a preview, called
    `processing` never reads `pending` afterwards, whatever it waits for (`provider_status` says)."""
    return msgspec.structs.replace(row, status="processing") if row.status == "pending" else row


def _modal_task(request: Request, polled: Polled) -> Task:
    """`provider_*` repeats `modal_*` (product section 7)."""
    return msgspec.structs.replace(
        _task(request, polled.row),
        error=polled.error or polled.row.error,
        modal_status=polled.modal_status,
        modal_elapsed_seconds=polled.elapsed_seconds,
        provider_status=polled.modal_status,
        provider_poll_count=polled.row.modal_poll_count,
    )


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
