"""Acting at the n-th moment at which any task waits: for cancelling work everywhere it can be cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from contextlib import asynccontextmanager
from typing import Any


class Checkpoints:
    """Counts the suspensions of the tasks that are started while it is `installed`; asyncio's loops only."""

    def __init__(self, act_at: int, act: Callable[[], None]) -> None:
        self.count = 0
        self._act_at = act_at
        self._act = act

    @property
    def acted(self) -> bool:
        return self.count >= self._act_at

    @asynccontextmanager
    async def installed(self) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        before = loop.get_task_factory()
        loop.set_task_factory(self._new_task)
        try:
            yield
        finally:
            loop.set_task_factory(before)

    def suspended(self) -> None:
        self.count += 1
        if self.count == self._act_at:
            self._act()

    def _new_task(self, loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
        return asyncio.Task(self._watched(work), loop=loop, **options)

    async def _watched(self, work: Coroutine[Any, Any, Any]) -> Any:
        return await _Steps(work, self.suspended)


class _Steps:
    """A coroutine's steps, one at a time, with a call before each wait."""

    def __init__(self, work: Coroutine[Any, Any, Any], suspended: Callable[[], None]) -> None:
        self._work = work
        self._suspended = suspended

    def __await__(self) -> Generator[Any, Any, Any]:
        error: BaseException | None = None
        while True:
            try:
                waited_for = self._work.send(None) if error is None else self._work.throw(error)
            except StopIteration as finished:
                return finished.value
            self._suspended()
            try:
                yield waited_for
            except BaseException as thrown:
                error = thrown
            else:
                error = None
