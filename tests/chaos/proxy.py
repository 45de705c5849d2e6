"""A TCP proxy that can be told to cut, delay and throttle what passes through it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from storage.programs import EmbeddedPostgresError

PIECE_BYTES = 16 * 1024

Pipe = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Dial = Callable[[], Awaitable[Pipe]]


class Proxy:
    """`delay_seconds` is added to every piece on its way; `bytes_per_second` is the rate of each direction, 0 for as
    fast as possible."""

    def __init__(self, dial: Dial) -> None:
        self.delay_seconds = 0.0
        self.bytes_per_second = 0
        self.port = 0
        self._dial = dial
        self._down = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()

    def cut(self) -> None:
        """Reset every connection, now; new ones are still let through."""
        for writer in list(self._writers):
            writer.transport.abort()

    def go_down(self) -> None:
        """Reset every connection, and every new one, until `come_back`."""
        self._down = True
        self.cut()

    def come_back(self) -> None:
        """Let everything through again, at full speed."""
        self._down = False
        self.delay_seconds = 0.0
        self.bytes_per_second = 0

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a new connection."""
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def over(self) -> None:
        """End every connection, and wait for that."""
        self.go_down()
        if self._serving:
            await asyncio.wait(self._serving)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if self._down:
                writer.transport.abort()
                return
            there, back = await self._dial()
            self._writers.add(back)
            try:
                await asyncio.gather(self._pass(reader, back), self._pass(there, writer))
            finally:
                self._writers.discard(back)
                back.transport.abort()
        except (OSError, EmbeddedPostgresError):  # nobody is there, or it was cut
            writer.transport.abort()
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while piece := await source.read(PIECE_BYTES):
            if self.delay_seconds:
                await asyncio.sleep(self.delay_seconds)
            if self.bytes_per_second:
                await asyncio.sleep(len(piece) / self.bytes_per_second)
            target.write(piece)
            await target.drain()
        with suppress(OSError, RuntimeError):
            target.write_eof()


@asynccontextmanager
async def open_proxy(dial: Dial) -> AsyncIterator[Proxy]:
    """On a free port of the loopback interface."""
    proxy = Proxy(dial)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.over()


def tcp(host: str, port: int) -> Dial:
    """To a TCP server."""
    return lambda: asyncio.open_connection(host, port)


def unix(path: Callable[[], str]) -> Dial:
    """To a Unix socket, whose path may change when its server is started again."""
    return lambda: asyncio.open_unix_connection(path())
