"""Trying again: how often, after what pause, and until when."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import anyio
from structlog.typing import FilteringBoundLogger

from protocol.errors import ProviderFailure

MAX_RETRIES = 2
"""Attempts after the first (product section 5)."""

FIRST_PAUSE_SECONDS = 0.25
"""Longest pause before the first retry; it doubles for each further one."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`retries` after the first attempt, each after a jittered pause that doubles from `first_pause` seconds."""

    retries: int = MAX_RETRIES
    first_pause: float = FIRST_PAUSE_SECONDS

    def pause_after(self, attempt: int) -> float:
        """Seconds to wait after attempt number `attempt` (from 1): between half the full pause and all of it, so
        that sessions that failed together do not come back together."""
        full: float = self.first_pause * 2 ** (attempt - 1)
        return full * random.uniform(0.5, 1.0)  # noqa: S311  spreading load needs no secrecy


async def with_retries(
    operation: Callable[[int], Awaitable[T]],
    policy: RetryPolicy,
    log: FilteringBoundLogger,
    *,
    until: float,
    repeatable: Callable[[], bool] = lambda: True,
) -> T:
    """Call `operation(attempt)` with attempt 1, 2, ... while it fails for a retryable reason.

    `until` is the absolute time (`anyio.current_time()`) after which no attempt is begun; `repeatable` is asked
    after each failure whether a repetition is still harmless. Raises the last `ProviderFailure`.
    """
    attempt = 1
    while True:
        try:
            return await operation(attempt)
        except ProviderFailure as failure:
            pause = policy.pause_after(attempt)
            out_of_time = anyio.current_time() + pause >= until
            if attempt > policy.retries or out_of_time or not failure.fault.facts.retryable or not repeatable():
                raise
            log.warning("provider.retry", fault=failure.fault.value, attempt=attempt, pause_seconds=round(pause, 3))
        await anyio.sleep(pause)
        attempt += 1
