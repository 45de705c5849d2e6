"""The clocks of one provider session, as one cancel scope whose deadline moves."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass

import anyio

from protocol.errors import Fault


@dataclass(frozen=True, slots=True)
class Deadlines:
    """All in seconds. `first_audio` counts from the call of `speak` and includes retries; `session` is one session."""

    connect: float
    first_audio: float
    delta_gap: float
    session: float


SLACK = 0.1
"""Part of a gap by which a silence may be noticed late: moving a deadline costs more than anything else about a piece
of audio but its two system calls, so it moves once for several pieces."""


def bound_clock() -> Callable[[], float]:
    """`anyio.current_time` of the event loop that runs here, without looking for that at each call."""
    try:
        return asyncio.get_running_loop().time
    except RuntimeError:  # it is trio's
        return anyio.current_time


class SessionClock:
    """Runs out at the first-audio deadline, then at each gap between deltas, and never after the session's end.

    Use `scope` around the session. When it has caught a cancellation, `fault` names the deadline that passed.
    """

    def __init__(self, deadlines: Deadlines, first_audio_at: float) -> None:
        """`first_audio_at` is absolute, in `anyio.current_time()`."""
        self.now = bound_clock()
        """The time of `scope`, in seconds."""
        self._gap = deadlines.delta_gap
        self._gap_ends_at = -math.inf
        self._session_ends_at = anyio.current_time() + deadlines.session
        self.scope = anyio.CancelScope()
        self.fault = Fault.FIRST_AUDIO_TIMEOUT
        self._arm(Fault.FIRST_AUDIO_TIMEOUT, first_audio_at)

    def audio_arrived(self, now: float) -> None:
        """Start the next gap. Call it once audio has begun, with `now()`."""
        if now + self._gap > self._gap_ends_at:
            self._gap_ends_at = now + self._gap * (1 + SLACK)
            self._arm(Fault.AUDIO_STALLED, self._gap_ends_at)

    def _arm(self, fault: Fault, deadline: float) -> None:
        self.fault = fault if deadline < self._session_ends_at else Fault.SESSION_TIMEOUT
        self.scope.deadline = min(deadline, self._session_ends_at)
