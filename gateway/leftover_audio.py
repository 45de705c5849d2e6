"""Audio that an attempt stored before its process died, with nobody left to say so in the rows.

An object is stored whole, and only once the provider has finished: whatever is there is all of it, and paid for.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from uuid import UUID

from gateway.running import object_key
from protocol.mp3 import Mp3FrameReader, WrongAudioError
from schema.records import Completion, GenerationRow
from storage.objects import GENERATIONS, ObjectMissing, ObjectStore


async def find_audio(objects: ObjectStore, row: GenerationRow, task_id: UUID, *, before: int) -> Completion | None:
    """What completes the generation with the audio of its latest attempt before `before`; None when none was stored.

    What the provider counted is not known any more. Raises `ObjectStoreUnavailable`.
    """
    for epoch in range(before - 1, 0, -1):
        key = object_key(row.user_id, row.id, epoch)
        if await objects.head(GENERATIONS, key) is not None:
            return await _completion(objects, row, task_id, key)
    return None


async def _completion(objects: ObjectStore, row: GenerationRow, task_id: UUID, key: str) -> Completion | None:
    digest, reader, size = hashlib.sha256(), Mp3FrameReader(), 0
    try:
        async for piece in objects.read(GENERATIONS, key):
            digest.update(piece)
            reader.feed(piece)
            size += len(piece)
    except (ObjectMissing, WrongAudioError):  # removed in this moment, or not what we store
        return None
    return Completion(
        generation_id=row.id,
        task_id=task_id,
        object_key=key,
        output_format="mp3",
        audio_bytes=size,
        audio_sha256=digest.hexdigest(),
        duration_seconds=reader.duration_seconds,
        generation_time_seconds=round((datetime.now(UTC) - row.created_at).total_seconds(), 3),
        provider_metadata={"recovered": True},
    )
