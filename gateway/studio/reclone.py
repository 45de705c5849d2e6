"""Making a voice again at the active provider, from the recording and transcript of a voice it cannot use (product
section 4). The new voice's id follows from the old one's, so that asking twice makes and pays for one; where that was
deleted since, it is there again."""

from __future__ import annotations

from uuid import UUID, uuid5

from gateway.errors import ApiError
from gateway.settings import Settings
from gateway.studio.base import MadeVoice
from gateway.studio.modal_voices import insert_voice
from gateway.studio.qwen_clone import QwenClones, check_language
from gateway.studio.recordings import Recordings, reference_key
from gateway.studio.words import VOICE_UNKNOWN
from schema.records import NewVoice, Provider, VoiceOutline, VoiceRow
from storage import voices
from storage.database import AlreadyExists, Database

USABLE_ALREADY = "This voice can be used as it is."
NO_TRANSCRIPT = "This voice has no transcript of its recording, so it cannot be made again. Please clone it anew."


def qwen_id(voice_id: UUID, region: str, model: str) -> UUID:
    """Of the voice that is made at Qwen of this one."""
    return uuid5(voice_id, f"qwen {region} {model}")


def modal_id(voice_id: UUID) -> UUID:
    """Of the voice that is made at Modal of this one."""
    return uuid5(voice_id, "modal")


def usable_at_qwen(settings: Settings, voice: VoiceRow | VoiceOutline) -> bool:
    """Whether it was made at the region, and for a model, that the settings accept."""
    accepted = {"vc": settings.accepted_vc_models, "vd": settings.accepted_vd_models}
    return (
        voice.tts_provider == "qwen"
        and voice.provider_voice_id is not None
        and voice.provider_region == settings.dashscope_region
        and voice.provider_target_model in accepted.get(voice.provider_voice_kind or "", ())
    )


class QwenReclones:
    """One billed create."""

    def __init__(self, settings: Settings, database: Database, recordings: Recordings, clones: QwenClones) -> None:
        self._settings = settings
        self._database = database
        self._recordings = recordings
        self._clones = clones

    async def reclone(self, owner: UUID, voice_id: UUID) -> MadeVoice:
        """See `Studio.reclone`. Another region or pinned model makes another voice."""
        settings = self._settings
        new_id = qwen_id(voice_id, settings.dashscope_region, settings.vc_target_model)
        old, made = await _look_up(self._database, owner, voice_id, new_id)
        if usable_at_qwen(settings, old):
            raise ApiError(409, USABLE_ALREADY)
        if made is not None:
            return await _once_more(self._database, made)
        check_language(old.language)
        new = _successor(old, new_id, "qwen")
        await self._recordings.copy(owner, old.reference_object_key, str(new.reference_object_key))
        return await self._clones.make(new)


class ModalReclones:
    """A copy: at Modal a voice is nothing but a recording and its transcript."""

    def __init__(self, database: Database, recordings: Recordings) -> None:
        self._database = database
        self._recordings = recordings

    async def reclone(self, owner: UUID, voice_id: UUID) -> MadeVoice:
        """See `Studio.reclone`."""
        new_id = modal_id(voice_id)
        old, made = await _look_up(self._database, owner, voice_id, new_id)
        if old.tts_provider == "modal":
            raise ApiError(409, USABLE_ALREADY)
        if made is not None:
            return await _once_more(self._database, made)
        new = _successor(old, new_id, "modal")
        await self._recordings.copy(owner, old.reference_object_key, str(new.reference_object_key))
        try:
            return MadeVoice(await insert_voice(self._database, new))
        except AlreadyExists:  # the same request, a moment earlier
            _, made = await _look_up(self._database, owner, voice_id, new_id)
            if made is None:
                raise
            return MadeVoice(made)


async def _look_up(database: Database, owner: UUID, voice_id: UUID, new_id: UUID) -> tuple[VoiceRow, VoiceRow | None]:
    """The voice, and the one that was made of it before, deleted or not. Raises `ApiError` 404."""
    async with database.as_user(owner) as transaction:
        old = await voices.get_voice(transaction, owner, voice_id)
        made = await voices.get_any_voice(transaction, owner, new_id)
    if old is None:
        raise ApiError(404, VOICE_UNKNOWN)
    return old, made


async def _once_more(database: Database, made: VoiceRow) -> MadeVoice:
    """The voice that was made before: whoever deleted it and asks for it wants it back."""
    if made.deleted_at is None:
        return MadeVoice(made)
    async with database.as_user(made.user_id) as transaction:
        restored = await voices.restore_voice(transaction, made.user_id, made.id)
    if restored is None:
        raise ApiError(404, VOICE_UNKNOWN)  # purged a moment ago
    return MadeVoice(restored)


def _successor(old: VoiceRow, new_id: UUID, provider: Provider) -> NewVoice:
    """Raises `ApiError` 400 without a transcript, which both providers need."""
    if not old.reference_transcript:
        raise ApiError(400, NO_TRANSCRIPT)
    return NewVoice(
        id=new_id,
        user_id=old.user_id,
        name=old.name,
        source=old.source,
        tts_provider=provider,
        language=old.language,
        reference_object_key=reference_key(old.user_id, new_id),
        reference_transcript=old.reference_transcript,
        description=old.description,
    )
