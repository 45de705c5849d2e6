"""Connections opened before they are asked for: a far provider's three round trips (TCP, TLS, upgrade) in advance.

A warm connection is one on which the server has said `session.created` and we have said nothing. Each is used once,
since one socket is one session (protocol reference 1.8). How many are kept follows what was asked for lately, so a
model that nobody uses costs nothing. They are counted against the account's limits when they are opened, and only
opened when that makes nobody wait; using one costs no turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum

import anyio
import structlog
from anyio.abc import TaskGroup

from gateway.metrics import WARM_CONNECTIONS
from gateway.providers.realtime_connection import RealtimeConnection
from protocol.errors import Fault, ProviderFailure

MEMORY_SECONDS = 60.0
"""How long a start is remembered as demand. A connection that is opened anew every `idle_seconds` for nobody takes four
of the account's 180 starts a minute."""

BURST_SECONDS = 2.0
"""Starts this close together are met by connections that all must be there beforehand: opening one takes up to that
long at the account's 3 starts a second and a quarter of a second's round trip."""

MAX_REMEMBERED_STARTS = 1024
"""Starts remembered for a model: five times what the account's limits allow in `MEMORY_SECONDS`."""

REST_SECONDS = 10.0
"""Pause after a connection could not be opened in advance. Whoever needs one opens it, and hears what is wrong."""

CROWDED_SECONDS = 0.5
"""Pause when the account's limits allowed no start at once; they allow some every second."""

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.warm")


@dataclass(frozen=True, slots=True)
class WarmLimits:
    """At most `most` connections for a model, 0 for none ever; each is given up after `idle_seconds`."""

    most: int = 0
    idle_seconds: float = 15.0


class Demand:
    """How many connections the starts of the last `MEMORY_SECONDS` ask for. Times are in seconds of any clock."""

    def __init__(self) -> None:
        self._starts: deque[tuple[float, int]] = deque(maxlen=MAX_REMEMBERED_STARTS)

    def note(self, now: float) -> None:
        """There was a start."""
        together = 1
        for earlier, _ in reversed(self._starts):
            if earlier <= now - BURST_SECONDS:
                break
            together += 1
        self._starts.append((now, together))

    def wanted(self, now: float) -> int:
        """One more than the busiest `BURST_SECONDS` asked for; 0 when nothing is remembered."""
        while self._starts and self._starts[0][0] <= now - MEMORY_SECONDS:
            self._starts.popleft()
        return 1 + max(together for _, together in self._starts) if self._starts else 0


class _End(Enum):
    """Why nobody listens to a warm connection any more; all but `TAKEN` are outcomes of the metric."""

    TAKEN = "taken"
    EXPIRED = "expired"
    LOST = "lost"


@dataclass(slots=True, eq=False)
class _Warm:
    """A connection and the task that listens to it, which `scope` ends; `end` is there when `left` is set."""

    connection: RealtimeConnection
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    left: anyio.Event = field(default_factory=anyio.Event)
    end: _End = _End.TAKEN


@dataclass(slots=True)
class _Shelf:
    """What is kept for one model. `opening` counts those under way, and those that rest after a failure."""

    ready: deque[_Warm] = field(default_factory=deque)
    demand: Demand = field(default_factory=Demand)
    opening: int = 0


Open = Callable[[str], Awaitable[RealtimeConnection]]
"""Opens a connection for a model and hears the server's first word. Raises `ProviderFailure`, also when the account's
limits allow no start just now."""


@asynccontextmanager
async def open_warm_connections(limits: WarmLimits, open_one: Open) -> AsyncIterator[WarmConnections]:
    """The pool for the time of the block; leaving it drops what was not used."""
    async with anyio.create_task_group() as tasks:
        yield WarmConnections(tasks, limits, open_one)
        tasks.cancel_scope.cancel()


class WarmConnections:
    """A pool for each model that is asked for."""

    def __init__(self, tasks: TaskGroup, limits: WarmLimits, open_one: Open) -> None:
        self._tasks = tasks
        self._limits = limits
        self._open = open_one
        self._shelves: dict[str, _Shelf] = {}  # as many as there are accepted models

    def want(self, model: str) -> bool:
        """Say that a session with `model` starts now. Whether there is a connection to `take` for it."""
        if not self._limits.most:
            return False
        shelf = self._shelves.setdefault(model, _Shelf())
        shelf.demand.note(anyio.current_time())
        WARM_CONNECTIONS.labels("used" if shelf.ready else "missed").inc()
        return bool(shelf.ready)

    async def take(self, model: str) -> RealtimeConnection | None:
        """The freshest connection for `model`, None when there is none of use.

        Waits for no network, only until the listening task has let go: a turn or two of the event loop.
        """
        shelf = self._shelves[model]
        while shelf.ready:
            warm = shelf.ready.pop()
            warm.scope.cancel()
            try:
                await warm.left.wait()
            except BaseException:
                warm.connection.drop()
                raise
            if warm.end is _End.TAKEN:
                return warm.connection
            warm.connection.drop()  # its server spoke or left in this very moment
        return None

    def restock(self, model: str) -> None:
        """Open what is missing for `model`, in the background. Call it when who asked last has been served: opening
        costs processor time, and maybe a turn that somebody waits for."""
        if model in self._shelves:
            self._refill(model, self._shelves[model])

    def _refill(self, model: str, shelf: _Shelf) -> None:
        wanted = min(self._limits.most, shelf.demand.wanted(anyio.current_time()))
        for _ in range(wanted - len(shelf.ready) - shelf.opening):
            shelf.opening += 1
            self._tasks.start_soon(self._keep_one, model, shelf, name=f"warm connection {model}")

    async def _keep_one(self, model: str, shelf: _Shelf) -> None:
        structlog.contextvars.clear_contextvars()  # of the request that was served last
        try:
            connection = await self._open_or_rest(model)
        finally:
            shelf.opening -= 1
        if connection is not None:
            await self._shelve(shelf, _Warm(connection))
        self._refill(model, shelf)

    async def _open_or_rest(self, model: str) -> RealtimeConnection | None:
        try:
            return await self._open(model)
        except ProviderFailure as failure:
            crowded = failure.fault is Fault.RATE_LIMITED
            if not crowded:
                _log.info("provider.warm_failed", model=model, fault=failure.fault.value)
        await anyio.sleep(CROWDED_SECONDS if crowded else REST_SECONDS)
        return None

    async def _shelve(self, shelf: _Shelf, warm: _Warm) -> None:
        """Keep it until it is taken, too old, or its server speaks or leaves."""
        shelf.ready.append(warm)
        try:
            with warm.scope:
                with anyio.move_on_after(self._limits.idle_seconds) as patience:
                    await warm.connection.follow(lambda output: output)
                warm.end = _End.EXPIRED if patience.cancelled_caught else _End.LOST
        finally:
            warm.left.set()
            if warm in shelf.ready:
                shelf.ready.remove(warm)
                warm.connection.drop()
        if warm.end is not _End.TAKEN:
            WARM_CONNECTIONS.labels(warm.end.value).inc()
