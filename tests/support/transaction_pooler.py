"""A transaction pooler, as PgBouncer and Supavisor are in that mode: a client has a server connection for as long as a
transaction, and none while it is idle. What the server says to a connection that nobody has is lost."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import anyio
from anyio.abc import TaskGroup

from storage.embedded import LOGIN
from tests.support.postgres import TestDatabase

SSL_REQUEST = 80877103
READY = b"Z"
IDLE = b"I"
"""ReadyForQuery, and the server's word for "not in a transaction" in it (PostgreSQL protocol, message formats)."""

ENDS_A_FLIGHT = (b"Q", b"S")
"""Messages of a client that the server answers with ReadyForQuery: a simple query, and Sync."""


@dataclass
class _Server:
    """A connection to the server, what that said when it was opened, and the client that has it now."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    greeting: bytes
    client: _Client | None = None


@dataclass
class _Client:
    """`flights` are those the server has not answered to their end."""

    writer: asyncio.StreamWriter
    server: _Server | None = None
    flights: int = 0


class TransactionPooler:
    """Hands its server connections out last in, first out, as PgBouncer does."""

    def __init__(self, database: TestDatabase, tasks: TaskGroup) -> None:
        self._socket = parse_qs(urlsplit(database.admin_url).query)["host"][0] + "/.s.PGSQL.5432"
        self._database = database.name
        self._tasks = tasks
        self._idle: list[_Server] = []
        self.address = ""

    @property
    def gateway_url(self) -> str:
        return f"postgresql://{LOGIN}@{self.address}/{self._database}"

    def arrived(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a new client."""
        self._tasks.start_soon(self._serve, reader, _Client(writer))

    async def _serve(self, reader: asyncio.StreamReader, client: _Client) -> None:
        try:
            with suppress(asyncio.IncompleteReadError, OSError):
                startup = await _startup(reader, client.writer)
                server = await self._take(startup)
                client.writer.write(server.greeting)
                self._idle.append(server)
                while (message := await _message(reader))[:1] != b"X":
                    if client.server is None:
                        client.server = await self._take(startup)
                        client.server.client = client
                    client.flights += message[:1] in ENDS_A_FLIGHT
                    client.server.writer.write(message)
        finally:
            if client.server is not None:
                client.server.writer.close()
            client.writer.close()

    async def _take(self, startup: bytes) -> _Server:
        return self._idle.pop() if self._idle else await self._open(startup)

    async def _open(self, startup: bytes) -> _Server:
        reader, writer = await asyncio.open_unix_connection(self._socket)
        writer.write(startup)
        greeting = b""
        while True:
            message = await _message(reader)
            greeting += message
            if message[:1] == READY:
                break
        server = _Server(reader, writer, greeting)
        self._tasks.start_soon(self._pass_on, server)
        return server

    async def _pass_on(self, server: _Server) -> None:
        try:
            with suppress(asyncio.IncompleteReadError, OSError):
                while True:
                    message = await _message(server.reader)
                    client = server.client
                    if client is None:
                        continue
                    client.writer.write(message)
                    if message[:1] == READY:
                        client.flights -= 1
                        if message[5:] == IDLE and not client.flights:
                            client.server = server.client = None
                            self._idle.append(server)
        finally:
            server.writer.close()


async def _startup(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """The client's first message, after no to TLS."""
    while True:
        head = await reader.readexactly(8)
        length, code = struct.unpack("!ii", head)
        if code != SSL_REQUEST:
            return head + await reader.readexactly(length - 8)
        writer.write(b"N")


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(5)
    return head + await reader.readexactly(struct.unpack("!i", head[1:])[0] - 4)


@asynccontextmanager
async def transaction_pooler(database: TestDatabase) -> AsyncIterator[TransactionPooler]:
    """In front of the database's server, for the body."""
    async with anyio.create_task_group() as tasks:
        pooler = TransactionPooler(database, tasks)
        server = await asyncio.start_server(pooler.arrived, "127.0.0.1")
        pooler.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield pooler
        server.close()
        tasks.cancel_scope.cancel()
