"""What the one-command demo needs to be worth opening: a user with a cloned and a designed voice.

The voices are those of the active provider, so a data directory that was started in both modes has two of each. At
Qwen they are made as a customer's would be, through the customization REST; at Modal a voice is nothing but a
recording and its transcript. Recordings are synthesized, because there is nobody to read them.
"""

from __future__ import annotations

from uuid import UUID

import structlog

from gateway.providers import QwenCustomization, VoiceKind, open_customization
from gateway.sample_recording import TRANSCRIPT, NoRecording, sample_recording
from gateway.services import Services
from gateway.settings import ProviderMode
from protocol.customization import AudioSource, data_url
from protocol.customization_answers import CreatedVoice
from protocol.errors import ProviderFailure
from schema.records import NewVoice
from storage import voices
from storage.database import AlreadyExists, Database
from storage.objects import REFERENCES
from storage.profiles import create_local_user

DEMO_USER = UUID("5a17e000-0000-4000-8000-000000000001")

CLONED_VOICE = UUID("5a17e000-0000-4000-8000-0000000000c1")
DESIGNED_VOICE = UUID("5a17e000-0000-4000-8000-0000000000d1")
"""The voices at Qwen. Fixed ids, so that a start finds what an earlier one made."""

MODAL_CLONED_VOICE = UUID("5a17e000-0000-4000-8000-0000000000c2")
MODAL_DESIGNED_VOICE = UUID("5a17e000-0000-4000-8000-0000000000d2")
"""The voices at Modal: a voice is only ever used with its own provider."""

DESCRIPTION = "A warm, unhurried narrator with a low voice, for long evenings and longer stories."

PREVIEW_TEXT = "Make yourself comfortable, and let me tell you how it began."

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.demo")


class DemoFailed(Exception):
    """The demo cannot be set up. The message says why."""


async def create_user(admin_url: str, user_id: UUID) -> None:
    """Add a user to the local database; nothing happens when it is there. `admin_url` is the schema owner's."""
    async with Database.open(admin_url, max_connections=1) as database, database.as_service() as transaction:
        await create_local_user(transaction, user_id)


async def prepare_voices(services: Services) -> None:
    """The demo's two voices at the active provider, made once per data directory.

    Raises `DemoFailed`, and the errors of database and object store.
    """
    if services.settings.provider_mode is ProviderMode.MODAL:
        await _prepare_modal_voices(services)
    else:
        await _prepare_qwen_voices(services)


async def _prepare_qwen_voices(services: Services) -> None:
    try:
        async with open_customization(services.settings) as customization:
            if not await _exists(services, CLONED_VOICE):
                await _add(services, await _cloned(services, customization))
            if not await _exists(services, DESIGNED_VOICE):
                await _add(services, await _designed(services, customization))
    except ProviderFailure as failure:
        raise DemoFailed(f"The demo voices could not be made. {failure.fault.facts.remedy}") from failure


async def _prepare_modal_voices(services: Services) -> None:
    """Both from recordings: asking Modal to design one would wait for a container, and could cost money."""
    if not await _exists(services, MODAL_CLONED_VOICE):
        recording = await _recording(TRANSCRIPT)
        voice = NewVoice(
            id=MODAL_CLONED_VOICE,
            user_id=DEMO_USER,
            name="Evening reader (Modal)",
            source="uploaded",
            language="English",
            reference_object_key=await _store(services, MODAL_CLONED_VOICE, recording),
            reference_transcript=TRANSCRIPT,
            tts_provider="modal",
        )
        await _add(services, voice)
    if not await _exists(services, MODAL_DESIGNED_VOICE):
        preview = await _recording(PREVIEW_TEXT, speaker="fireside")
        voice = NewVoice(
            id=MODAL_DESIGNED_VOICE,
            user_id=DEMO_USER,
            name="Fireside narrator (Modal)",
            source="designed",
            language="English",
            description=DESCRIPTION,
            reference_object_key=await _store(services, MODAL_DESIGNED_VOICE, preview),
            reference_transcript=PREVIEW_TEXT,
            tts_provider="modal",
        )
        await _add(services, voice)


async def _exists(services: Services, voice_id: UUID) -> bool:
    async with services.database.as_user(DEMO_USER) as transaction:
        return await voices.get_voice(transaction, DEMO_USER, voice_id) is not None


async def _add(services: Services, voice: NewVoice) -> None:
    try:
        async with services.database.as_user(DEMO_USER) as transaction:
            await voices.insert_voice(transaction, voice)
    except AlreadyExists:
        _log.info("demo.voice_stays_deleted", voice_id=str(voice.id))  # by its user, who will not want it back


async def _cloned(services: Services, customization: QwenCustomization) -> NewVoice:
    recording = await _recording(TRANSCRIPT)
    created = await _found(customization, VoiceKind.CLONED, CLONED_VOICE) or await customization.clone(
        CLONED_VOICE, AudioSource(data=data_url("audio/wav", recording)), transcript=TRANSCRIPT, language="English"
    )
    return NewVoice(
        id=CLONED_VOICE,
        user_id=DEMO_USER,
        name="Evening reader",
        source="uploaded",
        language="English",
        reference_object_key=await _store(services, CLONED_VOICE, recording),
        reference_transcript=TRANSCRIPT,
        tts_provider="qwen",
        provider_voice_id=created.voice,
        provider_target_model=created.target_model,
        provider_region=services.settings.dashscope_region,
        provider_request_id=created.request_id,
        provider_voice_kind="vc",
    )


async def _designed(services: Services, customization: QwenCustomization) -> NewVoice:
    created = await _found(customization, VoiceKind.DESIGNED, DESIGNED_VOICE) or await customization.design(
        DESIGNED_VOICE, description=DESCRIPTION, preview_text=PREVIEW_TEXT, language="English"
    )
    return NewVoice(
        id=DESIGNED_VOICE,
        user_id=DEMO_USER,
        name="Fireside narrator",
        source="designed",
        language="English",
        description=DESCRIPTION,
        reference_object_key=await _store(services, DESIGNED_VOICE, created.preview) if created.preview else None,
        reference_transcript=PREVIEW_TEXT,
        tts_provider="qwen",
        provider_voice_id=created.voice,
        provider_target_model=created.target_model,
        provider_region=services.settings.dashscope_region,
        provider_request_id=created.request_id,
        provider_voice_kind="vd",
    )


async def _found(customization: QwenCustomization, kind: VoiceKind, voice_id: UUID) -> CreatedVoice | None:
    """What an earlier start made but was killed before writing down, or whose row its user deleted: a create is
    billed, a look is not."""
    found = await customization.find_created(kind, voice_id)
    return None if found is None else CreatedVoice(found.voice, found.target_model, request_id="", billed=None)


async def _store(services: Services, voice_id: UUID, recording: bytes) -> str:
    key = f"{DEMO_USER}/{voice_id}/reference.wav"
    await services.objects.put(REFERENCES, key, recording, "audio/wav")
    return key


async def _recording(text: str, speaker: str = "speaker") -> bytes:
    try:
        return await sample_recording(text, speaker)
    except NoRecording as error:
        raise DemoFailed(str(error)) from error
