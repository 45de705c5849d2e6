"""The history: list, stored audio, once more, delete (v1 contract 1.7)."""

from __future__ import annotations

from uuid import UUID

import structlog
from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from gateway.cancellation import end_work
from gateway.errors import ApiError
from gateway.responses import JsonResponse, redirect
from gateway.routes.access import MAX_PER_PAGE, belongs_to, caller, filter_text, paging, path_id, services_of, unknown
from gateway.routes.links import object_url
from gateway.running import ACTIVE
from gateway.services import Services
from schema.http import Done, Generation, GenerationList, Regeneration, pagination
from schema.records import GenerationRow
from storage import generations, tasks, voices
from storage.objects import GENERATIONS, ObjectStoreUnavailable

ALL = "all"
"""The value of `status` that filters nothing."""

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.generations")


async def list_generations(request: Request) -> Response:
    """The caller's generations, newest first."""
    user = caller(request)
    page = paging(request)
    search, status = filter_text(request, "search"), filter_text(request, "status")
    async with services_of(request).database.as_user(user.id) as transaction:
        found = await generations.list_generations(
            transaction,
            user.id,
            search=search,
            status=None if status == ALL else status,
            page=page.page,
            per_page=page.per_page,
        )
        unfinished = any(row.status in ACTIVE for row in found.items)
        running = await tasks.running_tasks(transaction, user.id, limit=MAX_PER_PAGE) if unfinished else []
    task_of = {task.generation_id: task.id for task in running}
    return JsonResponse(
        GenerationList(
            generations=[Generation.of(row, task_of.get(row.id, UNSET)) for row in found.items],
            pagination=pagination(page.page, page.per_page, found),
        )
    )


async def audio(request: Request) -> Response:
    """302 to the stored audio."""
    user = caller(request)
    row = await read_generation(services_of(request), user.id, path_id(request, "generation_id", "generation"))
    if row is None:
        raise unknown("generation")
    key = row.audio_object_key
    if key is None or not belongs_to(user.id, key):
        raise ApiError(404, "This generation has no stored audio yet.")
    return redirect(object_url(request, GENERATIONS, key))


async def regenerate(request: Request) -> Response:
    """What to fill into the form again; nothing is made (v1 contract 1.7).

    A deleted voice is 400: in v1 the deletion emptied `voice_id`, here it may still be there.
    """
    user = caller(request)
    generation_id = path_id(request, "generation_id", "generation")
    async with services_of(request).database.as_user(user.id) as transaction:
        row = await generations.get_generation(transaction, user.id, generation_id)
        if row is None:
            raise unknown("generation")
        voice = await voices.get_voice(transaction, user.id, row.voice_id) if row.voice_id else None
    if voice is None:
        raise ApiError(400, "The voice of this generation was deleted. Please choose another one.")
    return JsonResponse(Regeneration.of(row, voice.id))


async def delete(request: Request) -> Response:
    """Removes row and audio; a running generation is cancelled first (product section 4)."""
    user = caller(request)
    generation_id = path_id(request, "generation_id", "generation")
    services = services_of(request)
    row = await read_generation(services, user.id, generation_id)
    if row is not None and row.status in ACTIVE:
        await end_work(services, user.id, generation_id, None)
    async with services.database.as_user(user.id) as transaction:
        gone = await generations.delete_generation(transaction, user.id, generation_id)
    if gone is None:
        raise unknown("generation")
    if gone.audio_object_key is not None:
        await _discard(services, gone.audio_object_key)
    return JsonResponse(Done())


async def read_generation(services: Services, owner: UUID, generation_id: UUID) -> GenerationRow | None:
    """The row, None when it is unknown or somebody else's."""
    async with services.database.as_user(owner) as transaction:
        return await generations.get_generation(transaction, owner, generation_id)


async def _discard(services: Services, key: str) -> None:
    """The row is gone, so the deletion has succeeded for the user; a left-over object is for the auditor."""
    try:
        await services.objects.delete(GENERATIONS, key)
    except ObjectStoreUnavailable:
        _log.exception("generation.orphaned_object", object_key=key)
