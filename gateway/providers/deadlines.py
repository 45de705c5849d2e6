"""The clocks of one provider session, as one cancel scope whose deadline moves."""

from __future__ import annotations

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


class SessionClock:
    """Runs out at the first-audio deadline, then at each gap between deltas, and never after the session's end.

    Use `scope` around the session. When it has caught a cancellation, `fault` names the deadline that passed.
    """

    def __init__(self, deadlines: Deadlines, first_audio_at: float) -> None:
        """`first_audio_at` is absolute, in `anyio.current_time()`."""
        self._gap = deadlines.delta_gap
        self._session_ends_at = anyio.current_time() + deadlines.session
        self.scope = anyio.CancelScope()
        self.fault = Fault.FIRST_AUDIO_TIMEOUT
        self._arm(Fault.FIRST_AUDIO_TIMEOUT, first_audio_at)

    def audio_arrived(self) -> None:
        """Start the next gap. Call it once audio has begun."""
        self._arm(Fault.AUDIO_STALLED, anyio.current_time() + self._gap)

    def _arm(self, fault: Fault, deadline: float) -> None:
        self.fault = fault if deadline < self._session_ends_at else Fault.SESSION_TIMEOUT
        self.scope.deadline = min(deadline, self._session_ends_at)
