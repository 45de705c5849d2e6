"""One trace per generation: named steps with durations, from the request to the stored object.

A step is one `with` line at the place where the work is done. It writes a pair of log events
(`<step>.started`, then `.completed`, `.failed` or `.cancelled` with `duration_ms`) and keeps the timing, which
later feeds the `Server-Timing` header and the generation's row. Names are stable; people and alerts rely on them.
No user text and no secret is ever passed as an attribute.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
from structlog.typing import FilteringBoundLogger

PROVIDER_STEPS = "provider."
"""How the names of steps begin whose time is the provider's. They follow each other, none is within another."""


@dataclass(frozen=True, slots=True)
class Timing:
    """A step that ended as `outcome` says: completed, failed or cancelled. `start_ms` counts from the beginning of
    the trace."""

    step: str
    start_ms: float
    duration_ms: float
    outcome: str


class Trace:
    """The steps of one request or generation.

    `ids` (trace_id, request_id, generation_id, ...) are bound to every log line the trace writes.
    """

    def __init__(self, **ids: str) -> None:
        self._log: FilteringBoundLogger = structlog.get_logger("utter").bind(**ids)
        self._began = time.perf_counter()
        self._timings: list[Timing] = []
        self.ids = dict(ids)

    def bind(self, **ids: str) -> None:
        """Add ids that became known later, such as `provider_session_id`: here, and to whatever else is logged in
        this task and the tasks it starts from now on."""
        self.ids.update(ids)
        self._log = self._log.bind(**ids)
        structlog.contextvars.bind_contextvars(**ids)

    def outgoing_headers(self) -> dict[str, str]:
        """Headers that make a request of ours a new span of this trace for whoever gets it (W3C Trace Context, 3.2);
        none when the trace has no id."""
        trace_id = self.ids.get("trace_id")
        return {"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01"} if trace_id else {}

    @property
    def log(self) -> FilteringBoundLogger:
        """The bound logger, for events that are not steps."""
        return self._log

    @property
    def timings(self) -> tuple[Timing, ...]:
        """Steps in the order they ended."""
        return tuple(self._timings)

    @contextmanager
    def step(self, name: str, **attributes: object) -> Iterator[None]:
        """Time the body as step `name`; whatever it raises passes through."""
        start = self.elapsed_ms()
        self._log.debug(f"{name}.started", **attributes)
        try:
            yield
        except BaseException as error:
            outcome = "failed" if isinstance(error, Exception) else "cancelled"
            duration = self._keep(name, start, outcome)
            self._log.info(f"{name}.{outcome}", duration_ms=duration, error=type(error).__name__, **attributes)
            raise
        duration = self._keep(name, start, "completed")
        self._log.info(f"{name}.completed", duration_ms=duration, **attributes)

    def at(self, name: str) -> float | None:
        """Milliseconds from the start of the trace to the first completion of step `name`, None if there is none."""
        for timing in self._timings:
            if timing.step == name and timing.outcome == "completed":
                return timing.start_ms + timing.duration_ms
        return None

    def server_timing(self) -> str:
        """The `Server-Timing` header value (W3C Server Timing): every step so far, and as `gateway` our own share,
        which is all the time that was not a provider's. Dots are not allowed in the names. "" before the first step."""
        if not self._timings:
            return ""
        entries = [(timing.step.replace(".", "_"), timing.duration_ms) for timing in self._timings]
        return ", ".join(f"{name};dur={duration:.1f}" for name, duration in [*entries, ("gateway", self.own_ms())])

    def own_ms(self) -> float:
        """Milliseconds so far that were not a provider's."""
        return self.elapsed_ms() - sum(t.duration_ms for t in self._timings if t.step.startswith(PROVIDER_STEPS))

    def elapsed_ms(self) -> float:
        """Milliseconds since the trace began."""
        return round((time.perf_counter() - self._began) * 1000, 3)

    def _keep(self, name: str, start: float, outcome: str) -> float:
        duration = round(self.elapsed_ms() - start, 3)
        self._timings.append(Timing(name, start, duration, outcome))
        return duration
