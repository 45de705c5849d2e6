"""Takes connections from the listening socket, which other processes may share, and serves each in a task of its own.

Hypercorn's own loop does the same for one process. It takes leave of its idle connections in the moment in which it
stops accepting; but a process that has been replaced has to stop long before that, or it would take connections away
from those who can still serve them. And it takes whatever is there, so that one of two processes got 36 of 40 streams.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

import structlog
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework
from starlette.types import ASGIApp

from gateway.connection import Connection
from gateway.http1 import ServerConfig
from gateway.shutdown import Shutdown

CLOSE_SECONDS = 1.0
"""What is left to connections after the drain, before they are cut; and then to their requests, to end."""

PARTING_SECONDS = 5.0
"""How long a connection that nobody asks on stays open in a process that has been replaced. Its next answer would say
`Connection: close`; closing it first can cross with a request. httpx and Node's `fetch` keep idle ones no longer."""

ACCEPT_PAUSE_SECONDS = 1.0
"""After an accept that the system had no means for: file descriptors for the most part, which connections that end
give back. Until then the queue holds who comes."""

COURTESY_SECONDS = 0.001
"""For every `CONNECTIONS_PER_COURTESY` that a process has, it lets those who share the socket go first for so long: the
one with the fewest is the quickest. Less than this the event loop's clock cannot tell apart."""

CONNECTIONS_PER_COURTESY = 4
"""So that some 20 connections more than the others have count; beyond `MAX_COURTESY_SECONDS` all are equal again."""

MAX_COURTESY_SECONDS = 0.005
"""Nobody waits longer for being accepted, however many connections there are."""

MAX_ACCEPTS_AT_ONCE = 32
"""In one turn of the event loop, which is long when there is much to do: with one in each, whoever came behind a flood
waited for 5 s and more. Each turn takes twice as many as the one before it, until nobody waits: two processes get as
many as each other."""

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.server")


class Acceptor:
    """The open connections of one server, and the socket they come from."""

    def __init__(self, app: ASGIApp, config: ServerConfig) -> None:
        # Starlette and Hypercorn both mean an ASGI app, in types of their own.
        self._app = ASGIWrapper(cast("ASGIFramework", app))
        self._config = config
        self._context = WorkerContext(max_requests=None)
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: socket.socket | None = None
        self._accept: Callable[[], None] = self._accept_waiting
        self._accepts_at_once = 1

    def open(self, listener: socket.socket) -> None:
        """Accept from now on. `listener` belongs to this object then."""
        listener.setblocking(False)
        self._listener = listener
        self._resume()

    def open_shared(self, listener: socket.socket) -> None:
        """The same with a socket that other processes accept from as well."""
        self._accept = self._accept_after_others
        self.open(listener)

    def stop_accepting(self) -> None:
        """Close the socket; the connections stay."""
        listener, self._listener = self._listener, None
        if listener is not None:
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()

    async def part(self) -> None:
        """Let go of every connection that is idle for `PARTING_SECONDS`, and return when there is none left."""
        self._config.keep_alive_timeout = PARTING_SECONDS
        for connection in self._config.connections:
            connection.rest_anew()
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def aclose(self, stop: Shutdown) -> None:
        """Close the socket and all connections: idle ones now, those with a request after `CLOSE_SECONDS`, or as soon
        as `stop` is forced."""
        self.stop_accepting()
        await self._context.terminated.set()
        self._config.connections.give_up_waiting()
        if self._tasks:
            await self._end(stop)

    async def _end(self, stop: Shutdown) -> None:
        """A client that does not read would be waited for as long as it takes (style notes 7.4): it is cut off."""
        forced = asyncio.create_task(stop.forced())
        ended = asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.wait((ended, forced), timeout=CLOSE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        forced.cancel()
        for connection in self._config.connections:
            connection.reset()
        await asyncio.wait((ended,), timeout=CLOSE_SECONDS)
        ended.cancel()  # what runs still: a request that does not notice that its client is gone
        await asyncio.wait((ended,), timeout=CLOSE_SECONDS)

    def _resume(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _pause(self, seconds: float, then: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        if self._listener is not None:
            loop.remove_reader(self._listener)
        loop.call_later(seconds, then)

    def _accept_after_others(self) -> None:
        courtesy = len(self._tasks) // CONNECTIONS_PER_COURTESY * COURTESY_SECONDS

        def accept() -> None:
            self._resume()
            self._accept_waiting()

        self._pause(min(courtesy, MAX_COURTESY_SECONDS), accept)

    def _accept_waiting(self) -> None:
        for _ in range(self._accepts_at_once):
            if not self._accept_one():
                self._accepts_at_once = 1
                return
        self._accepts_at_once = min(2 * self._accepts_at_once, MAX_ACCEPTS_AT_ONCE)

    def _accept_one(self) -> bool:
        """Whether somebody waited."""
        if self._listener is None:
            return False
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False  # another process was quicker, or the client gave up
        except OSError as error:
            _log.error("server.cannot_accept", error=error.strerror, pause_seconds=ACCEPT_PAUSE_SECONDS)
            self._pause(ACCEPT_PAUSE_SECONDS, self._resume)
            return False
        task = asyncio.get_running_loop().create_task(self._serve(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _serve(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        try:
            reader, writer = await asyncio.open_connection(sock=connection)
        except OSError:  # gone already
            connection.close()
            return
        loop = asyncio.get_running_loop()
        await Connection(self._app, loop, self._config, self._context, {}, reader, writer)
