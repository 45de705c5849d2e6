"""The network between a client and the test server, which itself has only a Unix socket: an address with a host and a
port, and a cable that can be held up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import parse_qs, urlsplit

import anyio

from storage.embedded import LOGIN
from tests.support.postgres import TestDatabase

PIECE_BYTES = 65_536
"""The most that is read at once."""


class Wire:
    """Relays to the server of `database`; offers no TLS, as that server.

    On asyncio's own streams: anyio waits for a Unix socket with a reader callback that can fire once more after the
    wait was cancelled, which on a busy machine ends the test with an `InvalidStateError`.
    """

    def __init__(self, database: TestDatabase) -> None:
        self._socket = parse_qs(urlsplit(database.admin_url).query)["host"][0] + "/.s.PGSQL.5432"
        self._database = database.name
        self._address = ""
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

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        async with anyio.create_task_group() as clients:

            def arrived(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                clients.start_soon(self._serve, reader, writer)

            server = await asyncio.start_server(arrived, "127.0.0.1")
            self._address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}/{self._database}"
            yield
            server.close()
            clients.cancel_scope.cancel()

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_unix_connection(self._socket)
        try:
            async with anyio.create_task_group() as both:
                both.start_soon(self._to_server, client, to_server)
                both.start_soon(self._to_client, server, to_client)
        finally:
            to_server.close()
            to_client.close()

    async def _to_server(self, client: asyncio.StreamReader, to_server: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await client.read(PIECE_BYTES):
                if not self._flowing.is_set():
                    self._stuck.set()
                    await self._flowing.wait()
                to_server.write(piece)
                await to_server.drain()
            to_server.write_eof()

    async def _to_client(self, server: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await server.read(PIECE_BYTES):
                to_client.write(piece)
                await to_client.drain()
            to_client.write_eof()


@asynccontextmanager
async def wired(database: TestDatabase) -> AsyncIterator[Wire]:
    """A wire to the database's server, cut at the end."""
    wire = Wire(database)
    async with wire.listening():
        yield wire
