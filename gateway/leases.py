"""Leases: what this process works on is renewed, and what others stopped working on is found (product section 11).

A lease runs out by the clock of whoever looks, not by the one it is written with: a task is silent when its lease has
not changed for as long as leases last, while looking worked all the time. So neither a clock that is set nor a
database that was away makes anybody lose what still runs; after an outage everybody has one lease's time to renew.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from math import inf
from uuid import UUID, uuid4

import anyio
import structlog

from gateway.running import EndReason
from gateway.sweeper import NEVER_LATER, Chore, sweeping
from schema.records import ForeignTask, NewLease
from storage import leases, notifications
from storage.database import Database, DatabaseUnavailable

RENEWALS_PER_LEASE = 3
"""Two may fail before a lease runs out."""

CANCELLED_CHANNEL = "utter_cancelled"
"""Where the database tells which task was cancelled; the payload is its id."""

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.leases")


@dataclass(frozen=True, slots=True)
class Instance:
    """This process among those that share the database. `address` is the base URL at which the others reach it, None
    when they cannot."""

    id: UUID
    lease_seconds: float
    address: str | None = None

    @classmethod
    def new(cls, lease_seconds: float, address: str | None = None) -> Instance:
        """A process that has just started: its id is never used again."""
        return cls(uuid4(), lease_seconds, address)

    @property
    def lease(self) -> NewLease:
        """For a task that begins here."""
        return NewLease(instance=self.id, address=self.address, seconds=self.lease_seconds)

    @property
    def beat_seconds(self) -> float:
        """Between two renewals, and between two looks at others."""
        return self.lease_seconds / RENEWALS_PER_LEASE


def _unheard(_reason: EndReason) -> None:
    """The work finds out by itself, when it writes its rows."""


@dataclass(frozen=True, slots=True, eq=False)
class Holding:
    """A task that this process works on. `exists` says whether its lease was committed; `on_end` is told when the task
    was cancelled elsewhere (CANCELLED), or taken over or deleted (LOST)."""

    task_id: UUID
    exists: Callable[[], bool] = lambda: False
    on_end: Callable[[EndReason], None] = _unheard


class LeaseKeeper:
    """Renews what is held. `renew` and `hear` are chores of the sweeper, see `keeping_leases`."""

    def __init__(self, database: Database, instance: Instance, *, listen_url: str) -> None:
        self.instance = instance
        self._database = database
        self._listen_url = listen_url
        self._held: dict[UUID, Holding] = {}

    def hold(self, holding: Holding) -> None:
        """From now on, also while its rows are being written; a later one for the same task takes its place."""
        self._held[holding.task_id] = holding

    def release(self, holding: Holding) -> None:
        """The next renewal drops the lease."""
        if self._held.get(holding.task_id) is holding:
            del self._held[holding.task_id]

    @contextmanager
    def held(self, holding: Holding) -> Iterator[None]:
        """`hold` for the length of the block."""
        self.hold(holding)
        try:
            yield
        finally:
            self.release(holding)

    async def renew(self) -> None:
        """Renew all that is held, and tell who lost something. An outage is logged: the next renewal may work."""
        asked = list(self._held)
        judged = [holding for holding in self._held.values() if holding.exists()]
        try:
            with anyio.fail_after(self.instance.beat_seconds):
                async with self._database.as_service() as transaction:
                    rows = await leases.renew(transaction, self.instance.id, asked, seconds=self.instance.lease_seconds)
        except (DatabaseUnavailable, TimeoutError) as error:
            _log.warning("lease.not_renewed", held=len(asked), error=type(error).__name__)
            return
        status_of = {row.task_id: row.status for row in rows}
        for holding in judged:
            if self._held.get(holding.task_id) is not holding:
                continue  # it ended meanwhile
            status = status_of.get(holding.task_id)
            if status is None:
                _log.warning("lease.lost", task_id=str(holding.task_id))
                holding.on_end(EndReason.LOST)
            elif status == "cancelled":
                holding.on_end(EndReason.CANCELLED)

    async def hear(self) -> None:
        """Pass on cancellations at once, until the connection is lost. Without it the next renewal tells."""
        try:
            await notifications.listen(self._listen_url, CANCELLED_CHANNEL, self._cancelled)
        except DatabaseUnavailable as error:
            _log.warning("lease.not_listening", error=str(error))

    def _cancelled(self, payload: str) -> None:
        try:
            holding = self._held.get(UUID(payload))
        except ValueError:  # whoever may connect to the database may notify; what they say is not repeated here
            _log.info("lease.not_understood", chars=len(payload))
            return
        if holding is not None:
            holding.on_end(EndReason.CANCELLED)


@asynccontextmanager
async def keeping_leases(database: Database, instance: Instance, *, listen_url: str) -> AsyncIterator[LeaseKeeper]:
    """A keeper at work. Outlives the supervisor: what it stops at the end still has to be its own while its rows are
    written."""
    keeper = LeaseKeeper(database, instance, listen_url=listen_url)
    chores = [
        Chore("leases.renew", keeper.renew, longest_pause=NEVER_LATER),
        Chore("leases.hear", keeper.hear, longest_pause=NEVER_LATER),
    ]
    async with sweeping(chores, instance.beat_seconds):
        yield keeper


class LeaseWatch:
    """Finds the tasks that nobody works on any more. No clock and no database: both are told."""

    def __init__(self, lease_seconds: float) -> None:
        self._lease_seconds = lease_seconds
        self._looked_at = -inf
        self._since: dict[UUID, tuple[datetime, float]] = {}

    def look(self, tasks: Sequence[ForeignTask], now: float) -> list[ForeignTask]:
        """Those whose sign has stayed the same for a lease, or that were handed over; the most silent ones first.

        `tasks` are all there are at `now`, seconds of a clock that never jumps. When the last look was longer ago than
        a lease, this process itself was suspended, perhaps together with those it would take for dead.
        """
        if now - self._looked_at > self._lease_seconds:
            self.interrupted()
        self._looked_at = now
        before, self._since = self._since, {}
        for task in tasks:
            sign, since = before.get(task.task_id, (task.sign, now))
            self._since[task.task_id] = (task.sign, since if sign == task.sign else now)
        silent = [task for task in tasks if not task.held and self._is_silent(task, now)]
        return sorted(silent, key=lambda task: self._since[task.task_id][1])

    def interrupted(self) -> None:
        """Looking failed: what was silent before may have had no way to be heard."""
        self._since.clear()

    def _is_silent(self, task: ForeignTask, now: float) -> bool:
        return task.sign == leases.HANDED_OVER or now - self._since[task.task_id][1] >= self._lease_seconds
