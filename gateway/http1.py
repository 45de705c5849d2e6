"""Hypercorn taught to speak HTTP/1.1 and nothing else.

Hypercorn starts HTTP/2 on a plain socket by prior knowledge and by upgrade, whatever it is configured to do
(style notes 7.5). There a failed stream hangs and its buffers have no bound (7.3), so both are prevented at the one
method that decides, and an offer to upgrade is ignored, as RFC 9110 (7.8) allows. A WebSocket upgrade is ignored in
the same way: there is no WebSocket here, and a plain answer says so better than a failed handshake.

A request's head is read by `gateway.request_head`, and what has a fault is answered by `gateway.last_answer`; what else
there is to a connection is in `gateway.connection`.

There is no public hook for this. `install` checks that everything it relies on is still in the installed Hypercorn.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import h11
import hypercorn.protocol
import structlog
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import AsyncioSingleTask
from hypercorn.config import Config
from hypercorn.events import Event, RawData
from hypercorn.protocol.h11 import H11Protocol

from gateway.last_answer import last_answer
from gateway.open_connections import OpenConnections
from gateway.request_head import StrictConnection
from gateway.request_wait import HEAD_SECONDS

_OVERRIDDEN: Mapping[type, Mapping[str, list[str]]] = {
    H11Protocol: {
        "_check_protocol": ["self", "event"],
        "_create_stream": ["self", "request"],
        "_send_error_response": ["self", "status_code"],
        "_send_h11_event": ["self", "event"],
        "handle": ["self", "event"],
    },
    AsyncioSingleTask: {"restart": ["self", "task_group", "action"], "stop": ["self"]},
    TCPServer: {"run": ["self"], "protocol_send": ["self", "event"], "_read_data": ["self"], "_close": ["self"]},
}
_CONNECTION_PARAMETERS = ["self", "app", "loop", "config", "context", "state", "reader", "writer"]
_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.http")


class UnsupportedHypercorn(RuntimeError):
    """The installed Hypercorn lacks something `install` relies on. Install the version in the lock file."""


class ServerConfig(Config):
    """Hypercorn's configuration, with what our own parts of it need."""

    def __init__(
        self, unreadable_headers: Mapping[str, str], max_connections: int, head_seconds: float = HEAD_SECONDS
    ) -> None:
        self._unreadable_headers = [(name.encode(), value.encode()) for name, value in unreadable_headers.items()]
        self.head_seconds = head_seconds
        """Time that a request's head has to arrive."""
        self.connections = OpenConnections(max_connections)
        """Every open connection."""

    def last_headers(self) -> list[tuple[bytes, bytes]]:
        """Headers of an answer to what is no HTTP request: it never reaches the app and its layers."""
        return [*self.response_headers("h11"), *self._unreadable_headers]


@dataclass(frozen=True)
class HeadBegun(Event):
    """The first bytes of a request are here, its head is not yet whole."""


class Http1Protocol(H11Protocol):
    """HTTP/1.1 without ways out of it, and with JSON for what cannot be read."""

    config: ServerConfig

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.connection: StrictConnection = StrictConnection(self.config.h11_max_incomplete_size)

    @property
    def head_has_begun(self) -> bool:
        """Whether a part of a request's head is here, and no request."""
        received, _ = self.connection.trailing_data
        return self.stream is None and self.connection.their_state is h11.IDLE and bool(received)

    @property
    def body_has_begun(self) -> bool:
        """Whether an answer's head is out and its end is not."""
        return self.connection.our_state is h11.SEND_BODY

    async def handle(self, event: Event) -> None:
        await super().handle(event)
        if isinstance(event, RawData) and self.head_has_begun:
            await self.send(HeadBegun())

    async def invite_body(self) -> None:
        """Send `100 Continue` to a client that waits for it, once."""
        if self.connection.client_is_waiting_for_100_continue:
            await self._send_h11_event(h11.InformationalResponse(status_code=100, headers=[]))

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
        for event in last_answer(status_code, self.config.last_headers()):
            await self._send_h11_event(event)


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
