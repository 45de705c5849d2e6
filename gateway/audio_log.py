"""The audio of one generation: append-only, written once, read by any number of listeners from any offset.

A listener is only a position. It holds no bytes of its own, so a slow one costs nothing and delays nobody, and one
that comes late reads exactly what the first one read. Runs on any event loop anyio knows.

The bytes lie in a map of their own (`gateway.audio_memory`), which goes back to the system with the log. On the heap,
where they were before, their thousands of pieces stay between longer-lived ones: after 50 streams the process kept all
20 MB.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from enum import Enum

import anyio

from gateway.audio_memory import AudioMemory
from gateway.turns import Turns
from protocol.errors import ProviderFailure

READ_BYTES = 16 * 1024
"""Most that a listener is handed at once, a second of speech: one that reads slowly shows that it does read."""

MAX_TAPS = 2
"""Listeners that are given a piece in the call that brings it; all others take turns. A write takes some 50 us, in
which nobody else is served."""


class LogState(Enum):
    """OPEN while the provider speaks; COMPLETE and FAILED are final."""

    OPEN = "open"
    COMPLETE = "complete"
    FAILED = "failed"


class OffsetPastEnd(Exception):
    """A listener asked to start behind the last byte of a finished log. `size` is the log's length in bytes."""

    def __init__(self, size: int) -> None:
        self.size = size
        super().__init__(f"offset is past the end of {size} bytes")


class AudioLog:
    """Bytes in arrival order, with a running SHA-256 and one terminal state.

    `memory` says where they lie; by default the log has a budget for itself.
    """

    def __init__(self, memory: AudioMemory | None = None) -> None:
        self._bytes = (memory or AudioMemory()).buffer()
        self._digest = hashlib.sha256()
        self._state = LogState.OPEN
        self._failure: ProviderFailure | None = None
        self._turns = Turns()
        self._taps: list[_Tap] = []

    @property
    def state(self) -> LogState:
        return self._state

    @property
    def failure(self) -> ProviderFailure | None:
        """Why the log is FAILED, else None."""
        return self._failure

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._bytes.size

    @property
    def sha256(self) -> str:
        """Hex digest of the bytes so far."""
        return self._digest.hexdigest()

    def append(self, data: bytes) -> None:
        """Add bytes and wake the listeners. Raises RuntimeError on a log that has ended."""
        self._require_open()
        if not data:
            return
        self._bytes.append(data)
        for tap in tuple(self._taps):
            tap.offer(data)
        self._digest.update(data)
        self._turns.changed()

    def complete(self) -> None:
        """The provider finished. Raises RuntimeError on a log that has ended."""
        self._require_open()
        self._end(LogState.COMPLETE)

    def fail(self, failure: ProviderFailure) -> None:
        """No more audio will come. Raises RuntimeError on a log that has ended."""
        self._require_open()
        self._failure = _anew(failure)
        self._end(LogState.FAILED)

    async def wait_for(self, offset: int) -> None:
        """Return when a byte at `offset` exists, or the log is complete and ends exactly there.

        Raises:
            ProviderFailure: the log failed before that byte came.
            OffsetPastEnd: the log is complete and shorter than `offset`.
        """
        while self.size <= offset and self._state is LogState.OPEN:
            await self._turns.change()
        if self.size > offset:
            return
        if self._failure is not None:
            raise _anew(self._failure)
        if self.size < offset:
            raise OffsetPastEnd(self.size)

    async def read(self, offset: int = 0, push: Callable[[bytes], bool] | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes from `offset` on as they come, at most `READ_BYTES` at once; end when the log completes.

        A listener at the live end is given each new piece by `push` instead, if it has one: where `append` is called,
        without a wake-up, until that returns False.

        Raises the same as `wait_for`, a `ProviderFailure` only after the last byte that exists.
        """
        while True:
            if offset < self.size:
                await self._turns.turn()  # one who catches up need not wait, and would keep all others from running
            else:
                if push is not None and offset == self.size and self._has_room_for_a_tap:
                    offset = await self._pushed(offset, push)
                await self.wait_for(offset)
            if offset == self.size:
                return
            piece = self.slice(offset, min(offset + READ_BYTES, self.size))
            offset += len(piece)
            yield piece

    @property
    def _has_room_for_a_tap(self) -> bool:
        return self._state is LogState.OPEN and len(self._taps) < MAX_TAPS

    async def _pushed(self, offset: int, push: Callable[[bytes], bool]) -> int:
        """Give `push` what comes while it takes it. Where it stopped."""
        tap = _Tap(offset, push)
        self._taps.append(tap)
        try:
            await tap.shut.wait()
        finally:
            self._taps.remove(tap)
        return tap.offset

    def slice(self, start: int, stop: int) -> bytes:
        """A copy of the bytes `start` (inclusive) to `stop` (exclusive), all of which must exist."""
        if not 0 <= start <= stop <= self.size:
            raise ValueError(f"{start} to {stop} is not within {self.size} bytes")
        return self._bytes.slice(start, stop)

    def view(self) -> memoryview:
        """The bytes so far, not copied. They stay as they are, also when the log grows."""
        return self._bytes.view()

    def _end(self, state: LogState) -> None:
        self._state = state
        for tap in self._taps:
            tap.shut.set()
        self._turns.changed()

    def _require_open(self) -> None:
        if self._state is not LogState.OPEN:
            raise RuntimeError(f"the log is {self._state.value}")


class _Tap:
    """A listener at the live end. `offset` is where it is; nothing more is offered once `shut` is set."""

    def __init__(self, offset: int, push: Callable[[bytes], bool]) -> None:
        self.offset = offset
        self.shut = anyio.Event()
        self._push = push

    def offer(self, data: bytes) -> None:
        """Push `data`, which begins at `offset`. What is too large for one hand is for the reader to cut up."""
        if self.shut.is_set():
            return
        if len(data) <= READ_BYTES and self._push(data):
            self.offset += len(data)
        else:
            self.shut.set()


def _anew(failure: ProviderFailure) -> ProviderFailure:
    """The same, never raised. One that was raised keeps the frames it passed, these keep the log, and the audio would
    stay in memory until the garbage collector comes by."""
    return ProviderFailure(
        failure.fault, failure.vendor, session_id=failure.session_id, last_event_id=failure.last_event_id
    )
