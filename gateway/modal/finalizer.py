"""A job is done: its audio goes to the object store, and its rows to `completed`. Once, however many find out.

The object is created, never overwritten, and the rows change only while they are active. Whoever comes second, in
this process or another, takes what is stored for what was made.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import asdict
from datetime import UTC, datetime
from uuid import UUID

import structlog

from gateway.modal.rows import Rows
from gateway.providers import ModalApi
from gateway.tracing import Trace
from protocol.errors import Fault, ProviderFailure
from schema.records import Completion, GenerationRow, TaskRow
from storage.objects import GENERATIONS, ObjectExists, ObjectStore, ObjectStoreUnavailable

MAX_DOWNLOADS = 8
"""Results fetched at once by this process. Each waits on disk, up to 50 MB; a poll that finds no place asks again."""

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.modal")


class Finalizer:
    """Ends generations whose audio Modal has."""

    def __init__(self, rows: Rows, objects: ObjectStore, api: ModalApi) -> None:
        self._rows = rows
        self._objects = objects
        self._api = api
        self._under_way: set[UUID] = set()

    async def finalize(self, task: TaskRow, generation_id: UUID, job_id: str, trace: Trace) -> bool:
        """Store and complete. False when that is under way already, or too much else is: ask again.

        True means that the rows are terminal or gone, not that they are completed: a cancellation may have won.
        Raises `ProviderFailure`, `protocol.modal.ResultNotReady`, `ObjectStoreUnavailable`, `DatabaseUnavailable`.
        """
        if generation_id in self._under_way or len(self._under_way) >= MAX_DOWNLOADS:
            return False
        self._under_way.add(generation_id)
        try:
            generation = await self._rows.generation(task.user_id, generation_id)
            if generation is not None:
                await self._finish(task, generation, job_id, trace)
        finally:
            self._under_way.discard(generation_id)
        return True

    async def _finish(self, task: TaskRow, generation: GenerationRow, job_id: str, trace: Trace) -> None:
        key = generation.audio_object_key or f"{task.user_id}/{generation.id}.wav"
        with trace.step("provider.result"):
            audio = await self._store(key, job_id)
        done = Completion(
            generation_id=generation.id,
            task_id=task.id,
            object_key=key,
            output_format="wav",
            audio_bytes=audio.size,
            audio_sha256=audio.sha256,
            duration_seconds=None,  # v1 never looks into the audio (v1 contract 1.7)
            generation_time_seconds=_seconds_since(generation.created_at),
            provider_metadata={"job_id": job_id},
            timings=[asdict(timing) for timing in trace.timings],
        )
        if await self._rows.complete(done):
            trace.log.info("modal.completed", audio_bytes=audio.size)
        else:
            await self._discard_unless_completed(task.user_id, generation.id, key)

    async def _store(self, key: str, job_id: str) -> _Audio:
        """The job's audio, which is in the store afterwards, or was there already."""
        if await self._objects.head(GENERATIONS, key) is not None:
            return await self._stored(key)
        audio = _Audio()

        async def put(pieces: AsyncIterator[bytes]) -> None:
            await self._objects.put(GENERATIONS, key, audio.passing(pieces), "audio/wav", overwrite=False)

        try:
            await self._api.fetch_result(job_id, put)
        except ObjectExists:
            # Another process was faster. It was stored whole or not at all, so it is the same audio.
            return await self._stored(key)
        return audio

    async def _stored(self, key: str) -> _Audio:
        audio = _Audio()
        async for _ in audio.passing(self._objects.read(GENERATIONS, key)):
            pass
        return audio

    async def _discard_unless_completed(self, owner: UUID, generation_id: UUID, key: str) -> None:
        """No audio is left behind by rows that were cancelled, failed or deleted meanwhile."""
        generation = await self._rows.generation(owner, generation_id)
        if generation is not None and generation.status == "completed":
            return
        try:
            await self._objects.delete(GENERATIONS, key)
        except ObjectStoreUnavailable:  # the object stays, which the log says
            _log.exception("persist.orphaned_object", object_key=key)


class _Audio:
    """Counts and digests what passes. Raises NO_AUDIO at the end of nothing, before it could be stored."""

    def __init__(self) -> None:
        self.size = 0
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Lower-case hex."""
        return self._hash.hexdigest()

    async def passing(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for piece in pieces:
            self.size += len(piece)
            self._hash.update(piece)
            yield piece
        if not self.size:
            raise ProviderFailure(Fault.NO_AUDIO)


def _seconds_since(moment: datetime) -> float:
    return max(0.0, round((datetime.now(UTC) - moment).total_seconds(), 3))
