"""The budget of the audio in memory: what goes beyond it lies on disk, and nobody hears the difference."""

from __future__ import annotations

import gc
import mmap
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from gateway import audio_memory
from gateway.audio_log import AudioLog, LogState
from gateway.audio_memory import FIRST_CAPACITY_BYTES, INCIDENT_SECONDS, AreaInMemory, AudioMemory
from protocol.errors import Fault, ProviderFailure

FIRST = FIRST_CAPACITY_BYTES
SMALL = mmap.PAGESIZE
PIECE = bytes(range(256)) * 64


def fill(log: AudioLog, size: int) -> bytes:
    """Append so many bytes; gives them."""
    audio = (PIECE * (size // len(PIECE) + 1))[:size]
    for start in range(0, size, len(PIECE)):
        log.append(audio[start : start + len(PIECE)])
    return audio


def map_of(log: AudioLog) -> int | None:
    """What the log's map takes of the budget, None when it lies on disk."""
    area = log._bytes._area
    return len(area.map) if isinstance(area, AreaInMemory) else None


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a listing of descriptors, not of files


@contextmanager
def full_disk(largest_file_bytes: int) -> Iterator[None]:
    """No file can become longer in the body: the kernel takes a part of a write and refuses the rest."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class TestBudget:
    def test_within_it_everything_is_in_memory(self, tmp_path: Path) -> None:
        memory = AudioMemory(3 * FIRST, tmp_path / "spool")
        log = AudioLog(memory)
        audio = fill(log, FIRST + 1)
        assert (memory.held_bytes, memory.spooled_bytes) == (2 * FIRST, 0)
        assert log.view() == audio
        assert not (tmp_path / "spool").exists()

    def test_a_log_beyond_it_lies_on_disk_from_the_start(self, tmp_path: Path) -> None:
        memory = AudioMemory(FIRST, tmp_path)
        first, second = AudioLog(memory), AudioLog(memory)
        audio = fill(second, 3 * FIRST)
        assert (memory.held_bytes, memory.spooled_bytes) == (FIRST, 4 * FIRST)
        assert second.view() == audio
        assert second.slice(FIRST - 3, FIRST + 3) == audio[FIRST - 3 : FIRST + 3]
        assert list(tmp_path.iterdir()) == [], "a name that a killed process would leave behind"
        assert first.size == 0

    def test_a_log_that_outgrows_it_moves_and_what_was_read_stays(self, tmp_path: Path) -> None:
        memory = AudioMemory(2 * FIRST, tmp_path)
        log = AudioLog(memory)
        before = fill(log, FIRST)
        seen = log.view()
        after = fill(log, 1)
        assert (memory.held_bytes, memory.spooled_bytes) == (FIRST, 2 * FIRST), "the view still shows the old map"
        assert seen == before
        assert log.view() == before + after
        seen.release()
        assert memory.held_bytes == 0

    def test_the_next_log_has_the_memory_of_one_that_is_gone(self, tmp_path: Path) -> None:
        memory = AudioMemory(FIRST, tmp_path)
        log = AudioLog(memory)
        log = AudioLog(memory)
        assert map_of(log) is None, "the first one was still there"
        log = AudioLog(memory)
        assert map_of(log) == FIRST

    def test_nothing_is_left_of_files_that_are_gone(self, tmp_path: Path) -> None:
        memory = AudioMemory(0, tmp_path)
        before = open_files()
        logs = [AudioLog(memory) for _ in range(5)]
        fill(logs[0], 3 * FIRST)
        assert memory.spooled_bytes == 8 * FIRST
        assert open_files() == before + 2 * len(logs), "one of the file, one of its map"
        view = logs[0].view()
        del logs
        assert memory.spooled_bytes == 0
        view.release()
        assert open_files() == before

    def test_without_a_folder_it_is_that_of_the_system(self) -> None:
        memory = AudioMemory(0)
        log = AudioLog(memory)
        audio = fill(log, 100)
        assert log.view() == audio
        assert memory.spooled_bytes == FIRST


class TestDiskFailures:
    def test_a_folder_that_cannot_be_made_costs_no_audio(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        memory = AudioMemory(0, tmp_path / "file" / "spool")
        log = AudioLog(memory)
        audio = fill(log, 2 * FIRST)
        assert log.view() == audio
        assert (memory.held_bytes, memory.spooled_bytes) == (2 * FIRST, 0)

    def test_a_disk_that_is_full_at_a_write_costs_no_audio(self, tmp_path: Path) -> None:
        memory = AudioMemory(0, tmp_path)
        log = AudioLog(memory)
        audio = fill(log, 10_000)
        with full_disk(15_000):
            audio += fill(log, 10_000)
        assert log.view() == audio
        assert (memory.held_bytes, memory.spooled_bytes) == (FIRST, 0)

    def test_a_disk_that_is_full_when_a_file_grows_costs_no_audio(self, tmp_path: Path) -> None:
        memory = AudioMemory(0, tmp_path)
        log = AudioLog(memory)
        audio = fill(log, FIRST)
        with full_disk(FIRST):
            audio += fill(log, 1)
        assert log.view() == audio
        assert (memory.held_bytes, memory.spooled_bytes) == (2 * FIRST, 0)

    def test_a_disk_that_is_full_when_a_log_moves_there_costs_no_audio(self, tmp_path: Path) -> None:
        memory = AudioMemory(FIRST, tmp_path)
        log = AudioLog(memory)
        audio = fill(log, FIRST)
        with full_disk(2 * FIRST - 1):
            audio += fill(log, 1)
        assert log.view() == audio
        assert (memory.held_bytes, memory.spooled_bytes) == (2 * FIRST, 0)

    def test_an_incident_is_one_line(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        now = 1000.0
        memory = AudioMemory(0, tmp_path / "file", clock=lambda: now)
        with structlog.testing.capture_logs() as lines:
            for _ in range(3):
                AudioLog(memory)
                now += INCIDENT_SECONDS
            assert len(lines) == 1
            now += 1
            AudioLog(memory)
        assert [line["event"] for line in lines] == ["audio_memory.disk_failed"] * 2
        assert lines[0]["error"] == "File exists"
        assert lines[0]["folder"] == str(tmp_path / "file")


class Logs(RuleBasedStateMachine):
    """Logs that grow, end, are shown and forgotten in any order, on a small budget and a disk that may be full."""

    logs: Bundle[int] = Bundle("logs")
    views: Bundle[int] = Bundle("views")

    def __init__(self) -> None:
        super().__init__()
        gc.disable()  # what needs it must show
        self._first = audio_memory.FIRST_CAPACITY_BYTES
        audio_memory.FIRST_CAPACITY_BYTES = SMALL  # half a megabyte at each step would take a minute
        self._count = 0
        self._log: dict[int, AudioLog] = {}
        self._audio: dict[int, bytes] = {}
        self._view: dict[int, tuple[memoryview, int, int, bytes]] = {}

    @initialize(firsts=st.integers(0, 6), works=st.booleans())
    def begin(self, firsts: int, works: bool) -> None:
        self._budget = firsts * SMALL
        self._works = works
        self._memory = AudioMemory(self._budget, None if works else Path("/dev/null/spool"))

    @rule(target=logs)
    def open(self) -> int:
        self._count += 1
        self._log[self._count], self._audio[self._count] = AudioLog(self._memory), b""
        return self._count

    @rule(log=logs, size=st.sampled_from([0, 1, SMALL - 1, SMALL, SMALL + 1, 5 * SMALL]))
    def append(self, log: int, size: int) -> None:
        if self._log[log].state is LogState.OPEN:
            self._audio[log] += fill(self._log[log], size)
        else:
            with pytest.raises(RuntimeError):
                self._log[log].append(b"x")

    @rule(log=logs)
    def fail(self, log: int) -> None:
        if self._log[log].state is LogState.OPEN:
            self._log[log].fail(ProviderFailure(Fault.CANCELLED))

    @rule(target=views, log=logs)
    def show(self, log: int) -> int:
        self._count += 1
        shown = self._log[log]._bytes._area.map
        self._view[self._count] = self._log[log].view(), id(shown), len(shown), self._audio[log]
        return self._count

    @rule(view=consumes(views))
    def hide(self, view: int) -> None:
        self._view.pop(view)

    @rule(log=consumes(logs))
    def forget(self, log: int) -> None:
        self._log.pop(log)
        self._audio.pop(log)

    @invariant()
    def everything_reads_as_it_was_written(self) -> None:
        for number, log in self._log.items():
            assert log.view() == self._audio[number]
        assert all(view == audio for view, _, _, audio in self._view.values())

    @invariant()
    def the_count_is_what_is_mapped(self) -> None:
        if not hasattr(self, "_memory"):
            return
        held = {id(log._bytes._area.map): map_of(log) or 0 for log in self._log.values()}
        shown = {number: size for _, number, size, _ in self._view.values() if number in self._anonymous()}
        assert self._memory.held_bytes == sum({**shown, **held}.values())
        assert not self._works or self._memory.held_bytes <= self._budget

    def _anonymous(self) -> set[int]:
        return {id(found) for found in self._memory._in_memory}

    def teardown(self) -> None:
        self._view.clear()
        self._log.clear()
        gc.enable()
        audio_memory.FIRST_CAPACITY_BYTES = self._first
        assert (self._memory.held_bytes, self._memory.spooled_bytes) == (0, 0)


TestLogs = Logs.TestCase
