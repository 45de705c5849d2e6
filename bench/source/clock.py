"""One timer for all sessions: who is due in the same millisecond is served by the same wake-up."""

from __future__ import annotations

import asyncio
import heapq
import math
import time
from collections.abc import Callable
from itertools import count

Turn = Callable[[float], bool]
"""Called with how late it is, in seconds; False ends its turns."""


class Clock:
    """Turns at a fixed interval each, in the order they are due. Due times are absolute: a late turn delays itself and
    none that follows."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due: list[tuple[float, int, float, Turn]] = []
        self._numbers = count()
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = math.inf

    def start(self, delay: float, interval: float, turn: Turn) -> None:
        """`turn` is due `delay` seconds from now, then every `interval` seconds."""
        heapq.heappush(self._due, (self._loop.time() + delay, next(self._numbers), interval, turn))
        self._arm()

    def _ring(self) -> None:
        self._timer, self._rings_at = None, math.inf
        now = self._loop.time()
        while self._due and self._due[0][0] <= now:
            due, number, interval, turn = self._due[0]
            if turn(time.monotonic() - due):
                heapq.heapreplace(self._due, (due + interval, number, interval, turn))
            else:
                heapq.heappop(self._due)
        self._arm()

    def _arm(self) -> None:
        if not self._due or self._rings_at <= self._due[0][0]:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = self._due[0][0]
        self._timer = self._loop.call_at(self._rings_at, self._ring)
