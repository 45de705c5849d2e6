"""Rows that nobody needs any more, and generations that nobody works on: cleared away now and then."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from gateway.pipeline import INTERRUPTED
from storage import generations, leases, request_keys
from storage.database import Database

TIDY_SECONDS = 600.0
"""Between two rounds: what is cleared away harms nobody meanwhile."""

STRANDED_SECONDS = 7200.0
"""Age at which a running generation without a task is nobody's: no generation takes as long, at either provider."""

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.tidying")


@dataclass(frozen=True, slots=True)
class Tidying:
    """`tidy` is a chore of the sweeper."""

    database: Database

    async def tidy(self) -> None:
        """One round. Raises `DatabaseUnavailable`."""
        async with self.database.as_service() as transaction:
            forgotten_leases = await leases.forget(transaction)
            forgotten_keys = await request_keys.forget(transaction)
            stranded = await generations.fail_stranded(transaction, INTERRUPTED, older_than_seconds=STRANDED_SECONDS)
        if stranded:
            _log.warning("tidying.stranded", generations=stranded)
        _log.debug("tidying.done", leases=forgotten_leases, keys=forgotten_keys)
