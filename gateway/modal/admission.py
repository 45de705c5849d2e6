"""May this text be spoken at Modal, now? The rows of v1 contract 1.6 up to the first that costs anything, in order."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID, uuid4

from gateway.admission import check_text, find_voice, task_metadata
from gateway.errors import ApiError
from gateway.settings import Settings
from schema.http import GenerateRequest
from schema.records import RequestKey, VoiceRow
from storage import tasks
from storage.database import ActiveTaskExists, Database
from storage.objects import REFERENCES, InvalidKey, ObjectInfo, ObjectMissing, ObjectStore

MAX_RECORDING_BYTES = 10 * 1024 * 1024
"""Largest recording that is sent along (v1 contract 1.6, row 4)."""

NO_RECORDING = "The recording of this voice is missing. Please clone or design it again."


@dataclass(frozen=True, slots=True)
class ModalOrder:
    """A generation that admission has accepted. `recording_key` is the voice's recording in `references`."""

    generation_id: UUID
    task_id: UUID
    owner: UUID
    voice_id: UUID
    voice_name: str
    recording_key: str
    transcript: str = field(repr=False)
    text: str = field(repr=False)
    language: str
    metadata: dict[str, object]
    request_key: RequestKey | None = None


async def admit(
    database: Database,
    objects: ObjectStore,
    settings: Settings,
    owner: UUID,
    request: GenerateRequest,
    request_key: RequestKey | None = None,
) -> ModalOrder:
    """Decide on a request in Modal mode. Languages are not checked, as in v1: the list is the server's to know.

    Raises:
        ApiError: 400 for the text, and for a voice without transcript or usable recording, 404 for an unknown or
            foreign voice, 409 for one of the other provider.
        ActiveTaskExists: 409.
        DatabaseUnavailable, ObjectStoreUnavailable: 503.
    """
    check_text(request.text, settings.max_text_chars)
    voice = await find_voice(database, settings, owner, request.voice_id)
    if not voice.reference_transcript:
        raise ApiError(400, "This voice has no transcript of its recording. Please clone it again with one.")
    key = await _usable_recording(objects, voice)
    async with database.as_user(owner) as transaction:
        if await tasks.has_active_generate(transaction, owner):
            raise ActiveTaskExists("the user has an active generate task")
    return ModalOrder(
        generation_id=uuid4(),
        task_id=uuid4(),
        owner=owner,
        voice_id=voice.id,
        voice_name=voice.name,
        recording_key=key,
        transcript=voice.reference_transcript,
        text=request.text,
        language=request.language,
        metadata=task_metadata(request.text),
        request_key=request_key,
    )


async def read_recording(objects: ObjectStore, order: ModalOrder) -> bytes:
    """The recording's bytes. Raises `ApiError` 400 when it vanished meanwhile, and `ObjectStoreUnavailable`."""
    try:
        return b"".join([piece async for piece in objects.read(REFERENCES, order.recording_key)])
    except ObjectMissing as error:
        raise ApiError(400, NO_RECORDING) from error


async def _usable_recording(objects: ObjectStore, voice: VoiceRow) -> str:
    key = voice.reference_object_key
    # Rows of v1 are not ours to trust with a key: only what lies below its owner's id is ever read for them.
    found = await _look_up(objects, key) if key and key.startswith(f"{voice.user_id}/") else None
    if key is None or found is None:
        raise ApiError(400, NO_RECORDING)
    if found.size > MAX_RECORDING_BYTES:
        raise ApiError(
            400, "The recording of this voice is larger than 10 MB. Please clone it again with a shorter one."
        )
    return key


async def _look_up(objects: ObjectStore, key: str) -> ObjectInfo | None:
    try:
        return await objects.head(REFERENCES, key)
    except InvalidKey:
        return None
