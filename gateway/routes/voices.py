"""Voices: list, preview, delete (v1 contract 1.3, appendix A)."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from gateway.errors import ApiError
from gateway.responses import JsonResponse, redirect
from gateway.routes.access import belongs_to, caller, filter_text, paging, path_id, services_of, unknown
from gateway.routes.links import object_url
from schema.http import Done, Voice, VoiceList, pagination
from schema.http_voices import RemadeVoice
from storage import voices
from storage.objects import REFERENCES

SOURCES = ("uploaded", "designed")


async def list_voices(request: Request) -> Response:
    """The caller's voices of both providers, newest first."""
    user = caller(request)
    page = paging(request)
    search, source = filter_text(request, "search"), filter_text(request, "source")
    async with services_of(request).database.as_user(user.id) as transaction:
        found = await voices.list_voices(
            transaction,
            user.id,
            search=search,
            source=source if source in SOURCES else None,
            page=page.page,
            per_page=page.per_page,
        )
    return JsonResponse(
        VoiceList(voices=[Voice.of(row) for row in found.items], pagination=pagination(page.page, page.per_page, found))
    )


async def preview(request: Request) -> Response:
    """302 to the voice's recording. Whether the object exists is found out there (v1 contract 1.3)."""
    user = caller(request)
    voice_id = path_id(request, "voice_id", "voice")
    async with services_of(request).database.as_user(user.id) as transaction:
        voice = await voices.get_voice(transaction, user.id, voice_id)
    if voice is None:
        raise unknown("voice")
    key = voice.reference_object_key
    if key is None or not belongs_to(user.id, key):
        raise ApiError(404, "This voice has no recording to play.")
    return redirect(object_url(request, REFERENCES, key))


async def delete(request: Request) -> Response:
    """Soft: the row and the recording stay until purged (product decision 10)."""
    user = caller(request)
    voice_id = path_id(request, "voice_id", "voice")
    async with services_of(request).database.as_user(user.id) as transaction:
        found = await voices.delete_voice(transaction, user.id, voice_id)
    if not found:
        raise unknown("voice")
    return JsonResponse(Done())


async def restore(request: Request) -> Response:
    """Take a deletion back, as long as the voice was not purged."""
    user = caller(request)
    voice_id = path_id(request, "voice_id", "voice")
    async with services_of(request).database.as_user(user.id) as transaction:
        voice = await voices.restore_voice(transaction, user.id, voice_id)
    if voice is None:
        raise unknown("voice")
    return JsonResponse(Voice.of(voice))


async def reclone(request: Request) -> Response:
    """A voice of the active provider, from the recording of another voice: one billed create, the old one stays."""
    user = caller(request)
    made = await services_of(request).studio.reclone(user.id, path_id(request, "voice_id", "voice"))
    answer = RemadeVoice.of(made.voice)
    return JsonResponse(msgspec.structs.replace(answer, warning=made.warning or msgspec.UNSET))
