"""Being told to stop: once politely, twice at once."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import structlog

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.server")


class Shutdown:
    """The first `request` asks for a drain, every further one for an end without waiting."""

    def __init__(self) -> None:
        self._requested = anyio.Event()
        self._forced = anyio.Event()

    def request(self) -> None:
        """Ask, or ask again."""
        (self._forced if self._requested.is_set() else self._requested).set()

    async def requested(self) -> None:
        """Return once it was asked for."""
        await self._requested.wait()

    async def forced(self) -> None:
        """Return once it was asked for twice."""
        await self._forced.wait()


@asynccontextmanager
async def stop_on_signals() -> AsyncIterator[Shutdown]:
    """A `Shutdown` that SIGINT and SIGTERM request, for as long as the body runs. Only in the main thread."""
    stop = Shutdown()
    with anyio.open_signal_receiver(*STOP_SIGNALS) as signals:
        async with anyio.create_task_group() as tasks:

            async def pass_on() -> None:
                async for number in signals:
                    _log.info("server.signal", signal=signal.Signals(number).name)
                    stop.request()

            tasks.start_soon(pass_on)
            yield stop
            tasks.cancel_scope.cancel()
