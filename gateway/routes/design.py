"""Designing a voice: hear a preview, then save it (v1 contract 1.5)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from python_multipart.exceptions import FormParserError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from gateway.errors import ApiError
from gateway.responses import JsonResponse
from gateway.routes.access import caller, services_of
from gateway.routes.links import object_url
from gateway.studio import SavedDesign
from schema.body import BodyError, text_field
from schema.http_voices import DesignedVoice, PreviewStarted
from schema.voice_bodies import read_preview_request, required, voice_name
from storage.objects import REFERENCES

MAX_FORM_FILES = 1
MAX_FORM_FIELDS = 20
"""Parts of the form: six are known, the rest is ignored. Each costs memory before it can be refused."""

MAX_FIELD_BYTES = 1_000_000
"""One text of the form, bytes. The whole form has a limit of its own (`gateway.middleware.body`)."""

_NOT_A_FORM = "The request body is not a valid multipart/form-data form."


async def preview(request: Request) -> Response:
    """The preview begins; its task tells how it goes on."""
    user = caller(request)
    try:
        wanted = read_preview_request(await request.body())
    except BodyError as error:
        raise ApiError(400, str(error)) from error
    return JsonResponse(PreviewStarted(await services_of(request).studio.start_preview(user.id, wanted)))


async def save(request: Request) -> Response:
    """A voice of a preview."""
    user = caller(request)
    async with _form(request) as form:
        design = await _design(form)
    made = await services_of(request).studio.save_design(user.id, design)
    voice = made.voice
    return JsonResponse(
        DesignedVoice(
            id=voice.id,
            name=voice.name,
            description=voice.description,
            language=voice.language,
            source="designed",
            preview_url=object_url(request, REFERENCES, str(voice.reference_object_key)),
        )
    )


@asynccontextmanager
async def _form(request: Request) -> AsyncIterator[FormData]:
    """The form, in bounds; its temporary file ends with the block. Raises `ApiError` 400."""
    try:
        form = await request.form(max_files=MAX_FORM_FILES, max_fields=MAX_FORM_FIELDS, max_part_size=MAX_FIELD_BYTES)
    except (HTTPException, FormParserError) as error:
        raise ApiError(400, _NOT_A_FORM) from error
    try:
        yield form
    finally:
        await form.close()


async def _design(form: FormData) -> SavedDesign:
    """What is to be saved. Raises `ApiError` 400 for the first text that cannot be used."""
    try:
        name = voice_name(form)
        text, language, instruct = (required(form, field) for field in ("text", "language", "instruct"))
        task_id = text_field(form, "task_id")
    except BodyError as error:
        raise ApiError(400, str(error)) from error
    audio, audio_type = await _audio(form.get("audio"))
    return SavedDesign(
        name=name,
        text=text,
        language=language,
        instruct=instruct,
        audio=audio,
        audio_type=audio_type,
        task_id=task_id,
    )


async def _audio(part: UploadFile | str | None) -> tuple[bytes, str]:
    """The file and what its sender calls it; both empty when there is none."""
    if not isinstance(part, UploadFile):
        return b"", ""
    return await part.read(), part.content_type or ""
