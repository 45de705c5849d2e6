"""The audio log: every listener reads the same bytes, from any offset, at any time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audio_log import READ_BYTES, AudioLog, LogState, OffsetPastEnd
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
