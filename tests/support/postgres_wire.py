"""The network between a client and the test server, which itself has only a Unix socket: an address with a host and a
port, and a cable that can be held up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import parse_qs, urlsplit

import anyio
from anyio.abc import SocketAttribute, SocketStream

from storage.embedded import LOGIN
from tests.support.postgres import TestDatabase

_GONE = (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError)
"""Either end may leave without a goodbye."""


class Wire:
    """Relays to the server of `database`; offers no TLS, as that server."""

    def __init__(self, database: TestDatabase, port: int) -> None:
        self._socket = parse_qs(urlsplit(database.admin_url).query)["host"][0] + "/.s.PGSQL.5432"
        self._address = f"127.0.0.1:{port}/{database.name}"
        self._flowing = anyio.Event()
        self._flowing.set()
        self._stuck = anyio.Event()

    @property
    def admin_url(self) -> str:
        return f"postgresql://postgres@{self._address}"

    @property
    def gateway_url(self) -> str:
        return f"postgresql://{LOGIN}@{self._address}"

    def hold(self) -> anyio.Event:
        """Keep what clients send from now on; gives an event for when there is something."""
        self._flowing, self._stuck = anyio.Event(), anyio.Event()
        return self._stuck

    def let_go(self) -> None:
        """Pass on what was kept, and what follows."""
        self._flowing.set()

    async def serve(self, near: SocketStream) -> None:
        try:
            async with near, await anyio.connect_unix(self._socket) as far, anyio.create_task_group() as both:
                both.start_soon(self._to_server, near, far)
                both.start_soon(self._to_client, far, near)
        except* _GONE:
            pass  # closing a socket whose other end has left tells of it once more

    async def _to_server(self, near: SocketStream, far: SocketStream) -> None:
        with suppress(*_GONE):
            async for piece in near:
                if not self._flowing.is_set():
                    self._stuck.set()
                    await self._flowing.wait()
                await far.send(piece)
        with suppress(*_GONE):
            await far.send_eof()

    async def _to_client(self, far: SocketStream, near: SocketStream) -> None:
        with suppress(*_GONE):
            async for piece in far:
                await near.send(piece)
        await near.aclose()


@asynccontextmanager
async def wired(database: TestDatabase) -> AsyncIterator[Wire]:
    """A wire to the database's server, cut at the end."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as group:
        wire = Wire(database, listener.extra(SocketAttribute.local_port))  # noqa: S610  # not Django's
        group.start_soon(listener.serve, wire.serve)
        yield wire
        group.cancel_scope.cancel()
