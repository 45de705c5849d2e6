"""One client's connection: how long it may wait, when there is no room for it, and how it is let go of."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from typing import Any

import structlog
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.http1 import HeadBegun, Http1Protocol, ServerConfig
from gateway.last_answer import last_bytes
from gateway.push import PUSH_EXTENSION
from gateway.request_wait import RequestWait

CONNECTION_KEY = "connection"
"""Where `scope["state"]` has the request's `Connection`."""

REFUSAL_SECONDS = 1.0
"""How long the request of a connection that there is no room for is waited for. Its bytes have to be read before the
socket is closed, or the client sees a reset instead of the answer."""

MAX_RECEIVE_BYTES = 64 * 1024
"""One read; Hypercorn's own size."""

# Zero linger makes close() send RST and forget what was not delivered: see socket(7), SO_LINGER.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.http")


class Connection(TCPServer):
    """One client's connection, for as long as it lasts. Requests find theirs with `connection_of`."""

    config: ServerConfig
    idle_task: RequestWait

    def __init__(
        self,
        app: Any,
        loop: asyncio.AbstractEventLoop,
        config: Config,
        context: Any,
        state: dict[str, Any],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        super().__init__(app, loop, config, context, {**state, CONNECTION_KEY: self}, reader, writer)
        self._was_reset = False
        self.idle_task = RequestWait(
            head_seconds=self.config.head_seconds,
            rest_seconds=lambda: self.config.keep_alive_timeout,
            began=self._wait_began,
            ended=self._wait_ended,
            over=self._waited_too_long,
        )

    async def run(self) -> None:
        """Serve it to its end. A failure of one connection must not become one of the server's shutdown."""
        try:
            if self.config.connections.admit(self):
                await super().run()
            else:
                await self._refuse()
        except Exception as error:
            _log.error("http.connection_failed", exc_info=error)
        finally:
            self.config.connections.leave(self)
            self._let_go()

    @property
    def unsent_bytes(self) -> int:
        """Bytes of an answer that wait in this process."""
        return self.writer.transport.get_write_buffer_size()

    def push(self, piece: bytes) -> bool:
        """See `gateway.push.Push`. What waits in this process is never more than one piece."""
        transport, protocol = self.writer.transport, self._http1
        if protocol is None or not protocol.body_has_begun:
            return False
        if transport.is_closing() or transport.get_write_buffer_size():
            return False
        transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        return True

    @property
    def _http1(self) -> Http1Protocol | None:
        wrapper = vars(self).get("protocol")  # not there once the connection has ended
        return wrapper.protocol if wrapper is not None and isinstance(wrapper.protocol, Http1Protocol) else None

    def give_up(self) -> None:
        """Close it in the middle of nothing, whatever its client does."""
        if self.unsent_bytes:
            self.reset()
        else:
            self.writer.close()

    async def invite_body(self) -> None:
        """See `Http1Protocol.invite_body`."""
        protocol = self._http1
        if protocol is not None:
            await protocol.invite_body()

    async def protocol_send(self, event: Event) -> None:
        """Write. A connection that the kernel gave up (ETIMEDOUT, say) is a client that left, like any other."""
        if isinstance(event, Updated) and event.idle and self.reader.at_eof():
            return  # no next request will come, so there is no idle time to bound
        if isinstance(event, HeadBegun):
            self.idle_task.head_begun()
            return
        if isinstance(event, RawData) and self.writer.transport.is_closing():
            # Hypercorn takes what is sent to nobody without ever yielding, and a loop that sends would keep the whole
            # process from hearing that its client left (style notes 7.2).
            await asyncio.sleep(0)
            await self.protocol.handle(Closed())
            return
        try:
            await super().protocol_send(event)
        except OSError:  # Hypercorn handles ConnectionError only, which the stall limit's error is not
            await self.protocol.handle(Closed())

    async def _read_data(self) -> None:
        """Read to the end. Hypercorn's own would answer 400 to a client that left within a request, and its idle timer
        would keep a closed connection, and all that hangs on it, in memory for the rest of the keep-alive time: with a
        client that reconnects for each request, tens of kB a request."""
        with suppress(OSError):
            while data := await self.reader.read(MAX_RECEIVE_BYTES):
                await self.protocol.handle(RawData(data))
        await self.protocol.handle(Closed())
        await self.idle_task.stop()

    def rest_anew(self) -> None:
        """Wait for the next request, if that is what it does, as long as the configuration says by now."""
        self.idle_task.rest_anew()

    def reset(self) -> None:
        """Drop the connection now: RST, and nothing more is delivered. For a reader past its stall limit, since an
        orderly close would wait until that reader reads."""
        if self._was_reset or self.writer.transport.is_closing():
            self.writer.transport.abort()
            return
        self._was_reset = True
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.writer.transport.abort()

    def _wait_began(self) -> None:
        if self.context.terminated.is_set():
            self.give_up()
        else:
            self.config.connections.waits(self)

    def _wait_ended(self) -> None:
        self.config.connections.works(self)

    def _waited_too_long(self) -> None:
        """Close it; who has sent a part of a request is told why."""
        protocol = self._http1
        if protocol is not None and protocol.head_has_begun:
            self.writer.write(last_bytes(408, self.config.last_headers()))
        self.writer.close()

    async def _refuse(self) -> None:
        """There is no room: say so, or not even that."""
        if not self.config.connections.may_refuse_in_words():
            self.writer.transport.abort()
            return
        try:
            with suppress(OSError, asyncio.TimeoutError):
                await asyncio.wait_for(self.reader.read(MAX_RECEIVE_BYTES), REFUSAL_SECONDS)
                self.writer.write(last_bytes(503, self.config.last_headers()))
            self.writer.close()
        finally:
            self.config.connections.refused()

    def _let_go(self) -> None:
        """Leave nothing that points back here. Its streams and buffers would wait for the garbage collector, and a
        burst of connections would look like a leak."""
        self.state.clear()
        vars(self).pop("protocol", None)  # not there when the client left before it was made
        if (error := self.reader.exception()) is not None:
            error.__traceback__ = None  # whose frames have the reader, which has the error
        vars(self).pop("idle_task", None)

    async def _close(self) -> None:
        """As Hypercorn does it; but after a reset, its FIN would overtake the RST and look like an orderly end."""
        if self._was_reset:
            await self.idle_task.stop()
        else:
            await super()._close()


class InviteBody:
    """`100 Continue` for who asked for it, when the body is first read, not before: a refusal is then the only answer,
    and the body is not sent in vain (RFC 9110, 10.1.1)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = connection_of(scope)
        if connection is None or "expect" not in Headers(scope=scope):
            await self._app(scope, receive, send)
            return

        async def invite_and_receive() -> Message:
            await connection.invite_body()
            return await receive()

        await self._app(scope, invite_and_receive, send)


class OfferPush:
    """Offers the extension where a body of unknown length is sent in chunks: to a GET or a POST over HTTP/1.1."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = connection_of(scope)
        if connection is not None and scope["http_version"] == "1.1" and scope["method"] in {"GET", "POST"}:
            scope["extensions"][PUSH_EXTENSION] = connection.push
        await self._app(scope, receive, send)


def connection_of(scope: Scope) -> Connection | None:
    """The connection a request came by, None when it did not come through this server (in-process tests)."""
    found = scope.get("state", {}).get(CONNECTION_KEY)
    return found if isinstance(found, Connection) else None
