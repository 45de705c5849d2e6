"""Cloning at Qwen: a recording in the store becomes a voice, paid for once (product section 6)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from uuid import UUID

import msgspec

from gateway.errors import ApiError
from gateway.outliving import Jobs, outliving_request
from gateway.persister import until_it_lands
from gateway.settings import Settings
from gateway.studio.base import MadeVoice
from gateway.studio.creates import Creates, log_orphan
from gateway.studio.recordings import Recordings, reference_key
from gateway.studio.words import VOICE_EXISTS, clone_error
from protocol.customization import AudioSource
from protocol.customization_answers import CreatedVoice
from protocol.errors import ProviderFailure
from protocol.languages import SPOKEN_LANGUAGES, is_spoken
from schema.http_voices import FinalizeRequest
from schema.records import CreateRow, Json, NewCreate, NewVoice, VoiceRow
from storage import creates, voices
from storage.database import AlreadyExists, Database


def check_language(language: str) -> None:
    """`ApiError` 400 for what Qwen does not speak (product section 5)."""
    if not is_spoken(language):
        raise ApiError(400, f"This language cannot be spoken yet. Choose one of: {', '.join(SPOKEN_LANGUAGES)}.")


@dataclass(frozen=True, slots=True)
class QwenClones:
    """Voices of kind `vc`."""

    settings: Settings
    database: Database
    recordings: Recordings
    creates: Creates
    jobs: Jobs

    async def finalize(self, owner: UUID, wanted: FinalizeRequest) -> MadeVoice:
        """See `Studio.finalize_clone`. The recording of a voice that exists is never looked at, let alone changed."""
        if await self._find(owner, wanted.voice_id) is not None:
            raise ApiError(409, VOICE_EXISTS)
        key = reference_key(owner, wanted.voice_id)
        await self.recordings.require_uploaded(key)
        check_language(wanted.language)
        return await self.make(
            NewVoice(
                id=wanted.voice_id,
                user_id=owner,
                name=wanted.name,
                source="uploaded",
                tts_provider="qwen",
                language=wanted.language,
                reference_object_key=key,
                reference_transcript=wanted.transcript,
                description=wanted.description,
            )
        )

    async def make(self, voice: NewVoice) -> MadeVoice:
        """`voice`, whose recording is in the store, at the provider and then as a row.

        Raises `ApiError`, and the storage errors.
        """
        source = await self.recordings.for_provider(voice.user_id, str(voice.reference_object_key))
        return await outliving_request(self.jobs, f"clone {voice.id}", partial(self._make, voice, source))

    async def _make(self, voice: NewVoice, source: AudioSource) -> MadeVoice:
        """An earlier try may have got as far as the provider, or even into the ledger: nothing is made again."""
        claim = await self.creates.claim(
            NewCreate(
                id=voice.id,
                user_id=voice.user_id,
                kind="vc",
                region=self.settings.dashscope_region,
                target_model=self.settings.vc_target_model,
            )
        )
        if not claim.granted:
            return await self._save(voice, claim.create)
        try:
            made = await self.creates.send(claim, partial(self._clone, voice, source))
        except ProviderFailure as failure:
            await self.creates.record_failure(claim.create, failure)
            raise clone_error(failure) from failure
        await self.creates.record(claim.create, made)
        return await self._save(voice, await self.creates.read(claim.create))

    async def _clone(self, voice: NewVoice, source: AudioSource) -> CreatedVoice:
        return await self.creates.customization.clone(
            voice.id, source, transcript=str(voice.reference_transcript), language=voice.language
        )

    async def _save(self, voice: NewVoice, create: CreateRow) -> MadeVoice:
        """The row of a voice that exists at the provider. When it cannot be written, the ledger still knows."""
        row = with_provider(voice, create)

        async def insert() -> VoiceRow:
            async with self.database.as_user(voice.user_id) as transaction:
                saved = await voices.insert_voice(transaction, row)
                await creates.link_voice(transaction, voice.user_id, create.id, saved.id)
                return saved

        try:
            saved = await until_it_lands(insert)
        except AlreadyExists as error:  # by the same request twice at once, or by a commit whose answer was lost
            there = await self._find(voice.user_id, voice.id)
            if there is None or there.provider_voice_id != create.provider_voice_id:
                raise ApiError(409, VOICE_EXISTS) from error
            saved = there
        except Exception:
            log_orphan(create, create.provider_voice_id, create.request_id)
            raise
        return MadeVoice(saved)

    async def _find(self, owner: UUID, voice_id: UUID) -> VoiceRow | None:
        async with self.database.as_user(owner) as transaction:
            return await voices.get_any_voice(transaction, owner, voice_id)


def with_provider(voice: NewVoice, create: CreateRow) -> NewVoice:
    """`voice` as the voice that this create made at the provider."""
    metadata: Json = {}
    if create.warnings:
        metadata["warnings"] = create.warnings
    if create.billed is not None:
        metadata["usage"] = {"count": create.billed}
    return msgspec.structs.replace(
        voice,
        tts_provider="qwen",
        provider_voice_id=create.provider_voice_id,
        provider_target_model=create.target_model,
        provider_region=create.region,
        provider_request_id=create.request_id,
        provider_voice_kind=create.kind,
        provider_metadata=metadata,
    )
