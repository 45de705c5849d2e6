"""Clocks: ours is compared with everybody's whose times we believe, or who believe ours."""

from __future__ import annotations

from datetime import datetime, timedelta

from gateway.auth import CLOCK_SKEW_SECONDS
from gateway.doctor.checkup import Result, failed, ok, warning

NOTICEABLE = timedelta(seconds=5)
"""Skew from which it is worth a warning: machines that keep time are within a fraction of a second, and a provider's
`Date` has whole seconds."""

TOO_MUCH = timedelta(seconds=CLOCK_SKEW_SECONDS)
"""Skew from which tokens are refused that are good, or taken that are over."""

_REMEDY = "Keep this machine's time with NTP (`timedatectl status`), and see whether {whom} does."


def compared(whom: str, theirs: datetime, before: datetime, after: datetime) -> Result:
    """`theirs` was read between `before` and `after` of our own clock; all are aware."""
    skew = max(before - theirs, theirs - after, timedelta(0))
    direction = "behind" if theirs < before else "ahead of"
    if skew >= TOO_MUCH:
        return failed(
            f"The clock of {whom} is {skew.total_seconds():.0f} s {direction} this machine's: sign-ins and links of "
            "limited life go wrong.",
            _REMEDY.format(whom=whom),
        )
    if skew >= NOTICEABLE:
        return warning(
            f"The clock of {whom} is {skew.total_seconds():.0f} s {direction} this machine's.",
            _REMEDY.format(whom=whom),
        )
    return ok(f"The clock of {whom} agrees with this machine's.")
