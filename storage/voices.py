"""Voices of one owner. Every function runs in `Database.as_user(owner)`; the owner in the query is the second lock."""

from __future__ import annotations

from uuid import UUID

import msgspec

from schema.queries import Query, load
from schema.records import NewVoice, Page, VoiceRow
from storage.database import Transaction
from storage.paging import offset

_PAGE: Query[VoiceRow] = load("voices.page", VoiceRow)
_COUNT: Query[int] = load("voices.count", int)
_GET: Query[VoiceRow] = load("voices.get", VoiceRow)
_GET_ANY: Query[VoiceRow] = load("voices.get_any", VoiceRow)
_INSERT: Query[VoiceRow] = load("voices.insert", VoiceRow)
_DELETE: Query[UUID] = load("voices.delete", UUID)
_RESTORE: Query[VoiceRow] = load("voices.restore", VoiceRow)


async def list_voices(
    tx: Transaction, owner: UUID, *, search: str | None, source: str | None, page: int, per_page: int
) -> Page[VoiceRow]:
    """Newest first, without deleted ones. `search` is a literal, case-insensitive part of the name."""
    items = await tx.fetch(
        _PAGE, owner=owner, search=search, source=source, limit=per_page, offset=offset(page, per_page)
    )
    total = await tx.fetch_value(_COUNT, owner=owner, search=search, source=source)
    return Page(items=items, total=total)


async def get_voice(tx: Transaction, owner: UUID, voice_id: UUID) -> VoiceRow | None:
    """The voice, None when it is unknown, deleted or somebody else's."""
    return await tx.fetch_one(_GET, owner=owner, voice_id=voice_id)


async def get_any_voice(tx: Transaction, owner: UUID, voice_id: UUID) -> VoiceRow | None:
    """As `get_voice`, but a deleted one is found too."""
    return await tx.fetch_one(_GET_ANY, owner=owner, voice_id=voice_id)


async def insert_voice(tx: Transaction, voice: NewVoice) -> VoiceRow:
    """Store a new voice. Raises `UnknownUser`, or `AlreadyExists` when the id is taken."""
    return await tx.fetch_value(_INSERT, **msgspec.structs.asdict(voice))


async def delete_voice(tx: Transaction, owner: UUID, voice_id: UUID) -> bool:
    """Mark the voice deleted; True as often as it is asked, False when there is no such voice."""
    return await tx.fetch_one(_DELETE, owner=owner, voice_id=voice_id) is not None


async def restore_voice(tx: Transaction, owner: UUID, voice_id: UUID) -> VoiceRow | None:
    """Take a deletion back; harmless for a voice that is not deleted. None when there is no such voice."""
    return await tx.fetch_one(_RESTORE, owner=owner, voice_id=voice_id)
