"""The circuit breaker, on a clock of its own; with the driver it is tested in test_qwen_limits.py."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from gateway.providers.circuit import (
    FAILURES_TO_OPEN,
    FIRST_PAUSE_SECONDS,
    LONGEST_PAUSE_SECONDS,
    PROVIDER_IS_AWAY,
    Circuit,
    CircuitBreaker,
)
from protocol.errors import Category, Fault, ProviderFailure


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(clock=clock)


def fail(breaker: CircuitBreaker, fault: Fault = Fault.UNREACHABLE) -> None:
    with pytest.raises(ProviderFailure) as caught, breaker.attempt():
        raise ProviderFailure(fault)
    assert caught.value.fault is fault


def succeed(breaker: CircuitBreaker) -> None:
    with breaker.attempt():
        pass


def refused(breaker: CircuitBreaker) -> bool:
    try:
        breaker.check()
    except ProviderFailure as failure:
        return failure.fault is Fault.CIRCUIT_OPEN
    return False


def state(breaker: CircuitBreaker) -> Circuit:
    """mypy takes a property for a constant."""
    return breaker.state


def by_name(faults: Iterable[Fault]) -> list[Fault]:
    return sorted(faults, key=lambda fault: fault.value)


def opened(breaker: CircuitBreaker) -> None:
    for _ in range(FAILURES_TO_OPEN):
        fail(breaker)
    assert state(breaker) is Circuit.OPEN


def test_it_opens_after_failures_in_a_row_and_not_before(breaker: CircuitBreaker) -> None:
    for _ in range(FAILURES_TO_OPEN - 1):
        fail(breaker)
    assert not refused(breaker)
    fail(breaker)
    assert refused(breaker)


def test_a_success_between_failures_starts_the_count_again(breaker: CircuitBreaker) -> None:
    for _ in range(FAILURES_TO_OPEN - 1):
        fail(breaker)
    succeed(breaker)
    for _ in range(FAILURES_TO_OPEN - 1):
        fail(breaker)
    assert state(breaker) is Circuit.CLOSED


@pytest.mark.parametrize("fault", by_name(set(Fault) - PROVIDER_IS_AWAY))
def test_an_answer_that_is_a_refusal_is_an_answer(breaker: CircuitBreaker, fault: Fault) -> None:
    for _ in range(FAILURES_TO_OPEN * 2):
        fail(breaker, fault)
    assert state(breaker) is Circuit.CLOSED


@pytest.mark.parametrize("fault", by_name(PROVIDER_IS_AWAY))
def test_every_kind_of_absence_counts(breaker: CircuitBreaker, fault: Fault) -> None:
    for _ in range(FAILURES_TO_OPEN):
        fail(breaker, fault)
    assert state(breaker) is Circuit.OPEN


def test_while_open_the_body_is_never_entered(breaker: CircuitBreaker) -> None:
    opened(breaker)
    entered = False
    with pytest.raises(ProviderFailure), breaker.attempt():
        entered = True
    assert not entered


def test_after_the_pause_one_probe_goes_through_and_closes_it(breaker: CircuitBreaker, clock: Clock) -> None:
    opened(breaker)
    clock.now += FIRST_PAUSE_SECONDS
    with breaker.attempt():
        assert refused(breaker), "a second one beside the probe"
    assert state(breaker) is Circuit.CLOSED
    assert not refused(breaker)


def test_a_probe_that_fails_waits_longer_each_time_up_to_a_limit(breaker: CircuitBreaker, clock: Clock) -> None:
    opened(breaker)
    pause = FIRST_PAUSE_SECONDS
    for _ in range(8):
        clock.now += pause
        fail(breaker)
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
        clock.now += pause - 0.001
        assert refused(breaker)
        clock.now += 0.001
        assert not refused(breaker)
    assert pause == LONGEST_PAUSE_SECONDS


def test_after_it_closed_the_next_pause_is_short_again(breaker: CircuitBreaker, clock: Clock) -> None:
    opened(breaker)
    clock.now += FIRST_PAUSE_SECONDS
    fail(breaker)
    clock.now += LONGEST_PAUSE_SECONDS
    succeed(breaker)
    opened(breaker)
    clock.now += FIRST_PAUSE_SECONDS
    assert not refused(breaker)


def test_a_cancelled_probe_leaves_room_for_another(breaker: CircuitBreaker, clock: Clock) -> None:
    opened(breaker)
    clock.now += FIRST_PAUSE_SECONDS
    with pytest.raises(KeyboardInterrupt), breaker.attempt():
        raise KeyboardInterrupt
    assert state(breaker) is Circuit.OPEN
    succeed(breaker)
    assert state(breaker) is Circuit.CLOSED


def test_an_attempt_from_before_it_opened_can_close_it(breaker: CircuitBreaker) -> None:
    with breaker.attempt():
        opened(breaker)
    assert state(breaker) is Circuit.CLOSED


def test_an_open_circuit_is_unavailable_and_not_retried() -> None:
    facts = Fault.CIRCUIT_OPEN.facts
    assert (facts.category, facts.status, facts.retryable) == (Category.PROVIDER_UNAVAILABLE, 503, False)
    assert Fault.CIRCUIT_OPEN not in PROVIDER_IS_AWAY, "its own refusal must not keep it open"


@given(st.lists(st.sampled_from(["fail", "succeed", "refuse", "cancel", "wait"]), max_size=60))
def test_whatever_happens_it_never_stays_shut_for_longer_than_the_longest_pause(moves: list[str]) -> None:
    clock = Clock()
    breaker = CircuitBreaker(clock=clock)
    causes = {
        "fail": ProviderFailure(Fault.OVERLOADED),
        "refuse": ProviderFailure(Fault.BAD_INPUT),
        "cancel": KeyboardInterrupt(),
    }
    for move in moves:
        if move == "wait":
            clock.now += FIRST_PAUSE_SECONDS
            continue
        with suppress(ProviderFailure, KeyboardInterrupt), breaker.attempt():
            if move in causes:
                raise causes[move]
        event(breaker.state.name)
    assert state(breaker) is not Circuit.PROBING, "no attempt is under way"
    clock.now += LONGEST_PAUSE_SECONDS
    succeed(breaker)
    assert state(breaker) is Circuit.CLOSED
