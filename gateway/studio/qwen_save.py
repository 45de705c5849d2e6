"""Saving a designed voice at Qwen: it exists and is paid for, only our row is missing (product section 6)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from uuid import UUID, uuid4

from gateway.errors import ApiError
from gateway.studio.base import MadeVoice, SavedDesign
from gateway.studio.qwen_clone import with_provider
from gateway.studio.recordings import check_saved_audio
from schema.javascript import is_uuid
from schema.records import CreateRow, NewVoice, VoiceRow
from storage import creates, tasks, voices
from storage.database import Database, Transaction

_NOT_READY = "This preview is not ready to be saved. Please wait for it, or make another one."
_NOT_A_PREVIEW = "This task is not a voice preview that can be saved here."
_NO_MATCH = "This audio is none of your previews. Please make the preview again, then save it."
_BAD_ID = "task_id is not a valid id."
_DELETED = "This voice was saved before and deleted. Restore it instead."
_PURGED = "This voice was saved before and is gone. Please make another preview."


@dataclass(frozen=True, slots=True)
class QwenSaves:
    """Links previews to voices, each to one."""

    database: Database

    async def save(self, owner: UUID, design: SavedDesign) -> MadeVoice:
        """See `Studio.save_design`. Saving again gives the voice of the first time, whatever the form says then."""
        async with self.database.as_user(owner) as transaction:
            create = await self._preview_of(transaction, owner, design)
            if create.voice_id is None:
                saved = await self._link(transaction, owner, create, design)
                if saved is not None:
                    return MadeVoice(saved)
                create = await creates.get_create(transaction, owner, create.id) or create
            return MadeVoice(await _saved_before(transaction, owner, create))

    async def _preview_of(self, transaction: Transaction, owner: UUID, design: SavedDesign) -> CreateRow:
        """By its task; or, for v1 clients, which name none, by its sound."""
        if design.task_id is not None:
            create = await self._preview_of_task(transaction, owner, design.task_id)
        else:
            check_saved_audio(design)
            found = await creates.find_preview(transaction, owner, hashlib.sha256(design.audio).hexdigest())
            if found is None:
                raise ApiError(400, _NO_MATCH)
            create = found
        if create.preview_object_key is None:
            raise ApiError(409, _NOT_READY)
        return create

    async def _preview_of_task(self, transaction: Transaction, owner: UUID, sent_id: str) -> CreateRow:
        """Its task may be gone: v1's page deletes it before it saves (v1 contract, App. A, "design save")."""
        if not is_uuid(sent_id):
            raise ApiError(400, _BAD_ID)
        task_id = UUID(sent_id)
        task = await tasks.get_task(transaction, owner, task_id)
        create = await creates.get_create(transaction, owner, task_id)
        if task is None and (create is None or create.kind != "vd"):
            raise ApiError(404, "This preview does not exist. It may have been deleted.")
        if task is not None and (task.type != "design_preview" or task.provider != "qwen"):
            raise ApiError(409, _NOT_A_PREVIEW)
        if create is None or create.state != "created" or (task is not None and task.status != "completed"):
            raise ApiError(409, _NOT_READY)
        return create

    async def _link(
        self, transaction: Transaction, owner: UUID, create: CreateRow, design: SavedDesign
    ) -> VoiceRow | None:
        voice = NewVoice(
            id=uuid4(),
            user_id=owner,
            name=design.name,
            source="designed",
            tts_provider="qwen",
            language=design.language,
            reference_object_key=create.preview_object_key,
            reference_transcript=design.text,
            description=design.instruct,
        )
        if not await creates.link_voice(transaction, owner, create.id, voice.id):
            return None  # somebody was faster
        return await voices.insert_voice(transaction, with_provider(voice, create))


async def _saved_before(transaction: Transaction, owner: UUID, create: CreateRow) -> VoiceRow:
    voice = None if create.voice_id is None else await voices.get_any_voice(transaction, owner, create.voice_id)
    if voice is None:
        raise ApiError(409, _PURGED)
    if voice.deleted_at is not None:
        raise ApiError(409, _DELETED)
    return voice
