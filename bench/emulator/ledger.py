"""What each realtime session did, for the control endpoints: tests and benchmarks compare it with what arrived."""

from __future__ import annotations

import hashlib
from collections import deque

import msgspec

MAX_SESSIONS = 2000
"""Sessions kept, oldest dropped: more than any benchmark opens, a few hundred kB."""


class SessionRecord(msgspec.Struct):
    """One session. Times are `time.monotonic_ns()`, which all processes of one Linux machine share.

    `samples` counts PCM samples whose delta was sent, at `sample_rate`; `outcome` is "running" until the end, then
    "finished", "client_closed", "idle", "error:<code>" or "fault:<name>".
    """

    session_id: str
    model: str
    voice: str = ""
    characters: int = 0
    text_sha256: str = hashlib.sha256().hexdigest()
    responses: int = 0
    samples: int = 0
    sample_rate: int = 24000
    audio_seconds: float = 0.0
    first_delta_monotonic_ns: int | None = None
    last_delta_monotonic_ns: int | None = None
    outcome: str = "running"

    def note(self, outcome: str) -> None:
        """Record how the session ended; the first outcome counts."""
        if self.outcome == "running":
            self.outcome = outcome

    def delta_sent(self, samples: int, now_ns: int) -> None:
        """Count one delta of `samples` PCM samples, handed to the socket at `now_ns`."""
        if self.first_delta_monotonic_ns is None:
            self.first_delta_monotonic_ns = now_ns
        self.last_delta_monotonic_ns = now_ns
        self.samples += samples
        self.audio_seconds = self.samples / self.sample_rate


class Ledger:
    """The newest MAX_SESSIONS sessions, oldest first."""

    def __init__(self) -> None:
        self._records: deque[SessionRecord] = deque(maxlen=MAX_SESSIONS)

    def open(self, record: SessionRecord) -> None:
        """Keep a session from its beginning; its owner goes on changing the record."""
        self._records.append(record)

    def records(self) -> list[SessionRecord]:
        """All sessions kept."""
        return list(self._records)
