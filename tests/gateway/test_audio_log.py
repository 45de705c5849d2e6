"""The audio log: every listener reads the same bytes, from any offset, at any time."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import TaskGroup
from hypothesis import given
from hypothesis import strategies as st

from gateway.audio_log import MAX_TAPS, READ_BYTES, AudioLog, LogState, OffsetPastEnd
from gateway.audio_memory import FIRST_CAPACITY_BYTES
from protocol.errors import Fault, ProviderFailure
from tests.support.backends import BACKENDS

pytestmark = pytest.mark.anyio


@pytest.fixture(params=BACKENDS, ids=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


async def read_all(log: AudioLog, offset: int = 0) -> bytes:
    return b"".join([piece async for piece in log.read(offset)])


async def test_listeners_that_come_at_any_time_read_the_same_bytes() -> None:
    log = AudioLog()
    heard: dict[str, bytes] = {}

    async def listen(name: str, offset: int) -> None:
        heard[name] = await read_all(log, offset)

    async with anyio.create_task_group() as listeners:
        listeners.start_soon(listen, "first", 0)
        await anyio.wait_all_tasks_blocked()
        log.append(b"abc")
        listeners.start_soon(listen, "in the middle", 0)
        listeners.start_soon(listen, "resumed at the live end", 3)
        await anyio.wait_all_tasks_blocked()
        log.append(b"defg")
        log.complete()
    heard["after the end"] = await read_all(log)
    assert heard == {
        "first": b"abcdefg",
        "in the middle": b"abcdefg",
        "resumed at the live end": b"defg",
        "after the end": b"abcdefg",
    }


async def test_a_failure_comes_after_the_last_byte() -> None:
    log = AudioLog()
    log.append(b"abc")
    log.fail(ProviderFailure(Fault.CONNECTION_LOST))
    heard = bytearray()
    with pytest.raises(ProviderFailure) as failure:
        async for piece in log.read():
            heard += piece
    assert heard == b"abc"
    assert failure.value.fault is Fault.CONNECTION_LOST


async def test_waiting_for_a_first_byte_that_never_comes_raises_the_reason() -> None:
    log = AudioLog()

    async def wait() -> None:
        with pytest.raises(ProviderFailure, match="no_audio"):
            await log.wait_for(0)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        log.fail(ProviderFailure(Fault.NO_AUDIO))
    await wait()


async def test_an_offset_past_the_end_is_told_the_size() -> None:
    log = AudioLog()
    log.append(b"abc")
    log.complete()
    await log.wait_for(3)
    assert await read_all(log, 3) == b""
    with pytest.raises(OffsetPastEnd) as past:
        await log.wait_for(4)
    assert past.value.size == 3


async def test_a_waiting_listener_past_the_end_is_woken_by_completion() -> None:
    log = AudioLog()
    outcome: list[str] = []

    async def wait() -> None:
        try:
            await log.wait_for(100)
        except OffsetPastEnd as past:
            outcome.append(f"past {past.size}")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        log.append(b"abc")
        await anyio.wait_all_tasks_blocked()
        log.complete()
    assert outcome == ["past 3"]


@pytest.mark.parametrize("end", ["complete", "fail"])
async def test_an_ended_log_refuses_every_change(end: str) -> None:
    log = AudioLog()
    log.append(b"abc")
    if end == "complete":
        log.complete()
    else:
        log.fail(ProviderFailure(Fault.CANCELLED))
    state = log.state
    changes: list[Callable[[], None]] = [
        lambda: log.append(b"x"),
        log.complete,
        lambda: log.fail(ProviderFailure(Fault.UNKNOWN)),
    ]
    for change in changes:
        with pytest.raises(RuntimeError, match=state.value):
            change()
    assert (log.size, log.state) == (3, state)


async def test_an_empty_append_is_no_piece() -> None:
    log = AudioLog()
    log.append(b"")
    assert log.size == 0
    assert log.state is LogState.OPEN


@st.composite
def pieces_and_range(draw: st.DrawFn) -> tuple[list[bytes], int, int]:
    """Pieces, and two offsets in what they make together.

    Not drawn in the test: Hypothesis leaves an example by an exception (`StopTest`), which anyio's runner forgets in a
    task; the report of that, whenever the garbage collector gets there, has failed imports by pytest's rewriter with
    a SystemError (CPython gh-106905).
    """
    pieces = draw(st.lists(st.binary(min_size=1, max_size=9), min_size=1))
    start = draw(st.integers(0, len(b"".join(pieces))))
    return pieces, start, draw(st.integers(start, len(b"".join(pieces))))


@given(pieces_and_range())
async def test_every_slice_and_offset_agrees_with_the_joined_bytes(case: tuple[list[bytes], int, int]) -> None:
    pieces, start, stop = case
    whole = b"".join(pieces)
    log = AudioLog()
    for piece in pieces:
        log.append(piece)
    log.complete()
    assert log.slice(start, stop) == log.view()[start:stop] == whole[start:stop]
    assert await read_all(log, start) == whole[start:]
    assert log.sha256 == hashlib.sha256(whole).hexdigest()


async def test_a_long_log_reads_the_same_while_it_grows() -> None:
    log = AudioLog()
    whole = bytearray()
    views: list[tuple[memoryview, bytes]] = []
    heard = bytearray()

    async def listen() -> None:
        async for piece in log.read():
            heard.extend(piece)

    async with anyio.create_task_group() as listeners:
        listeners.start_soon(listen)
        while len(whole) < 5 * FIRST_CAPACITY_BYTES:
            piece = bytes([len(views)]) * (FIRST_CAPACITY_BYTES // 2 + 1)
            log.append(piece)
            whole += piece
            views.append((log.view(), bytes(whole)))
            await anyio.wait_all_tasks_blocked()
            assert heard == whole
        log.complete()
    assert all(view == then for view, then in views), "what somebody is still storing changed"
    assert log.slice(FIRST_CAPACITY_BYTES - 9, FIRST_CAPACITY_BYTES + 9) == whole[FIRST_CAPACITY_BYTES - 9 :][:18]
    assert log.sha256 == hashlib.sha256(whole).hexdigest()


async def test_a_listener_that_comes_late_is_not_handed_everything_at_once() -> None:
    log = AudioLog()
    log.append(bytes(READ_BYTES * 2 + 1))
    log.complete()
    assert [len(piece) async for piece in log.read()] == [READ_BYTES, READ_BYTES, 1]


async def test_a_view_cannot_change_what_others_hear() -> None:
    log = AudioLog()
    log.append(b"abc")
    with pytest.raises(TypeError, match="read-only"):
        log.view()[0] = 0


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (2, 1), (0, 4)])
async def test_a_slice_outside_the_log_is_refused(start: int, stop: int) -> None:
    log = AudioLog()
    log.append(b"abc")
    with pytest.raises(ValueError, match="not within 3 bytes"):
        log.slice(start, stop)


class Listener:
    """One that takes pushed pieces as long as `takes` says so; `heard` is all it got, `pushed` how much in that way."""

    def __init__(self, log: AudioLog, takes: Callable[[], bool] = lambda: True, offset: int = 0) -> None:
        self._log = log
        self._offset = offset
        self._takes = takes
        self.heard = bytearray()
        self.pushed = 0

    def push(self, piece: bytes) -> bool:
        if not self._takes():
            return False
        self.heard += piece
        self.pushed += len(piece)
        return True

    async def listen(self) -> None:
        async for piece in self._log.read(self._offset, self.push):
            self.heard += piece


@asynccontextmanager
async def listening(*listeners: Listener) -> AsyncIterator[TaskGroup]:
    """Those listeners are at the live end."""
    async with anyio.create_task_group() as tasks:
        for listener in listeners:
            tasks.start_soon(listener.listen)
        await anyio.wait_all_tasks_blocked()
        yield tasks


async def test_a_listener_at_the_live_end_has_a_piece_before_append_returns() -> None:
    log = AudioLog()
    log.append(b"abc")
    listener = Listener(log)
    async with listening(listener):
        assert (bytes(listener.heard), listener.pushed) == (b"abc", 0)
        log.append(b"defg")
        assert (bytes(listener.heard), listener.pushed) == (b"abcdefg", 4)
        log.append(b"h")
        log.complete()
    assert (bytes(listener.heard), listener.pushed) == (b"abcdefgh", 5)


async def test_one_that_cannot_take_a_piece_reads_it_and_is_pushed_the_next() -> None:
    log = AudioLog()
    answers = iter([True, False, True])
    listener = Listener(log, lambda: next(answers))
    async with listening(listener):
        log.append(b"ab")
        log.append(b"cd")
        log.append(b"ef")
        assert bytes(listener.heard) == b"ab"
        await anyio.wait_all_tasks_blocked()
        assert bytes(listener.heard) == b"abcdef"
        log.append(b"gh")
        log.complete()
    assert (bytes(listener.heard), listener.pushed) == (b"abcdefgh", 4)


async def test_a_piece_too_large_for_one_hand_is_cut_up() -> None:
    log, whole = AudioLog(), bytes(2 * READ_BYTES + 1)
    listener = Listener(log)
    async with listening(listener):
        log.append(whole)
        log.complete()
    assert (bytes(listener.heard), listener.pushed) == (whole, 0)


async def test_no_more_than_a_few_are_served_in_one_call() -> None:
    log = AudioLog()
    crowd = [Listener(log) for _ in range(MAX_TAPS + 2)]
    async with listening(*crowd):
        log.append(b"abc")
        assert sorted(bytes(one.heard) for one in crowd) == [b"", b"", *[b"abc"] * MAX_TAPS]  # trio begins in any order
        log.complete()
    assert {bytes(one.heard) for one in crowd} == {b"abc"}


async def test_the_place_of_one_that_left_is_free_again() -> None:
    log = AudioLog()
    async with listening(*(Listener(log) for _ in range(MAX_TAPS))) as tasks:
        tasks.cancel_scope.cancel()
    listener = Listener(log)
    async with listening(listener):
        log.append(b"abc")
        assert listener.pushed == 3
        log.complete()


async def test_one_who_waits_past_the_end_is_pushed_nothing() -> None:
    log = AudioLog()
    listener = Listener(log, offset=2)
    with pytest.raises(ExceptionGroup) as failures:
        async with listening(listener):
            log.append(b"a")
            log.complete()
    assert [type(failure) for failure in failures.value.exceptions] == [OffsetPastEnd]
    assert listener.pushed == 0


async def test_a_failure_comes_after_the_last_pushed_byte() -> None:
    log = AudioLog()
    listener = Listener(log)
    with pytest.raises(ExceptionGroup) as failures:
        async with listening(listener):
            log.append(b"abc")
            log.fail(ProviderFailure(Fault.CONNECTION_LOST))
    assert [type(failure) for failure in failures.value.exceptions] == [ProviderFailure]
    assert (bytes(listener.heard), listener.pushed) == (b"abc", 3)


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=9), st.booleans(), st.booleans()), min_size=1))
async def test_pushed_and_read_make_the_whole(pieces: list[tuple[bytes, bool, bool]]) -> None:
    log, answers = AudioLog(), list[bool]()
    listener = Listener(log, lambda: answers[-1])
    async with listening(listener):
        for piece, takes, pause in pieces:
            answers.append(takes)
            log.append(piece)
            if pause:
                await anyio.wait_all_tasks_blocked()
        log.complete()
    assert bytes(listener.heard) == b"".join(piece for piece, _, _ in pieces)
