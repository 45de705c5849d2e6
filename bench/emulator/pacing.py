"""When each delta is due.

Due times are absolute, so a late wake-up delays one delta and not all that follow. Only when there was nothing to
send does the schedule move: a gap in the text is a gap in the speech.
"""

from __future__ import annotations

import trio

DELTA_SECONDS = 0.31
"""Audio per delta as recorded: 0.306 to 0.316 s (protocol reference 1.9)."""


class Pacer:
    """The clock of one session. `speed` 1.0 is playback time; times are trio's, in seconds."""

    def __init__(self, speed: float, first_audio_delay: float) -> None:
        self._period = DELTA_SECONDS / speed
        self._first_audio_delay = first_audio_delay
        self._due: float | None = None

    def begin(self) -> None:
        """A response begins: its first delta is due after the first-audio delay, if it is the first."""
        if self._due is None:
            self._due = trio.current_time() + self._first_audio_delay

    def resume(self) -> None:
        """Audio was missing until now: what comes next is due at once, or when it would have been if that is later."""
        if self._due is not None:
            self._due = max(self._due, trio.current_time())

    async def wait(self, periods: float = 1.0) -> None:
        """Sleep until the next delta is due, which lasts `periods` delta times; the one after is due behind it."""
        if self._due is None:
            self.begin()
        due = self._due or 0.0
        await trio.sleep_until(due)
        self._due = due + periods * self._period
