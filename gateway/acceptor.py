"""Takes connections from the listening socket and serves each in a task of its own.

Hypercorn's own loop does the same, but it takes leave of its idle connections in the moment in which it stops
accepting. A process whose successor shares the socket has to stop accepting long before that, or it would go on to
take connections away from those who could still serve them.
"""

from __future__ import annotations

import asyncio
import socket
from typing import cast

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework
from starlette.types import ASGIApp

from gateway.http1 import Connection, ServerConfig
from gateway.shutdown import Shutdown

CLOSE_SECONDS = 1.0
"""What is left to connections after the drain, before they are cut; and then to their requests, to end."""

PARTING_SECONDS = 5.0
"""How long a connection that nobody asks on stays open in a process that has been replaced. Its next answer would say
`Connection: close`; closing it first can cross with a request. httpx and Node's `fetch` keep idle ones no longer."""


class Acceptor:
    """The open connections of one server, and the socket they come from."""

    def __init__(self, app: ASGIApp, config: ServerConfig) -> None:
        # Starlette and Hypercorn both mean an ASGI app, in types of their own.
        self._app = ASGIWrapper(cast("ASGIFramework", app))
        self._config = config
        self._context = WorkerContext(max_requests=None)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, listener: socket.socket) -> None:
        """Accept from now on. `listener` belongs to this object then."""
        self._server = await asyncio.start_server(self._serve, sock=listener, backlog=self._config.backlog)

    def stop_accepting(self) -> None:
        """Close the socket; the connections stay."""
        if self._server is not None:
            self._server.close()

    async def part(self) -> None:
        """Let go of every connection that is idle for `PARTING_SECONDS`, and return when there is none left."""
        self._config.keep_alive_timeout = PARTING_SECONDS
        for connection in tuple(self._config.connections):
            await connection.begin_idle_time_anew()
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def aclose(self, stop: Shutdown) -> None:
        """Close the socket and all connections: idle ones now, those with a request after `CLOSE_SECONDS`, or as soon
        as `stop` is forced."""
        self.stop_accepting()
        await self._context.terminated.set()
        if self._tasks:
            await self._end(stop)

    async def _end(self, stop: Shutdown) -> None:
        """A client that does not read would be waited for as long as it takes (style notes 7.4): it is cut off."""
        forced = asyncio.create_task(stop.forced())
        ended = asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.wait((ended, forced), timeout=CLOSE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        forced.cancel()
        for connection in tuple(self._config.connections):
            connection.reset()
        await asyncio.wait((ended,), timeout=CLOSE_SECONDS)
        ended.cancel()  # what runs still: a request that does not notice that its client is gone
        await asyncio.wait((ended,), timeout=CLOSE_SECONDS)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("asyncio calls this in a task")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await Connection(self._app, loop, self._config, self._context, {}, reader, writer)
