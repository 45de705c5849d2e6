"""Finished audio that could not be stored yet, on a disk of this machine (product section 11).

Each process has a folder of its own below the spool, locked while it lives; what lies in an unlocked one was left by a
process that died, and whoever locks it next may have it. An entry is the audio and a note that says where it belongs.
The note is written last and by a rename, so an entry is whole or not there.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import msgspec

from schema.records import Completion

LOCK = "lock"

NOTE_SUFFIX = ".json"


class SpoolUnavailable(Exception):
    """The spool's disk did not take the audio: full, missing or not writable."""


class SpooledAudio(msgspec.Struct, frozen=True, kw_only=True):
    """One entry. `epoch` is the attempt that made it, `spooled_at` in seconds since 1970."""

    owner: UUID
    epoch: int
    spooled_at: float
    done: Completion


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry and where its audio lies."""

    note: SpooledAudio
    audio: Path

    @property
    def task_id(self) -> UUID:
        return self.note.done.task_id


class SpoolFolder:
    """The folder of one process, which holds its lock. All methods block, for as long as a disk takes."""

    def __init__(self, path: Path, lock: int) -> None:
        self._path = path
        self._lock = lock

    @classmethod
    def create(cls, spool: Path, instance: UUID) -> SpoolFolder:
        """A new one. Raises `SpoolUnavailable`."""
        path, unborn = spool / str(instance), spool / f".{instance}"
        with _on_disk():
            unborn.mkdir(parents=True)
            lock = _lock(unborn)
            unborn.rename(path)  # nobody sees it without its lock
        if lock is None:
            raise SpoolUnavailable(f"{path} is another process's")
        return cls(path, lock)

    @staticmethod
    def all_entries(spool: Path) -> list[Entry]:
        """Those of every process, living or dead, to look at only. Raises `SpoolUnavailable`."""
        with _on_disk():
            notes = [(path, _read_note(path)) for path in spool.glob(f"[!.]*/*{NOTE_SUFFIX}")]
        return [Entry(note, path.with_suffix(".mp3")) for path, note in notes]

    @classmethod
    def abandoned(cls, spool: Path) -> list[SpoolFolder]:
        """Those of dead processes, locked by this one now. Raises `SpoolUnavailable`."""
        found = []
        with _on_disk():
            for path in sorted(spool.glob("[!.]*/")) if spool.exists() else []:
                lock = _lock(path)
                if lock is not None:
                    found.append(cls(path, lock))
        return found

    def put(self, note: SpooledAudio, audio: bytes | memoryview) -> Entry:
        """Keep `audio`, on the disk and not only on its way there. Raises `SpoolUnavailable`; then nothing is left."""
        entry = self._entry(note)
        with _on_disk():
            try:
                _write(entry.audio, audio)
                _write(entry.audio.with_suffix(NOTE_SUFFIX), msgspec.json.encode(note))
            except OSError:
                self._forget(entry)
                raise
        return entry

    def entries(self) -> list[Entry]:
        """All whole ones, the oldest first. Raises `SpoolUnavailable`."""
        with _on_disk():
            notes = [_read_note(path) for path in self._path.glob(f"*{NOTE_SUFFIX}")]
        return sorted((self._entry(note) for note in notes), key=lambda entry: entry.note.spooled_at)

    def take(self, entry: Entry) -> Entry:
        """Move an entry of another folder here. Raises `SpoolUnavailable`."""
        mine = self._entry(entry.note)
        with _on_disk():
            entry.audio.rename(mine.audio)
            entry.audio.with_suffix(NOTE_SUFFIX).rename(mine.audio.with_suffix(NOTE_SUFFIX))
        return mine

    def remove(self, entry: Entry) -> None:
        """Forget it. Raises `SpoolUnavailable`."""
        with _on_disk():
            self._forget(entry)

    def close(self) -> None:
        """Let go. What is left in it waits for another process; an empty one is removed."""
        try:
            with _on_disk():
                if not any(self._path.glob(f"*{NOTE_SUFFIX}")):
                    shutil.rmtree(self._path)
        finally:
            os.close(self._lock)

    def _entry(self, note: SpooledAudio) -> Entry:
        return Entry(note, self._path / f"{note.done.task_id}.mp3")

    def _forget(self, entry: Entry) -> None:
        entry.audio.with_suffix(NOTE_SUFFIX).unlink(missing_ok=True)
        entry.audio.unlink(missing_ok=True)


def _lock(folder: Path) -> int | None:
    """A descriptor that holds the folder's lock as long as it is open; None when another one does."""
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _write(path: Path, content: bytes | memoryview) -> None:
    unfinished = path.with_name(f".{path.name}")
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)


def _read_note(path: Path) -> SpooledAudio:
    try:
        return msgspec.json.decode(path.read_bytes(), type=SpooledAudio)
    except msgspec.DecodeError as error:
        raise SpoolUnavailable(f"{path} is not a note of the spool; move it away") from error


@contextmanager
def _on_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SpoolUnavailable(f"the spool failed: {error.strerror or type(error).__name__}") from error
