"""Being told to stop: once politely, twice at once."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import structlog

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.server")


class Shutdown:
    """The first `request` asks for a drain, every further one for an end without waiting.

    `hand_over` asks for an end as well, of a process that others have taken the place of.
    """

    def __init__(self) -> None:
        self._requested = anyio.Event()
        self._drain = anyio.Event()
        self._forced = anyio.Event()
        self._handing_over = False

    def request(self) -> None:
        """Ask, or ask again."""
        self._requested.set()
        (self._forced if self._drain.is_set() else self._drain).set()

    def hand_over(self) -> None:
        """Ask for no more connections, and for a drain once those there are have gone over to somebody else."""
        self._handing_over = self._handing_over or not self._requested.is_set()
        self._requested.set()

    @property
    def handing_over(self) -> bool:
        """Whether `hand_over` came first."""
        return self._handing_over

    async def requested(self) -> None:
        """Return once it was asked for, either way."""
        await self._requested.wait()

    async def drain_requested(self) -> None:
        """Return once a drain was asked for, which those who hand over do not begin with."""
        await self._drain.wait()

    async def forced(self) -> None:
        """Return once it was asked for twice."""
        await self._forced.wait()


@asynccontextmanager
async def stop_on_signals(on_hangup: Callable[[Shutdown], None] | None = None) -> AsyncIterator[Shutdown]:
    """A `Shutdown` that SIGINT and SIGTERM request, for as long as the body runs. Only in the main thread.

    SIGHUP is left alone unless there is something to call for it.
    """
    stop = Shutdown()
    handled = STOP_SIGNALS if on_hangup is None else (*STOP_SIGNALS, signal.SIGHUP)
    with anyio.open_signal_receiver(*handled) as signals:
        async with anyio.create_task_group() as tasks:

            async def pass_on() -> None:
                async for number in signals:
                    _log.info("server.signal", signal=signal.Signals(number).name)
                    if on_hangup is not None and number == signal.SIGHUP:
                        on_hangup(stop)
                    else:
                        stop.request()

            tasks.start_soon(pass_on)
            yield stop
            tasks.cancel_scope.cancel()
