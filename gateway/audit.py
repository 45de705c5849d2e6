"""Do database, object store and spool say the same? Every disagreement, and what to do about it (product section 11).

Nothing is changed. It may run beside a working gateway: what is younger than `SETTLED` is left alone, because rows and
objects are not written in the same moment.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import anyio.to_thread

from gateway.running import ACTIVE
from schema.records import AuditedGeneration, AuditedVoice
from storage import audit as rows
from storage.audio_spool import Entry, SpoolFolder
from storage.database import Database, Transaction
from storage.objects import GENERATIONS, REFERENCES, InvalidKey, ObjectStore, StoredObject

SETTLED = timedelta(minutes=5)
"""Age from which an object without a row is not one that is being written. Storing takes a minute at most, and the rows
follow at once, or later from the spool."""


class Kind(StrEnum):
    """What disagrees; the names are stable."""

    AUDIO_MISSING = "audio_missing"
    AUDIO_DIFFERS = "audio_differs"
    AUDIO_WITHOUT_ROW = "audio_without_row"
    GENERATION_STRANDED = "generation_stranded"
    TASK_LEASE_OVER = "task_lease_over"
    TASK_NO_LEASE = "task_no_lease"
    TASK_GENERATION_ENDED = "task_generation_ended"
    SPOOLED_NOT_WANTED = "spooled_not_wanted"
    SPOOLED_DIFFERS = "spooled_differs"
    RECORDING_MISSING = "recording_missing"


REMEDY: dict[Kind, str] = {
    Kind.AUDIO_MISSING: "Restore the object from a backup, or delete the generation: its user can make it again.",
    Kind.AUDIO_DIFFERS: "Restore the object from a backup, or delete the generation: it does not play what was made.",
    Kind.AUDIO_WITHOUT_ROW: "Delete the object; nothing points to it.",
    Kind.GENERATION_STRANDED: "A running gateway ends it within two hours; start one.",
    Kind.TASK_LEASE_OVER: "A running gateway takes it over within seconds; start one, or see its log (pickup.*).",
    Kind.TASK_NO_LEASE: "A running gateway takes it over within seconds; start one, or see its log (pickup.*).",
    Kind.TASK_GENERATION_ENDED: "Cancel the task: it frees its user's next generation.",
    Kind.SPOOLED_NOT_WANTED: "A gateway on this spool removes it at its next start.",
    Kind.SPOOLED_DIFFERS: "Move the file away and fail the generation: the disk did not keep what was written.",
    Kind.RECORDING_MISSING: "Restore the recording from a backup; the voice cannot be moved to the other provider.",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One disagreement. `subject` is an id or an object's key."""

    kind: Kind
    subject: str
    detail: str

    @property
    def remedy(self) -> str:
        return REMEDY[self.kind]


Row = TypeVar("Row", AuditedGeneration, AuditedVoice)


async def audit(
    database: Database, objects: ObjectStore, spool: Path, *, digests: bool = False
) -> AsyncIterator[Finding]:
    """Every disagreement. With `digests` every stored audio is read, which takes as long as the store needs.

    Raises `DatabaseUnavailable`, `ObjectStoreUnavailable` and `SpoolUnavailable`.
    """
    auditor = _Auditor(database, objects, digests=digests)
    await auditor.list(spool)
    for look in (auditor.generations, auditor.spool, auditor.tasks, auditor.objects_without_row, auditor.recordings):
        async for finding in look():
            yield finding


class _Auditor:
    """The lists are read first: what they lack may have come since, and is looked at again by itself."""

    def __init__(self, database: Database, objects: ObjectStore, *, digests: bool) -> None:
        self._database = database
        self._objects = objects
        self._digests = digests
        self._stored: dict[str, StoredObject] = {}
        self._entries: dict[UUID, Entry] = {}
        self._statuses: dict[UUID, str] = {}
        self._claimed: set[str] = set()

    async def list(self, spool: Path) -> None:
        self._stored = {found.key: found async for found in self._objects.list(GENERATIONS)}
        entries = await anyio.to_thread.run_sync(SpoolFolder.all_entries, spool)
        self._entries = {entry.note.done.generation_id: entry for entry in entries}
        self._claimed = {entry.note.done.object_key for entry in entries}

    async def generations(self) -> AsyncIterator[Finding]:
        async for row in _all(self._database, rows.page_of_generations):
            if row.object_key is not None:
                self._claimed.add(row.object_key)
            if row.id in self._entries:
                self._statuses[row.id] = row.status
            finding = await self._of_generation(row)
            if finding is not None:
                yield finding

    async def spool(self) -> AsyncIterator[Finding]:
        """Waiting is no disagreement, as long as somebody waits for it."""
        for generation_id, entry in self._entries.items():
            status = self._statuses.get(generation_id, "gone")
            if status not in ACTIVE:
                yield Finding(Kind.SPOOLED_NOT_WANTED, str(generation_id), f"its generation is {status}")
            elif entry.audio.exists():  # it may have landed since
                audio = await anyio.to_thread.run_sync(entry.audio.read_bytes)
                if hashlib.sha256(audio).hexdigest() != entry.note.done.audio_sha256:
                    yield Finding(Kind.SPOOLED_DIFFERS, str(generation_id), f"{len(audio)} bytes, another SHA-256")

    async def tasks(self) -> AsyncIterator[Finding]:
        async with self._database.as_service() as transaction:
            stuck = await rows.stuck_tasks(transaction)
        for task in stuck:
            yield Finding(Kind(f"task_{task.reason}"), str(task.task_id), f"a {task.type} {_WHY[task.reason]}")

    async def objects_without_row(self) -> AsyncIterator[Finding]:
        for key in sorted(self._stored.keys() - self._claimed):
            if self._stored[key].modified < datetime.now(UTC) - SETTLED:
                yield Finding(Kind.AUDIO_WITHOUT_ROW, key, f"{self._stored[key].size} bytes")

    async def recordings(self) -> AsyncIterator[Finding]:
        async for voice in _all(self._database, rows.page_of_voices):
            if await _look(self._objects, REFERENCES, voice.recording_key) is None:
                yield Finding(Kind.RECORDING_MISSING, str(voice.id), f"no object {voice.recording_key}")

    async def _of_generation(self, row: AuditedGeneration) -> Finding | None:
        subject = str(row.id)
        if row.status in ACTIVE and not row.worked_on:
            return Finding(Kind.GENERATION_STRANDED, subject, "no running task belongs to it")
        if row.status != "completed" or row.object_key is None:
            return None
        info = self._stored.get(row.object_key) or await _look(self._objects, GENERATIONS, row.object_key)
        if info is None:
            return Finding(Kind.AUDIO_MISSING, subject, f"no object {row.object_key}")
        if row.audio_bytes is not None and info.size != row.audio_bytes:
            return Finding(Kind.AUDIO_DIFFERS, subject, f"{info.size} bytes instead of {row.audio_bytes}")
        if not self._digests or row.audio_sha256 in (None, await _digest(self._objects, row.object_key)):
            return None
        return Finding(Kind.AUDIO_DIFFERS, subject, "another SHA-256")


_WHY = {
    "lease_over": "whose process has been silent for longer than its lease",
    "no_lease": "that no process works on",
    "generation_ended": "that still runs though its generation has ended",
}


async def _all(
    database: Database, page_of: Callable[[Transaction, UUID | None], Awaitable[list[Row]]]
) -> AsyncIterator[Row]:
    last: UUID | None = None
    while True:
        async with database.as_service() as transaction:
            page = await page_of(transaction, last)
        for row in page:
            yield row
            last = row.id
        if not page:
            return


async def _look(objects: ObjectStore, bucket: str, key: str) -> StoredObject | None:
    try:
        info = await objects.head(bucket, key)
    except InvalidKey:
        return None
    return None if info is None else StoredObject(key, info.size, datetime.now(UTC))


async def _digest(objects: ObjectStore, key: str) -> str:
    digest = hashlib.sha256()
    async for piece in objects.read(GENERATIONS, key):
        digest.update(piece)
    return digest.hexdigest()
