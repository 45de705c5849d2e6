"""One realtime connection: a WebSocket on a stream that can be made to misbehave."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, wrap_server_stream

MAX_MESSAGE_BYTES = 1024 * 1024
"""Longest message taken from a client: a text of 250,000 characters in one append."""

HANDSHAKE_SECONDS = 10.0
"""A client that has not asked for the upgrade by then is dropped."""

CLOSE_SECONDS = 2.0
"""Longest wait for the client's close frame after ours."""

_PONG_FRAME = 0x8A
"""First byte of an unfragmented pong (RFC 6455, 5.2)."""

log = logging.getLogger("bench.emulator")


class LineEnded(Exception):
    """The connection is over. `code` is the close code, 1006 when there was no close frame."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(f"the connection ended with {code}")


class FaultyStream(trio.abc.Stream):
    """A TCP stream that can lose pongs or end in the middle of a write."""

    def __init__(self, inner: trio.SocketStream) -> None:
        self._inner = inner
        self._cut_next = False
        self._lose_pongs = False

    def cut_next_write(self) -> None:
        """Half of the next write goes out, then the connection ends."""
        self._cut_next = True

    def lose_pongs(self) -> None:
        """From now on pings stay unanswered."""
        self._lose_pongs = True

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._lose_pongs and data and data[0] == _PONG_FRAME:
            return
        if not self._cut_next:
            await self._inner.send_all(data)
            return
        await self._inner.send_all(data[: len(data) // 2])
        await self._inner.aclose()
        raise trio.BrokenResourceError("cut on purpose")

    async def wait_send_all_might_not_block(self) -> None:
        await self._inner.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._inner.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._inner.aclose()


class Line:
    """Whole messages in and out of an accepted connection."""

    def __init__(self, socket: WebSocketConnection, stream: FaultyStream) -> None:
        self._socket = socket
        self._stream = stream
        self.last_activity = trio.current_time()
        self.closing = False
        """We are closing, or have closed."""

    async def send(self, message: str | bytes) -> None:
        """Send one frame, of text or binary. Raises `LineEnded`."""
        try:
            await self._socket.send_message(message)
        except ConnectionClosed as closed:
            raise _ended(closed) from None
        self.last_activity = trio.current_time()

    async def receive(self) -> str | bytes:
        """Next message. Raises `LineEnded`."""
        try:
            message: str | bytes = await self._socket.get_message()
        except ConnectionClosed as closed:
            raise _ended(closed) from None
        self.last_activity = trio.current_time()
        return message

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close with a bounded handshake."""
        self.closing = True
        with trio.move_on_after(CLOSE_SECONDS):
            await self._socket.aclose(code, reason)

    async def cut(self, message: str) -> None:
        """Send half of a message's frame and end the connection without a close frame."""
        self._stream.cut_next_write()
        try:
            await self._socket.send_message(message)
        except ConnectionClosed:
            log.debug("cut a connection on purpose")

    def lose_pongs(self) -> None:
        """From now on pings stay unanswered."""
        self._stream.lose_pongs()


@asynccontextmanager
async def open_request(
    stream: trio.SocketStream,
) -> AsyncIterator[tuple[WebSocketRequest, FaultyStream] | None]:
    """The upgrade request on a new TCP connection, None when the peer never made one. Ends the connection after."""
    faulty = FaultyStream(stream)
    async with trio.open_nursery() as nursery:
        request: WebSocketRequest | None = None
        with trio.move_on_after(HANDSHAKE_SECONDS):
            try:
                request = await wrap_server_stream(nursery, faulty, max_message_size=MAX_MESSAGE_BYTES)
            except ConnectionClosed:
                log.debug("a peer connected and asked for no upgrade")
        yield (request, faulty) if request else None
        nursery.cancel_scope.cancel()
    await trio.aclose_forcefully(stream)


def _ended(closed: ConnectionClosed) -> LineEnded:
    return LineEnded(1006 if closed.reason is None else int(closed.reason.code))
