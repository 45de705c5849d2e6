"""How long a connection may be without a request.

Hypercorn has one limit for it, and a task that sleeps through it for each connection. Two different waits are behind
that one limit. Between two requests a connection may rest for as long as proxies let it; but once a head has begun it
has to come, or a byte now and then would hold a descriptor for most of that time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from typing import Any

from hypercorn.asyncio.worker_context import AsyncioSingleTask

HEAD_SECONDS = 10.0
"""From a connection's opening, or the first byte of a further request, to the end of that request's head. A phone on
a bad network needs three round trips; nginx's 60 s are from a time of modems."""


class _Phase(Enum):
    """What the connection is waiting for."""

    OPENING = auto()
    HEAD = auto()
    REST = auto()
    NOTHING = auto()


class RequestWait(AsyncioSingleTask):
    """Stands where Hypercorn has its idle task, and is started and stopped by it. One timer, no task.

    `rest_seconds` is asked at the beginning of each rest. `over` is called when the wait has been too long, `began` and
    `ended` around every wait.
    """

    def __init__(
        self,
        *,
        head_seconds: float,
        rest_seconds: Callable[[], float],
        began: Callable[[], None],
        ended: Callable[[], None],
        over: Callable[[], None],
    ) -> None:
        super().__init__()
        self._head_seconds = head_seconds
        self._rest_seconds = rest_seconds
        self._began = began
        self._ended = ended
        self._over = over
        self._phase = _Phase.OPENING
        self._timer: asyncio.TimerHandle | None = None

    async def restart(self, _task_group: Any, _action: Any) -> None:
        """A request is waited for from now on."""
        first = self._phase is _Phase.OPENING
        self._enter(_Phase.HEAD if first else _Phase.REST, self._head_seconds if first else self._rest_seconds())
        self._began()

    def rest_anew(self) -> None:
        """The time between two requests has changed: if that is what passes, it begins again."""
        if self._phase is _Phase.REST:
            self._enter(_Phase.REST, self._rest_seconds())

    def head_begun(self) -> None:
        """Its first bytes are here."""
        if self._phase is _Phase.REST:
            self._enter(_Phase.HEAD, self._head_seconds)

    async def stop(self) -> None:
        """It is here, or will not come any more."""
        self._cancel()
        self._phase = _Phase.NOTHING
        self._ended()

    def _enter(self, phase: _Phase, seconds: float) -> None:
        self._cancel()
        self._phase = phase
        self._timer = asyncio.get_running_loop().call_later(seconds, self._over)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
