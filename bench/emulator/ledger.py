"""What each realtime session did, for the control endpoints: tests and benchmarks compare it with what arrived."""

from __future__ import annotations

import hashlib
import time
from array import array
from collections import deque

import msgspec
from msgspec.structs import asdict

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
    ended_monotonic_ns: int | None = None
    deltas: array[int] = msgspec.field(default_factory=lambda: array("q"))
    """Of each delta in turn, when it was handed to the socket and how many bytes it carries: `Ledger.rows` leaves them
    out, for a few numbers are asked for often and these are thousands."""

    def note(self, outcome: str) -> None:
        """Record how and when the session ended; the first outcome counts."""
        if self.outcome == "running":
            self.outcome = outcome
            self.ended_monotonic_ns = time.monotonic_ns()

    def delta_sent(self, samples: int, size: int, now_ns: int) -> None:
        """Count one delta of `samples` PCM samples in `size` bytes, handed to the socket at `now_ns`."""
        if self.first_delta_monotonic_ns is None:
            self.first_delta_monotonic_ns = now_ns
        self.last_delta_monotonic_ns = now_ns
        self.samples += samples
        self.audio_seconds = self.samples / self.sample_rate
        self.deltas.extend((now_ns, size))


class Ledger:
    """The newest MAX_SESSIONS sessions, oldest first."""

    def __init__(self) -> None:
        self._records: deque[SessionRecord] = deque(maxlen=MAX_SESSIONS)

    def open(self, record: SessionRecord) -> None:
        """Keep a session from its beginning; its owner goes on changing the record."""
        self._records.append(record)

    def rows(self) -> list[dict[str, object]]:
        """All sessions kept, without their deltas."""
        return [{name: value for name, value in asdict(record).items() if name != "deltas"} for record in self._records]

    def deltas(self, session_id: str) -> list[tuple[int, int]]:
        """Time (ns) and size (bytes) of every delta that was sent; none for a session that is not kept."""
        found = next((record.deltas for record in self._records if record.session_id == session_id), array("q"))
        return list(zip(found[::2], found[1::2], strict=True))
