"""A circuit breaker: when the provider keeps failing, new work is refused at once instead of after its deadline.

One for each process, on purpose: a process that cannot reach the provider says nothing about the others, and a
breaker in the database would fail together with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto

import anyio
import structlog

from gateway.metrics import CIRCUIT_OPEN
from protocol.errors import Fault, ProviderFailure

FAILURES_TO_OPEN = 5
"""Attempts that failed with none between them that did not. Fewer, and one user's three attempts could open it."""

FIRST_PAUSE_SECONDS = 5.0
"""How long nothing is tried after it opened. Doubles with each probe that fails, up to `LONGEST_PAUSE_SECONDS`."""

LONGEST_PAUSE_SECONDS = 60.0

PROVIDER_IS_AWAY = frozenset(
    {
        Fault.OVERLOADED,
        Fault.UNREACHABLE,
        Fault.CONNECTION_LOST,
        Fault.CONNECT_TIMEOUT,
        Fault.FIRST_AUDIO_TIMEOUT,
        Fault.AUDIO_STALLED,
        Fault.PROTOCOL_BROKEN,
        Fault.WRONG_AUDIO,
    }
)
"""What counts. Everything else is an answer, if an unwelcome one: a refused key or text fails fast by itself, and its
words would be lost behind ours; a rate limit is the pacing's to avoid."""

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.circuit")


class Circuit(Enum):
    """`CLOSED` lets everything through, `OPEN` nothing, `PROBING` waits for the one attempt it let through."""

    CLOSED = auto()
    OPEN = auto()
    PROBING = auto()


class Signal(Enum):
    """What moves a circuit."""

    ANSWERED = auto()
    FAILED_ONCE = auto()
    FAILED_TOO_OFTEN = auto()
    PAUSE_OVER = auto()
    PROBE_ABANDONED = auto()


# The count of failures only starts again with an answer, so outside CLOSED every failure is one too many.
TRANSITIONS: dict[Circuit, dict[Signal, Circuit]] = {
    Circuit.CLOSED: {
        Signal.ANSWERED: Circuit.CLOSED,
        Signal.FAILED_ONCE: Circuit.CLOSED,
        Signal.FAILED_TOO_OFTEN: Circuit.OPEN,
    },
    # Attempts that began before it opened still end while it is open: one that succeeds proves the provider is back.
    Circuit.OPEN: {
        Signal.ANSWERED: Circuit.CLOSED,
        Signal.FAILED_TOO_OFTEN: Circuit.OPEN,
        Signal.PAUSE_OVER: Circuit.PROBING,
    },
    Circuit.PROBING: {
        Signal.ANSWERED: Circuit.CLOSED,
        Signal.FAILED_TOO_OFTEN: Circuit.OPEN,
        Signal.PROBE_ABANDONED: Circuit.OPEN,
    },
}


@dataclass(frozen=True, slots=True)
class CircuitLimits:
    """It opens after `failures` in a row; the first pause is `pause` seconds."""

    failures: int = FAILURES_TO_OPEN
    pause: float = FIRST_PAUSE_SECONDS


class CircuitBreaker:
    """Wrap every attempt in `attempt`. `clock` gives seconds that only grow."""

    def __init__(self, limits: CircuitLimits | None = None, clock: Callable[[], float] = anyio.current_time) -> None:
        self._limits = limits or CircuitLimits()
        self._clock = clock
        self._state = Circuit.CLOSED
        self._failures = 0
        self._pause = self._limits.pause
        self._opened_at = 0.0

    @property
    def state(self) -> Circuit:
        return self._state

    def check(self) -> None:
        """Raise `ProviderFailure` CIRCUIT_OPEN when an attempt would be refused now; takes nothing."""
        if self._state is Circuit.PROBING or (self._state is Circuit.OPEN and not self._pause_is_over()):
            raise ProviderFailure(Fault.CIRCUIT_OPEN)

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """One attempt at the provider. Raises as `check` before the body runs; what the body raises goes on."""
        self.check()
        is_probe = self._state is Circuit.OPEN
        if is_probe:
            self._move(Signal.PAUSE_OVER)
        try:
            yield
        except ProviderFailure as failure:
            if failure.fault in PROVIDER_IS_AWAY:
                self._failed()
            else:
                self._answered()
            raise
        except BaseException:  # cancelled, or a defect of ours: it says nothing about the provider
            if is_probe and self._state is Circuit.PROBING:
                self._move(Signal.PROBE_ABANDONED)
            raise
        self._answered()

    def _pause_is_over(self) -> bool:
        return self._clock() >= self._opened_at + self._pause

    def _answered(self) -> None:
        self._failures = 0
        self._pause = self._limits.pause
        self._move(Signal.ANSWERED)

    def _failed(self) -> None:
        self._failures += 1
        if self._state is Circuit.PROBING:
            self._pause = min(self._pause * 2, LONGEST_PAUSE_SECONDS)
        if self._state is not Circuit.OPEN:
            self._opened_at = self._clock()
        self._move(Signal.FAILED_TOO_OFTEN if self._failures >= self._limits.failures else Signal.FAILED_ONCE)

    def _move(self, signal: Signal) -> None:
        before, self._state = self._state, TRANSITIONS[self._state][signal]
        if before is not self._state:
            CIRCUIT_OPEN.set(self._state is not Circuit.CLOSED)
            _log.warning("provider.circuit", state=self._state.name.lower(), was=before.name.lower())
