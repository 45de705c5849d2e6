"""Cloning in two steps: a link to upload to, then the voice (v1 contract 1.4)."""

from __future__ import annotations

from uuid import uuid4

from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from gateway.errors import ApiError
from gateway.responses import JsonResponse
from gateway.routes.access import caller, services_of
from gateway.routes.links import upload_url
from gateway.studio.recordings import reference_key
from schema.body import BodyError
from schema.http_voices import ClonedVoice, UploadLink
from schema.voice_bodies import read_clone_request, read_finalize_request
from storage.objects import REFERENCES


async def upload_link(request: Request) -> Response:
    """Nothing is kept of it: the voice begins with its recording."""
    user = caller(request)
    try:
        wanted = read_clone_request(await request.body())
    except BodyError as error:
        raise ApiError(400, str(error)) from error
    services_of(request).studio.check_language(wanted.language)
    voice_id = uuid4()
    key = reference_key(user.id, voice_id)
    return JsonResponse(UploadLink(voice_id, upload_url(request, REFERENCES, key), key))


async def finalize(request: Request) -> Response:
    """The voice exists when this answers. Never twice for one upload, and an existing voice is never touched."""
    user = caller(request)
    try:
        wanted = read_finalize_request(await request.body())
    except BodyError as error:
        raise ApiError(400, str(error)) from error
    made = await services_of(request).studio.finalize_clone(user.id, wanted)
    return JsonResponse(ClonedVoice(made.voice.id, made.voice.name, made.warning or UNSET))
