"""Many tasks that wait for the same event and are woken a few at a time.

An event wakes all at once, and the event loop runs them all before it looks at a socket again: with 1,000 listeners of
one generation everybody else waited 100 ms at each of its pieces. Here a task that is woken wakes the next one, so
that few run between two looks, and what comes for others is served in between.
"""

from __future__ import annotations

from collections import OrderedDict

import anyio

AT_ONCE = 2
"""Tasks that run between two looks at the sockets. To send a piece takes each some 120 us, a look 20; with 8 the others
were later by half (99th percentile, 50 streams beside 1,000 listeners)."""


class Turns:
    """A place to wait for a change, and for a turn after it. Turns come in the order of waiting."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[anyio.Event, None] = OrderedDict()
        self._due: OrderedDict[anyio.Event, None] = OrderedDict()
        self._woken = 0

    async def change(self) -> None:
        """Wait for the next `changed`, then for a turn."""
        await self._wait_in(self._waiting)

    async def turn(self) -> None:
        """Wait for a turn."""
        await self._wait_in(self._due)

    def changed(self) -> None:
        """Wake all who wait for a change, in turn."""
        if not self._waiting:
            return
        self._due.update(self._waiting)
        self._waiting.clear()
        self._wake()

    async def _wait_in(self, queue: OrderedDict[anyio.Event, None]) -> None:
        mine = anyio.Event()
        queue[mine] = None
        self._wake()
        try:
            await mine.wait()
        finally:  # cancelled or not: a turn that was given must go on to the next
            if mine.is_set():
                self._woken -= 1
                self._wake()
            else:
                self._waiting.pop(mine, None)
                self._due.pop(mine, None)

    def _wake(self) -> None:
        while self._due and self._woken < AT_ONCE:
            turn, _ = self._due.popitem(last=False)
            self._woken += 1
            turn.set()
