"""What looking at one thing came to, in words: of `utter doctor`, `utter smoke` and `utter drill`."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Verdict(StrEnum):
    """What a check came to."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    NOT_RUN = "not run"


class Finding(msgspec.Struct, frozen=True):
    """One line of a report. `remedy` says what to do, "" where nothing is to be done."""

    check: str
    verdict: Verdict
    detail: str
    remedy: str = ""
    seconds: float = 0.0
