"""Retries and deadlines by themselves."""

from __future__ import annotations

import anyio
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from gateway.providers.attempts import RetryPolicy, with_retries
from gateway.providers.deadlines import SLACK, Deadlines, SessionClock
from protocol.errors import Fault, ProviderFailure

pytestmark = pytest.mark.anyio

QUICK = RetryPolicy(first_pause=0.001)
FAR_AWAY = 1000.0


class Flaky:
    """Fails with `fault` the first `times` times."""

    def __init__(self, fault: Fault, times: int) -> None:
        self.fault = fault
        self.times = times
        self.attempts: list[int] = []

    async def __call__(self, attempt: int) -> str:
        await anyio.lowlevel.checkpoint()
        self.attempts.append(attempt)
        if attempt <= self.times:
            raise ProviderFailure(self.fault)
        return "done"

    async def run(self, *, seconds: float = FAR_AWAY, repeatable: bool = True, policy: RetryPolicy = QUICK) -> str:
        until = anyio.current_time() + seconds
        return await with_retries(self, policy, structlog.get_logger(), until=until, repeatable=lambda: repeatable)


async def test_a_passing_failure_is_tried_again_and_counted() -> None:
    flaky = Flaky(Fault.OVERLOADED, times=2)
    assert await flaky.run() == "done"
    assert flaky.attempts == [1, 2, 3]


async def test_two_retries_are_all() -> None:
    flaky = Flaky(Fault.OVERLOADED, times=3)
    with pytest.raises(ProviderFailure):
        await flaky.run()
    assert flaky.attempts == [1, 2, 3]


@pytest.mark.parametrize("fault", [fault for fault in Fault if not fault.facts.retryable])
async def test_a_final_failure_is_not_repeated(fault: Fault) -> None:
    flaky = Flaky(fault, times=1)
    with pytest.raises(ProviderFailure) as caught:
        await flaky.run()
    assert caught.value.fault is fault
    assert flaky.attempts == [1]


async def test_nothing_is_repeated_that_may_not_be() -> None:
    flaky = Flaky(Fault.OVERLOADED, times=1)
    with pytest.raises(ProviderFailure):
        await flaky.run(repeatable=False)
    assert flaky.attempts == [1]


async def test_no_attempt_begins_after_the_deadline() -> None:
    flaky = Flaky(Fault.OVERLOADED, times=1)
    with pytest.raises(ProviderFailure):
        await flaky.run(seconds=10, policy=RetryPolicy(first_pause=60))
    assert flaky.attempts == [1]


def test_pauses_double_and_vary_by_half() -> None:
    policy = RetryPolicy(first_pause=1.0)
    pauses = {attempt: [policy.pause_after(attempt) for _ in range(200)] for attempt in (1, 2)}
    assert 0.5 <= min(pauses[1]) < max(pauses[1]) <= 1.0
    assert 1.0 <= min(pauses[2]) < max(pauses[2]) <= 2.0


async def test_the_clock_names_the_deadline_that_is_next() -> None:
    now = anyio.current_time()
    clock = SessionClock(Deadlines(connect=1, first_audio=30, delta_gap=20, session=100), now + 30)
    assert (clock.fault, clock.scope.deadline) == (Fault.FIRST_AUDIO_TIMEOUT, now + 30)
    clock.audio_arrived(now)
    assert (clock.fault, clock.scope.deadline) == (Fault.AUDIO_STALLED, now + 20 * (1 + SLACK))


async def test_its_time_is_that_of_the_event_loop() -> None:
    clock = SessionClock(Deadlines(connect=1, first_audio=30, delta_gap=20, session=100), 30)
    before = anyio.current_time()
    assert before <= clock.now() <= anyio.current_time()


@given(st.lists(st.floats(0, 25), min_size=1))
async def test_a_gap_ends_when_it_may_and_hardly_later(pauses: list[float]) -> None:
    now = anyio.current_time()
    clock = SessionClock(Deadlines(connect=1, first_audio=30, delta_gap=20, session=1e6), now + 30)
    for pause in pauses:
        now += pause
        clock.audio_arrived(now)
        assert now + 20 <= clock.scope.deadline <= now + 20 * (1 + SLACK)


async def test_the_deadline_is_not_moved_for_each_piece() -> None:
    now = anyio.current_time()
    clock = SessionClock(Deadlines(connect=1, first_audio=30, delta_gap=20, session=100), now + 30)
    deadlines = set[float]()
    for number in range(40):
        clock.audio_arrived(now + number * 0.3)
        deadlines.add(clock.scope.deadline)
    assert len(deadlines) < 10


async def test_audio_that_comes_early_has_its_gap_though_the_first_might_have_taken_the_whole_session() -> None:
    now = anyio.current_time()
    clock = SessionClock(Deadlines(connect=1, first_audio=300, delta_gap=20, session=100), now + 300)
    assert clock.fault is Fault.SESSION_TIMEOUT
    clock.audio_arrived(now)
    assert (clock.fault, clock.scope.deadline) == (Fault.AUDIO_STALLED, now + 20 * (1 + SLACK))


async def test_no_gap_outlives_the_session() -> None:
    now = anyio.current_time()
    clock = SessionClock(Deadlines(connect=1, first_audio=30, delta_gap=20, session=10), now + 30)
    assert clock.fault is Fault.SESSION_TIMEOUT
    clock.audio_arrived(now)
    assert clock.fault is Fault.SESSION_TIMEOUT
    assert now + 10 <= clock.scope.deadline < now + 20
