"""Finished audio outlives a store or a database that is away: it waits on disk until it can land (product section 11).

What this process spooled stays its own: the lease says so, and is long. What a dead process left is adopted by whoever
finds its folder unlocked, unless somebody has begun the task anew meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from uuid import UUID

import anyio
import anyio.to_thread
import structlog

from gateway.leases import Holding, LeaseKeeper
from gateway.running import GenerationOrder
from schema.records import Completion
from storage import generations, leases
from storage.audio_spool import Entry, SpooledAudio, SpoolFolder, SpoolUnavailable
from storage.database import Database, DatabaseUnavailable, UnknownUser
from storage.errors import LeaseLost
from storage.objects import GENERATIONS, ObjectMissing, ObjectStore, ObjectStoreUnavailable

SPOOLED_SECONDS = 24 * 3600.0
"""How long audio waits for its store, and how long nobody else may make it again: an outage that lasts longer is found
by people first."""

PIECE_BYTES = 64 * 1024
"""How spooled audio is handed to a socket: large enough to be few reads, small enough to see a stall early."""

NEVER_STORED = "The audio was made but could not be stored. Please generate it again."

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.spool")


@dataclass(eq=False)
class _Waiting:
    entry: Entry
    folder: SpoolFolder
    holding: Holding
    marked: bool = False


@dataclass
class AudioSpool:
    """One for the process; `open_audio_spool` makes it. `land` and `adopt` are chores of the sweeper."""

    path: Path
    database: Database
    objects: ObjectStore
    keeper: LeaseKeeper
    _folder: SpoolFolder | None = None
    _creating: anyio.Lock = field(default_factory=anyio.Lock)
    _waiting: dict[UUID, _Waiting] = field(default_factory=dict)

    def get(self, generation_id: UUID) -> Entry | None:
        """The entry of a generation that waits here. Check that it is the caller's (`note.owner`) before using it."""
        waiting = self._waiting.get(generation_id)
        return None if waiting is None else waiting.entry

    async def read(self, entry: Entry, start: int, stop: int) -> AsyncIterator[bytes]:
        """The bytes from `start` to before `stop`. They can be read to their end also when it lands meanwhile.

        Raises `ObjectMissing` when it landed before.
        """
        try:
            file = await anyio.open_file(entry.audio, "rb")
        except FileNotFoundError as error:
            raise ObjectMissing("the audio is not in the spool any more") from error
        async with file:
            await file.seek(start)
            while start < stop and (piece := await file.read(min(PIECE_BYTES, stop - start))):
                start += len(piece)
                yield piece

    async def keep(self, order: GenerationOrder, done: Completion, audio: memoryview) -> None:
        """Write it down; from now on it is this module's to land. Raises `SpoolUnavailable`."""
        note = SpooledAudio(owner=order.owner, epoch=order.epoch, spooled_at=time.time(), done=done)
        folder = await self._own_folder()
        entry = await anyio.to_thread.run_sync(folder.put, note, audio)
        waiting = self._watch(entry, folder)
        _log.warning("spool.kept", **_ids(entry), audio_bytes=done.audio_bytes)
        await self._mark(waiting)

    async def land(self) -> None:
        """Store what waits, if that is possible now."""
        for waiting in list(self._waiting.values()):
            try:
                await self._land(waiting)
            except (DatabaseUnavailable, ObjectStoreUnavailable, SpoolUnavailable) as error:
                _log.info("spool.still_waiting", **_ids(waiting.entry), error=type(error).__name__)

    async def adopt(self) -> None:
        """Take what dead processes left on this machine. Raises `SpoolUnavailable`."""
        abandoned = await anyio.to_thread.run_sync(SpoolFolder.abandoned, self.path)
        try:
            for left in abandoned:
                await self._adopt_all(left)
        finally:
            # Also when the sweeper is stopped here: a lock that stays would keep everybody from the audio.
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(_close, abandoned)

    async def _adopt_all(self, left: SpoolFolder) -> None:
        try:
            for entry in await anyio.to_thread.run_sync(left.entries):
                await self._adopt(left, entry)
        except DatabaseUnavailable as error:
            _log.warning("spool.not_adopted", error=str(error))

    async def aclose(self) -> None:
        """Leave what waits to the next process."""
        for waiting in self._waiting.values():
            self.keeper.release(waiting.holding)
        if self._folder is not None:
            await anyio.to_thread.run_sync(self._folder.close)

    async def _own_folder(self) -> SpoolFolder:
        async with self._creating:
            if self._folder is None:
                create = partial(SpoolFolder.create, self.path, self.keeper.instance.id)
                self._folder = await anyio.to_thread.run_sync(create)
            return self._folder

    def _watch(self, entry: Entry, folder: SpoolFolder) -> _Waiting:
        waiting = _Waiting(entry, folder, Holding(entry.task_id))
        self._waiting[entry.note.done.generation_id] = waiting
        self.keeper.hold(waiting.holding)
        return waiting

    async def _adopt(self, left: SpoolFolder, entry: Entry) -> None:
        holding = Holding(entry.task_id)
        with self.keeper.held(holding):
            async with self.database.as_service() as transaction:
                wanted = await leases.adopt_spooled(
                    transaction,
                    entry.task_id,
                    entry.note.epoch,
                    self.keeper.instance.id,
                    seconds=SPOOLED_SECONDS,
                )
            if not wanted:  # it ended, or somebody makes it anew
                _log.warning("spool.not_wanted_any_more", **_ids(entry))
                await anyio.to_thread.run_sync(left.remove, entry)
                return
            folder = await self._own_folder()
            mine = await anyio.to_thread.run_sync(folder.take, entry)
            self._watch(mine, folder).marked = True
        _log.warning("spool.adopted", **_ids(mine))

    async def _mark(self, waiting: _Waiting) -> None:
        """Tell the database. Where it is away the lease is kept as any other, and told when it is back."""
        entry = waiting.entry
        try:
            async with self.database.as_service() as transaction:
                await leases.mark_spooled(transaction, entry.task_id, entry.note.epoch, seconds=SPOOLED_SECONDS)
        except DatabaseUnavailable:
            return
        waiting.marked = True

    async def _land(self, waiting: _Waiting) -> None:
        if not waiting.marked:
            await self._mark(waiting)
        entry, done = waiting.entry, waiting.entry.note.done
        if time.time() - entry.note.spooled_at > SPOOLED_SECONDS:
            await self._end(waiting, "spool.given_up")
            return
        audio = await anyio.Path(entry.audio).read_bytes()
        await self.objects.put(GENERATIONS, done.object_key, audio, content_type="audio/mpeg")
        try:
            async with self.database.as_service() as transaction:
                await leases.hold(transaction, entry.task_id, entry.note.epoch)
                completed = await generations.complete_generation(transaction, done)
        except LeaseLost:
            completed = False
        if not completed:
            # Cancelled, deleted or made anew meanwhile: rows that are completed point to this very object, and no
            # others do.
            await self._discard_unless_completed(entry)
        await self._forget(waiting)
        _log.info("spool.landed" if completed else "spool.not_wanted_any_more", **_ids(entry))

    async def _end(self, waiting: _Waiting, event: str) -> None:
        entry, done = waiting.entry, waiting.entry.note.done
        try:
            async with self.database.as_service() as transaction:
                await leases.hold(transaction, entry.task_id, entry.note.epoch)
                await generations.fail_generation(transaction, done.generation_id, entry.task_id, NEVER_STORED)
        except LeaseLost:
            pass  # whoever makes it anew ends it
        await self._forget(waiting)
        _log.error(event, **_ids(entry))

    async def _discard_unless_completed(self, entry: Entry) -> None:
        done = entry.note.done
        try:
            async with self.database.as_user(entry.note.owner) as transaction:
                row = await generations.get_generation(transaction, entry.note.owner, done.generation_id)
        except UnknownUser:  # the rows went with their user
            row = None
        if row is None or row.audio_object_key != done.object_key:
            await self.objects.delete(GENERATIONS, done.object_key)

    async def _forget(self, waiting: _Waiting) -> None:
        await anyio.to_thread.run_sync(waiting.folder.remove, waiting.entry)
        del self._waiting[waiting.entry.note.done.generation_id]
        self.keeper.release(waiting.holding)


@asynccontextmanager
async def open_audio_spool(
    path: Path, database: Database, objects: ObjectStore, keeper: LeaseKeeper
) -> AsyncIterator[AudioSpool]:
    """For the time of the block."""
    spool = AudioSpool(path, database, objects, keeper)
    try:
        yield spool
    finally:
        with anyio.CancelScope(shield=True):
            await spool.aclose()


def _close(folders: Sequence[SpoolFolder]) -> None:
    with ExitStack() as closing:
        for folder in folders:
            closing.callback(folder.close)


def _ids(entry: Entry) -> dict[str, str]:
    return {"task_id": str(entry.task_id), "generation_id": str(entry.note.done.generation_id)}
