"""Starts of provider sessions, kept within the account's limits (180 a minute, 3 a second; product decision 11).

The turns are kept in the database, because the limits are the account's and not this process's. That also makes them
fair: whoever asks first starts first, whichever process it asks from.
"""

from __future__ import annotations

from dataclasses import dataclass

import anyio

from gateway.metrics import PACING
from gateway.tracing import Trace
from protocol.errors import Fault, ProviderFailure
from storage.database import Database, DatabaseUnavailable
from storage.pacing import take_turn


@dataclass(frozen=True, slots=True)
class Pacer:
    """Hands out turns for one account (`lane`)."""

    database: Database
    lane: str
    per_second: int
    per_minute: int

    async def wait_turn(self, trace: Trace, longest_wait: float) -> None:
        """Return when a session may be started. Raises `ProviderFailure` RATE_LIMITED, and at once, when that is
        further off than `longest_wait` seconds."""
        wait = await self._take_turn(trace, longest_wait)
        if wait is None:
            raise ProviderFailure(Fault.RATE_LIMITED)
        if wait > 0:
            PACING.inc(wait)
            with trace.step("provider.pacing"):
                await anyio.sleep(wait)

    async def _take_turn(self, trace: Trace, longest_wait: float) -> float | None:
        try:
            async with self.database.as_service() as transaction:
                return await take_turn(
                    transaction,
                    self.lane,
                    per_second=self.per_second,
                    per_minute=self.per_minute,
                    longest_wait=longest_wait,
                )
        except DatabaseUnavailable as error:
            # The vendor enforces its limits itself; ours only keep us from running into them.
            trace.log.warning("provider.pacing_unknown", error=str(error))
            return 0.0
