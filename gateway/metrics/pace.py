"""Speech against the clock: whether whoever listens from the first piece on ever runs out of it."""

from __future__ import annotations

from gateway.metrics import AUDIO, UNDERRUN_TIME, UNDERRUNS

NOTICEABLE_SECONDS = 0.02
"""A shorter gap is the jitter of an event loop, which every player bridges."""


class Pace:
    """One generation's delivery; `now` is in seconds that only grow."""

    def __init__(self) -> None:
        self._runs_out_at: float | None = None
        self._delivered = 0.0

    def delivered(self, total: float, now: float) -> None:
        """So many seconds of speech have come so far. Counts the gap before this piece, if there was one."""
        if self._runs_out_at is None:
            self._runs_out_at = now
        gap = now - self._runs_out_at
        if gap > NOTICEABLE_SECONDS and self._delivered:
            UNDERRUNS.inc()
            UNDERRUN_TIME.inc(gap)
        piece = total - self._delivered
        self._runs_out_at = max(self._runs_out_at, now) + piece
        self._delivered = total
        AUDIO.inc(piece)
