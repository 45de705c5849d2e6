"""Chores are done again and again, and nothing that goes wrong in one ends anything."""

from __future__ import annotations

import anyio
import pytest
import structlog

from gateway.sweeper import LONGEST_PAUSE_FACTOR, NEVER_LATER, Chore, sweeping
from tests.support.exchange import WAIT_SECONDS

pytestmark = pytest.mark.anyio


class Counted:
    """A chore that counts, and does what the test says."""

    def __init__(self, *, fails: bool = False, hangs: bool = False) -> None:
        self.times = 0
        self.cancelled = False
        self._fails = fails
        self._hangs = hangs
        self._done = anyio.Event()

    async def work(self) -> None:
        self.times += 1
        self._done.set()
        self._done = anyio.Event()
        if self._fails:
            raise LookupError("user text")
        if self._hangs:
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class():
                self.cancelled = True
                raise

    async def done(self, times: int) -> None:
        with anyio.fail_after(WAIT_SECONDS):
            while self.times < times:
                await self._done.wait()


async def test_chores_are_repeated() -> None:
    chore = Counted()
    async with sweeping([Chore("one", chore.work)], 0.001):
        await chore.done(3)
    assert chore.times >= 3


async def test_a_chore_that_fails_is_logged_and_tried_again_and_the_others_go_on() -> None:
    bad, good = Counted(fails=True), Counted()
    with structlog.testing.capture_logs() as logs:
        async with sweeping([Chore("bad", bad.work), Chore("good", good.work)], 0.001):
            await bad.done(3)
            await good.done(3)
    assert {(line["event"], line["chore"]) for line in logs} == {("sweeper.chore_failed", "bad")}


@pytest.mark.parametrize(
    ("longest_pause", "wanted"),
    [
        (LONGEST_PAUSE_FACTOR, [10.0, 20.0, 40.0, 80.0, 80.0, 80.0]),
        (NEVER_LATER, [10.0, 10.0, 10.0, 10.0, 10.0, 10.0]),
    ],
)
async def test_a_chore_that_keeps_failing_is_tried_less_often_unless_it_has_a_deadline(
    monkeypatch: pytest.MonkeyPatch, longest_pause: int, wanted: list[float]
) -> None:
    pauses: list[float] = []
    sleep = anyio.sleep

    async def noted(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    monkeypatch.setattr(anyio, "sleep", noted)
    chore = Counted(fails=True)
    with structlog.testing.capture_logs():
        async with sweeping([Chore("bad", chore.work, longest_pause=longest_pause)], 10.0):
            await chore.done(6)
    assert pauses[:6] == wanted


async def test_one_that_hangs_holds_up_no_other_and_ends_with_the_server() -> None:
    stuck, good = Counted(hangs=True), Counted()
    async with sweeping([Chore("stuck", stuck.work), Chore("good", good.work)], 0.001):
        await stuck.done(1)
        await good.done(3)
    assert (stuck.times, stuck.cancelled) == (1, True)


async def test_what_the_body_raises_comes_out() -> None:
    chore = Counted()
    with pytest.raises(BaseExceptionGroup) as caught:
        async with sweeping([Chore("one", chore.work)], 0.001):
            raise LookupError("mine")
    assert caught.group_contains(LookupError, match="mine")
