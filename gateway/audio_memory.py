"""Where the bytes of running logs lie: in memory up to a budget of the process, what goes beyond it in files.

Such a file has no name, so nothing is left over when this process is killed, and it is mapped: reading is the same
from memory and from disk, and the system may take the pages of a file whenever it needs them. Only reading goes by
the map. A write through it to a disk that is full ends the process (SIGBUS), and for every new page it costs more than
a write to the file, which says so as an error; then the log goes back to memory, over the budget rather than cut.

What a log holds goes back to the system with its last user, a view of it included, and not before: the budget counts
the maps that exist, so that it cannot be wrong about one.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import structlog

BUDGET_BYTES = 128 * 1024 * 1024
"""What a process has unless it is told otherwise: 64 generations of two minutes each, at 128 kbit/s."""

FIRST_CAPACITY_BYTES = 512 * 1024
"""Address space of a new log, half a minute of speech at 128 kbit/s; doubled when full. The system gives a map its
memory page by page, as it is written."""

INCIDENT_SECONDS = 60.0
"""Failures of the disk that follow each other faster than this are one incident and one line in the log."""

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.audio_memory")


class AudioMemory:
    """The budget of one process.

    `budget_bytes` may be 0: all audio lies on disk. `folder` is made when it is first needed; None is the system's for
    temporary files. On a file system that is itself memory (tmpfs), nothing is gained.
    """

    def __init__(
        self,
        budget_bytes: int = BUDGET_BYTES,
        folder: Path | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._budget_bytes = budget_bytes
        self._folder = folder
        self._clock = clock
        self._in_memory: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()
        self._on_disk: weakref.WeakSet[NamelessFile] = weakref.WeakSet()
        self._last_failure: float | None = None

    @property
    def held_bytes(self) -> int:
        """Anonymous memory that is mapped now. Pages not written yet are counted and take none."""
        return sum(len(held) for held in self._in_memory)

    @property
    def spooled_bytes(self) -> int:
        """Size of the files that exist now. What was not written yet is counted and takes no room on the disk."""
        return sum(file.size for file in self._on_disk)

    def buffer(self) -> AudioBuffer:
        """Room for one log."""
        return AudioBuffer(self)

    def area(self, capacity: int) -> Area:
        """Room for `capacity` bytes: in memory while the budget allows, else on disk if that works."""
        if self.held_bytes + capacity <= self._budget_bytes:
            return self.area_in_memory(capacity)
        try:
            file = NamelessFile(self._folder)
            area = AreaOnDisk(file, capacity)
        except OSError as error:
            self.note_disk_failure(error)
            return self.area_in_memory(capacity)
        self._on_disk.add(file)
        return area

    def area_in_memory(self, capacity: int) -> AreaInMemory:
        """The same, whatever the budget says."""
        area = AreaInMemory(capacity)
        self._in_memory.add(area.map)
        return area

    def note_disk_failure(self, error: OSError) -> None:
        """The disk did not take audio. Logged once for each incident: every log beyond the budget will meet it."""
        now = self._clock()
        if self._last_failure is None or now - self._last_failure > INCIDENT_SECONDS:
            _log.warning(
                "audio_memory.disk_failed",
                error=error.strerror,
                folder=str(self._folder or tempfile.gettempdir()),
                held_bytes=self.held_bytes,
                budget_bytes=self._budget_bytes,
            )
        self._last_failure = now


class Area(Protocol):
    """A map of fixed length, and the way to write into it."""

    @property
    def map(self) -> mmap.mmap: ...

    def write(self, position: int, data: bytes | memoryview) -> None:
        """Raises OSError when the disk does not take it; then any part of it may have been written."""

    def larger(self, capacity: int) -> Area | None:
        """The same bytes with more room, None when they have to be copied."""


class AudioBuffer:
    """The bytes of one log in one map, one after the other. They move to a larger map when it is full."""

    def __init__(self, memory: AudioMemory) -> None:
        self._memory = memory
        self._area = memory.area(FIRST_CAPACITY_BYTES)
        self._size = 0

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._size

    def append(self, data: bytes) -> None:
        """Add bytes. What the disk refuses lies in memory afterwards."""
        end = self._size + len(data)
        self._reserve(end)
        try:
            self._area.write(self._size, data)
        except OSError as error:
            self._memory.note_disk_failure(error)
            self._move_to(self._memory.area_in_memory(len(self._area.map)))
            self._area.write(self._size, data)
        self._size = end

    def slice(self, start: int, stop: int) -> bytes:
        """A copy of the bytes `start` (inclusive) to `stop` (exclusive), all of which must exist."""
        return self._area.map[start:stop]

    def view(self) -> memoryview:
        """The bytes so far, not copied. They stay as they are, also when the buffer grows."""
        return memoryview(self._area.map).toreadonly()[: self._size]

    def _reserve(self, size: int) -> None:
        """Make room for `size` bytes, in a new map: one that a view shows cannot be resized."""
        capacity = len(self._area.map)
        while capacity < size:
            capacity *= 2
        if capacity == len(self._area.map):
            return
        try:
            larger = self._area.larger(capacity)
            if larger is None:
                self._move_to(self._memory.area(capacity))
            else:
                self._area = larger
        except OSError as error:
            self._memory.note_disk_failure(error)
            self._move_to(self._memory.area_in_memory(capacity))

    def _move_to(self, area: Area) -> None:
        with self.view() as present:
            area.write(0, present)
        self._area = area


class AreaInMemory:
    """Anonymous memory of this process alone."""

    def __init__(self, capacity: int) -> None:
        self.map = mmap.mmap(-1, capacity, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)

    def write(self, position: int, data: bytes | memoryview) -> None:
        self.map[position : position + len(data)] = data

    def larger(self, _capacity: int) -> None:
        return None


class AreaOnDisk:
    """A file, read by a map that nobody writes through. Raises OSError where the file system does not take it."""

    def __init__(self, file: NamelessFile, capacity: int) -> None:
        self._file = file
        file.extend(capacity)
        self.map = file.map()

    def write(self, position: int, data: bytes | memoryview) -> None:
        self._file.write(position, data)

    def larger(self, capacity: int) -> AreaOnDisk:
        """Another map of the same file: nothing is copied."""
        return AreaOnDisk(self._file, capacity)


class NamelessFile:
    """A temporary file that only this object knows; it is gone with it. Everything here raises OSError."""

    def __init__(self, folder: Path | None) -> None:
        if folder is not None:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - closed with this object
        self._descriptor = file.fileno()
        self._close = weakref.finalize(self, file.close)
        self.size = 0

    def extend(self, size: int) -> None:
        """Make it longer by a hole, which takes no room."""
        os.ftruncate(self._descriptor, size)
        self.size = size

    def map(self) -> mmap.mmap:
        """The whole of it, to be read. It outlives this object."""
        return mmap.mmap(self._descriptor, self.size, access=mmap.ACCESS_READ)

    def write(self, position: int, data: bytes | memoryview) -> None:
        """All of `data`, where a disk that is nearly full takes a part at first."""
        rest = memoryview(data)
        while rest:
            written = os.pwrite(self._descriptor, rest, position)
            position += written
            rest = rest[written:]
