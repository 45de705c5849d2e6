"""Hypercorn taught to speak HTTP/1.1 and nothing else, and to let go of a connection when told.

Hypercorn starts HTTP/2 on a plain socket by prior knowledge and by upgrade, whatever it is configured to do
(style notes 7.5). There a failed stream hangs and its buffers have no bound (7.3), so both are prevented at the one
method that decides, and an offer to upgrade is ignored, as RFC 9110 (7.8) allows. A WebSocket upgrade is ignored in
the same way: there is no WebSocket here, and a plain answer says so better than a failed handshake.

There is no public hook for this. `install` checks that everything it relies on is still in the installed Hypercorn.
"""

from __future__ import annotations

import asyncio
import inspect
import socket
import struct
from collections.abc import Mapping
from typing import Any

import h11
import hypercorn.protocol
import structlog
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H11Protocol
from starlette.types import Scope

from gateway.errors import error_body
from gateway.middleware.context import REQUEST_ID_HEADER, new_request_id

CONNECTION_KEY = "connection"
"""Where `scope["state"]` has the request's `Connection`."""

# Zero linger makes close() send RST and forget what was not delivered: see socket(7), SO_LINGER.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

_OVERRIDDEN: Mapping[type, Mapping[str, list[str]]] = {
    H11Protocol: {
        "_check_protocol": ["self", "event"],
        "_create_stream": ["self", "request"],
        "_send_error_response": ["self", "status_code"],
        "_send_h11_event": ["self", "event"],
    },
    TCPServer: {"run": ["self"], "protocol_send": ["self", "event"], "_close": ["self"]},
}
_CONNECTION_PARAMETERS = ["self", "app", "loop", "config", "context", "state", "reader", "writer"]
_UNREADABLE: Mapping[int, str] = {
    400: "The request could not be read as HTTP.",
    431: "The request's headers are too large.",
    501: "The request uses a transfer encoding that this server does not know.",
}
_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.http")


class UnsupportedHypercorn(RuntimeError):
    """The installed Hypercorn lacks something `install` relies on. Install the version in the lock file."""


class ServerConfig(Config):
    """Hypercorn's configuration, with what our own parts of it need."""

    def __init__(self, unreadable_headers: Mapping[str, str]) -> None:
        self.unreadable_headers = [(name.encode(), value.encode()) for name, value in unreadable_headers.items()]
        """Headers of an answer to what is no HTTP request: it never reaches the app and its layers."""
        self.connections: set[Connection] = set()
        """Every open connection."""


class Http1Protocol(H11Protocol):
    """HTTP/1.1 without ways out of it, and with JSON for what cannot be read."""

    async def _check_protocol(self, event: h11.Request) -> None:
        """Stay here. `PRI * HTTP/2.0` goes on as a request, which `HttpVersionGuard` refuses with 505."""

    async def _create_stream(self, request: h11.Request) -> None:
        headers = [(name, value) for name, value in request.headers.raw_items() if name.lower() != b"upgrade"]
        await super()._create_stream(
            h11.Request(
                method=request.method, target=request.target, headers=headers, http_version=request.http_version
            )
        )

    async def _send_error_response(self, status_code: int) -> None:
        request_id = new_request_id()
        _log.info("http.unreadable", status=status_code, request_id=request_id)
        body = error_body(_UNREADABLE.get(status_code, _UNREADABLE[400]))
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            (REQUEST_ID_HEADER.encode(), request_id.encode()),
            *self.config.response_headers("h11"),
        ]
        if isinstance(self.config, ServerConfig):
            headers += self.config.unreadable_headers
        await self._send_h11_event(h11.Response(status_code=status_code, headers=headers))
        await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())


class Connection(TCPServer):
    """One client's connection, for as long as it lasts. Requests find theirs with `connection_of`."""

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
        self._idle = True

    async def run(self) -> None:
        """Serve it to its end. A failure of one connection must not become one of the server's shutdown."""
        connections = self.config.connections if isinstance(self.config, ServerConfig) else set()
        connections.add(self)
        try:
            await super().run()
        except Exception as error:
            _log.error("http.connection_failed", exc_info=error)
        finally:
            connections.discard(self)
            self._let_go()

    async def protocol_send(self, event: Event) -> None:
        """Write. A connection that the kernel gave up (ETIMEDOUT, say) is a client that left, like any other."""
        if isinstance(event, Updated):
            self._idle = event.idle
            if self.reader.at_eof():
                return  # no next request will come, so there is no idle time to bound
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
        """Read to the end. Hypercorn's idle timer would keep a closed connection, and all that hangs on it, in memory
        for the rest of the keep-alive time: with a client that reconnects for each request, tens of kB a request."""
        await super()._read_data()
        self._idle = False
        await self.idle_task.stop()

    async def begin_idle_time_anew(self) -> None:
        """Wait for the next request, if that is what it does, as long as the configuration says by now."""
        if self._idle:
            await self.idle_task.restart(self._task_group, self._idle_timeout)

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

    def _let_go(self) -> None:
        """Leave nothing that points back here. Its streams and buffers would wait for the garbage collector, and a
        burst of connections would look like a leak."""
        self.state.clear()
        vars(self).pop("protocol", None)  # not there when the client left before it was made

    async def _close(self) -> None:
        """As Hypercorn does it; but after a reset, its FIN would overtake the RST and look like an orderly end."""
        if self._was_reset:
            await self.idle_task.stop()
        else:
            await super()._close()


def connection_of(scope: Scope) -> Connection | None:
    """The connection a request came by, None when it did not come through this server (in-process tests)."""
    found = scope.get("state", {}).get(CONNECTION_KEY)
    return found if isinstance(found, Connection) else None


def install() -> None:
    """Make Hypercorn use the classes above in this process. Raises UnsupportedHypercorn."""
    for owner, methods in _OVERRIDDEN.items():
        for name, parameters in methods.items():
            method = getattr(owner, name, None)
            found = inspect.iscoroutinefunction(method) and list(inspect.signature(method).parameters) == parameters
            _require(found, f"coroutine {owner.__name__}.{name}({', '.join(parameters)})")
    connection_parameters = list(inspect.signature(TCPServer.__init__).parameters)
    _require(connection_parameters == _CONNECTION_PARAMETERS, "TCPServer with the known parameters")
    _require(
        "H11Protocol" in hypercorn.protocol.ProtocolWrapper.__init__.__code__.co_names,
        "ProtocolWrapper that looks up H11Protocol",
    )
    vars(hypercorn.protocol)["H11Protocol"] = Http1Protocol


def _require(present: bool, what: str) -> None:
    if not present:
        raise UnsupportedHypercorn(
            f"The installed Hypercorn has no {what}, so HTTP/2 could not be kept out. "
            "Install the version in requirements.lock."
        )
