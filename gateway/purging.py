"""The end of deleted voices and their recordings, by an operator (product decision 10)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

import msgspec

from schema.records import PurgeableVoice
from storage import upkeep
from storage.database import Database
from storage.errors import StorageError
from storage.objects import REFERENCES, InvalidKey, ObjectStore

_NOT_THE_OWNERS = "Its recording does not lie in its user's folder, and is left alone."
_GONE = "It was restored or purged a moment ago."


class Purged(msgspec.Struct, frozen=True):
    """One voice. `purged` is false for what is still there: `detail` says why, `remedy` what to do."""

    voice_id: UUID
    user_id: UUID
    purged: bool
    detail: str = ""
    remedy: str = ""


async def purgeable(database: Database, *, seconds: float) -> list[PurgeableVoice]:
    """Voices that were deleted longer ago and that no task speaks with. Raises `DatabaseUnavailable`."""
    return [voice async for voice in upkeep.purgeable_voices(database, seconds=seconds)]


async def purge(
    database: Database,
    objects: ObjectStore,
    voices: Sequence[PurgeableVoice],
    *,
    seconds: float,
    tell: Callable[[Purged], None],
) -> list[Purged]:
    """End them, row and recording; `tell` is told each as it is done. What the store cannot remove keeps its row, for
    the next time."""
    done = []
    for voice in voices:
        purged = await _purge(database, objects, voice, seconds)
        done.append(purged)
        tell(purged)
    return done


async def _purge(database: Database, objects: ObjectStore, voice: PurgeableVoice, seconds: float) -> Purged:
    key = voice.recording_key
    if key is not None and not key.startswith(f"{voice.user_id}/"):
        return Purged(voice.id, voice.user_id, False, _NOT_THE_OWNERS, "Look at the row; then delete both by hand.")
    try:
        async with database.as_service() as transaction:
            # Inside of it, so that nobody restores a voice whose recording is gone.
            if not await upkeep.purge_voice(transaction, voice.id, seconds=seconds):
                return Purged(voice.id, voice.user_id, False, _GONE)
            if key is not None:
                await objects.delete(REFERENCES, key)
    except (StorageError, InvalidKey) as error:
        remedy = "`utter doctor` says what is away; then run it again."
        return Purged(voice.id, voice.user_id, False, f"It could not be removed: {error}.", remedy)
    return Purged(voice.id, voice.user_id, True)
