"""Making voices in Modal mode, as v1 did: a voice is a recording and its transcript (v1 contract 1.4 and 1.5)."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID, uuid4

import structlog

from gateway.errors import ApiError
from gateway.studio.base import MadeVoice, SavedDesign
from gateway.studio.recordings import Recordings, check_saved_audio, reference_key
from gateway.studio.words import VOICE_EXISTS
from schema.http_voices import FinalizeRequest, PreviewRequest
from schema.records import NewTask, NewVoice, VoiceRow
from storage import tasks, voices
from storage.database import AlreadyExists, Database, DatabaseUnavailable
from storage.objects import REFERENCES, ObjectStoreUnavailable

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.studio")


@dataclass(frozen=True, slots=True)
class ModalVoices:
    """Nothing here is billed, and nothing is asked of Modal before the first poll of a preview."""

    database: Database
    recordings: Recordings

    async def finalize(self, owner: UUID, wanted: FinalizeRequest) -> MadeVoice:
        """The recording is not looked into: a WAV without a sample is a voice (v1 contract 1.4)."""
        async with self.database.as_user(owner) as transaction:
            if await voices.get_any_voice(transaction, owner, wanted.voice_id) is not None:
                raise ApiError(409, VOICE_EXISTS)
        key = reference_key(owner, wanted.voice_id)
        await self.recordings.require_uploaded(key)
        voice = NewVoice(
            id=wanted.voice_id,
            user_id=owner,
            name=wanted.name,
            source="uploaded",
            tts_provider="modal",
            language=wanted.language,
            reference_object_key=key,
            reference_transcript=wanted.transcript,
            description=wanted.description,
        )
        try:
            return MadeVoice(await insert_voice(self.database, voice))
        except AlreadyExists as error:  # the same request, a moment earlier
            raise ApiError(409, VOICE_EXISTS) from error

    async def start_preview(self, owner: UUID, wanted: PreviewRequest) -> UUID:
        """A row; the first poll of it starts the work (v1 contract 2.3, step 2)."""
        task = NewTask(
            id=uuid4(),
            user_id=owner,
            type="design_preview",
            provider="modal",
            metadata={"text": wanted.text, "language": wanted.language, "instruct": wanted.instruct},
        )
        async with self.database.as_user(owner) as transaction:
            await tasks.insert_task(transaction, task)
        return task.id

    async def save(self, owner: UUID, design: SavedDesign) -> MadeVoice:
        """Upload and insert; each save is a voice (v1 contract 1.5)."""
        kind = check_saved_audio(design)
        voice_id = uuid4()
        key = reference_key(owner, voice_id)
        await self.recordings.objects.put(REFERENCES, key, design.audio, kind, overwrite=False)
        voice = NewVoice(
            id=voice_id,
            user_id=owner,
            name=design.name,
            source="designed",
            tts_provider="modal",
            language=design.language,
            reference_object_key=key,
            reference_transcript=design.text,
            description=design.instruct,
        )
        try:
            return MadeVoice(await insert_voice(self.database, voice))
        except DatabaseUnavailable:  # the row may be there all the same, and then it needs its audio
            _log.warning("voice.maybe_orphaned_object", object_key=key)
            raise
        except Exception:
            await self._discard(key)
            raise

    async def _discard(self, key: str) -> None:
        try:
            await self.recordings.objects.delete(REFERENCES, key)
        except ObjectStoreUnavailable:
            _log.exception("voice.orphaned_object", object_key=key)


async def insert_voice(database: Database, voice: NewVoice) -> VoiceRow:
    """The row. Raises the errors of `storage.voices.insert_voice`."""
    async with database.as_user(voice.user_id) as transaction:
        return await voices.insert_voice(transaction, voice)
