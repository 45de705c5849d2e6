"""What operators look at and put in order, across all users: usage, voices to move, voices to end.

In `Database.as_service()`: each is one function of schema `utter`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date
from uuid import UUID

from schema.queries import Query, load
from schema.records import PurgeableVoice, UsageRow, VoiceOutline
from storage.database import Database, Transaction

PAGE_ROWS = 1000
"""Rows in memory at once."""

_USAGE: Query[UsageRow] = load("operators.usage", UsageRow)
_ALL_VOICES: Query[VoiceOutline] = load("operators.all_voices", VoiceOutline)
_PURGEABLE_VOICES: Query[PurgeableVoice] = load("operators.purgeable_voices", PurgeableVoice)
_PURGE_VOICE: Query[bool] = load("operators.purge_voice", bool)


async def usage(tx: Transaction, *, from_day: date, until_day: date, user_id: UUID | None) -> list[UsageRow]:
    """By day and user, without `until_day`; of everybody where `user_id` is None."""
    return await tx.fetch(_USAGE, from_day=from_day, until_day=until_day, user_id=user_id)


async def all_voices(database: Database, user_id: UUID | None) -> AsyncIterator[VoiceOutline]:
    """Everybody's, or one user's, deleted ones too, by id."""
    last: UUID | None = None
    while True:
        async with database.as_service() as transaction:
            page = await transaction.fetch(_ALL_VOICES, user_id=user_id, after=last, limit=PAGE_ROWS)
        for voice in page:
            yield voice
            last = voice.id
        if not page:
            return


async def purgeable_voices(database: Database, *, seconds: float) -> AsyncIterator[PurgeableVoice]:
    """Those that were deleted longer ago, by id. What a task still speaks with is left for the next time."""
    last: UUID | None = None
    while True:
        async with database.as_service() as transaction:
            page = await transaction.fetch(_PURGEABLE_VOICES, seconds=seconds, after=last, limit=PAGE_ROWS)
        for voice in page:
            yield voice
            last = voice.id
        if not page:
            return


async def purge_voice(tx: Transaction, voice_id: UUID, *, seconds: float) -> bool:
    """End it, if it was deleted longer ago. Whoever restores it now waits for `tx`, and then finds nothing."""
    return await tx.fetch_value(_PURGE_VOICE, voice_id=voice_id, seconds=seconds)
