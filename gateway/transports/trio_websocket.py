"""The second transport: trio-websocket on trio, an independent implementation of RFC 6455.

The library is used by its low-level entry: we open the stream ourselves, because dropping a socket at once, also
after an oversized message or a peer that never closes TCP, needs the stream in hand.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeAlias, cast
from urllib.parse import SplitResult, urlsplit

import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, WebSocketConnection, wrap_client_stream

from gateway.transports import (
    CLOSE_HANDSHAKE_SECONDS,
    MAX_QUEUED_MESSAGES,
    NO_CLOSE_FRAME,
    NORMAL_CLOSURE,
    Keepalive,
    MessageRefused,
    OnMessage,
    Transport,
    TransportClosed,
    TransportUnreachable,
    UpgradeRefused,
)
from protocol.events import MAX_MESSAGE_BYTES

RECEIVE_BYTES = 64 * 1024
"""Read size of the socket: a delta of about 20 kB in one system call."""

_MESSAGE_TOO_BIG = 1009
_DEFAULT_PORTS = {"ws": 80, "wss": 443}

_Stream: TypeAlias = "trio.SocketStream | trio.SSLStream[trio.SocketStream]"


class TrioWebSocketTransport:
    """A `Transport` over one `WebSocketConnection` and the stream below it."""

    def __init__(self, connection: WebSocketConnection, stream: _Stream) -> None:
        self._connection = connection
        self._stream = stream

    async def send(self, message: str) -> None:
        try:
            await self._connection.send_message(message)
        except ConnectionClosed as error:
            raise _closed(error) from error
        except BaseException:
            # A write that was cut leaves half a frame behind, and the library would append the next one to it.
            await trio.aclose_forcefully(self._stream)
            raise

    async def receive(self) -> str | bytes:
        try:
            return await self._connection.get_message()
        except ConnectionClosed as error:
            raise _closed(error) from error

    async def follow(self, on_message: OnMessage) -> None:
        while not on_message(await self.receive()):
            pass

    async def aclose(self, code: int = NORMAL_CLOSURE) -> None:
        try:
            with trio.move_on_after(CLOSE_HANDSHAKE_SECONDS):
                await self._connection.aclose(code)
        finally:
            await trio.aclose_forcefully(self._stream)

    async def keep_alive(self, keepalive: Keepalive) -> None:
        """Ping until the socket ends, by us when a pong is missing."""
        while True:
            await trio.sleep(keepalive.interval)
            with trio.move_on_after(keepalive.timeout) as waiting:
                try:
                    await self._connection.ping()
                except ConnectionClosed:
                    return
            if waiting.cancelled_caught:
                await trio.aclose_forcefully(self._stream)
                return


class _Reader:
    """Stands where the library wants a nursery, so that its reader task cannot bring the session down.

    A refused upgrade is raised by that task, and defects too; both are kept in `error`, and `opening`, which waits
    for a handshake that will not come, is cancelled.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.opening = trio.CancelScope()
        self.error: Exception | None = None

    def start_soon(self, task: Callable[[], Awaitable[object]]) -> None:
        self._nursery.start_soon(self._run, task)

    async def _run(self, task: Callable[[], Awaitable[object]]) -> None:
        try:
            await task()
        except Exception as error:  # kept for `_handshake`; afterwards `receive` finds the channel closed
            self.error = error
        finally:
            self.opening.cancel()


@asynccontextmanager
async def connect(url: str, headers: Mapping[str, str], keepalive: Keepalive) -> AsyncIterator[Transport]:
    """See `Connect`."""
    target = urlsplit(url)
    stream = await _open_stream(target)
    raised: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                connection = await _handshake(nursery, stream, target, headers)
                transport = TrioWebSocketTransport(connection, stream)
                nursery.start_soon(transport.keep_alive, keepalive)
                yield transport
            except BaseException as error:
                raised = error
                raise
            finally:
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup:
        # The children do not fail, so the group is a wrapper around `raised`, which callers want to see bare.
        if raised is None:
            raise
    finally:
        await trio.aclose_forcefully(stream)
    if raised is not None:
        raise raised


async def _open_stream(target: SplitResult) -> _Stream:
    host, port = target.hostname or "", target.port or _DEFAULT_PORTS[target.scheme]
    try:
        if target.scheme == "ws":
            return await trio.open_tcp_stream(host, port)
        stream = await trio.open_ssl_over_tcp_stream(
            host, port, ssl_context=ssl.create_default_context(), https_compatible=True
        )
    except OSError as error:
        raise TransportUnreachable(type(error).__name__) from error
    try:
        await stream.do_handshake()
    except trio.BrokenResourceError as error:
        await trio.aclose_forcefully(stream)
        raise TransportUnreachable("TLS handshake failed") from error
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


async def _handshake(
    nursery: trio.Nursery, stream: _Stream, target: SplitResult, headers: Mapping[str, str]
) -> WebSocketConnection:
    reader = _Reader(nursery)
    with reader.opening:
        return await wrap_client_stream(
            cast("trio.Nursery", reader),
            stream,
            target.netloc,
            (target.path or "/") + (f"?{target.query}" if target.query else ""),
            extra_headers=[(name.lower().encode(), value.encode()) for name, value in headers.items()],
            message_queue_size=MAX_QUEUED_MESSAGES,
            max_message_size=MAX_MESSAGE_BYTES,
            receive_buffer_size=RECEIVE_BYTES,
        )
    if isinstance(reader.error, ConnectionRejected):
        raise UpgradeRefused(reader.error.status_code, reader.error.body or b"") from reader.error
    raise TransportUnreachable("the server ended the upgrade") from reader.error


def _closed(error: ConnectionClosed) -> TransportClosed:
    reason = error.reason
    if reason is None:
        return TransportClosed(NO_CLOSE_FRAME)
    if reason.code == _MESSAGE_TOO_BIG:
        # The library does not say who closed. All we send is small, so it was not the peer who found it too big.
        return MessageRefused(reason.code, reason.reason or "")
    return TransportClosed(reason.code, reason.reason or "")
