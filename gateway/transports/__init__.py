"""The seam between the Qwen session and a WebSocket library.

A transport carries whole messages and knows nothing of what they mean. There are two, on unrelated libraries and
event loops, so that the gateway is never tested only against the library it ships with: `asyncio_websocket`
(production) and `trio_websocket` (the second opinion).

A connection is an `async with` block, because on trio somebody has to own the task that reads the socket. Leaving
the block drops the socket at once; who wants a polite end calls `aclose` first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

MAX_QUEUED_MESSAGES = 16
"""Received messages waiting for `receive`; then the socket is not read any more and TCP pushes back. Both libraries
answer no pings meanwhile, so it is more than a burst of deltas and far less than a session's worth of memory."""

MAX_REFUSAL_BYTES = 4 * 1024
"""How much of the body of a refused upgrade is kept. The vendor's error envelope is a few hundred bytes."""

CLOSE_HANDSHAKE_SECONDS = 1.0
"""Longest wait for the peer's close frame. The vendor was seen not to close by itself (protocol reference 1.8)."""

NORMAL_CLOSURE = 1000
"""Close code of a session that ended well (RFC 6455, 7.4.1)."""

NO_CLOSE_FRAME = 1006
"""Stands for a socket that ended without a close frame; never on the wire (RFC 6455, 7.4.1)."""


class TransportClosed(Exception):
    """The socket ended. `code` is the close code, 1006 when there was no close frame; `reason` is vendor text."""

    def __init__(self, code: int, reason: str = "") -> None:
        self.code = code
        self.reason = reason
        super().__init__(f"socket closed with {code}")


class MessageRefused(TransportClosed):
    """We ended the socket, because the peer sent a message over `MAX_MESSAGE_BYTES` or broke RFC 6455."""


class UpgradeRefused(Exception):
    """The server answered the upgrade with an HTTP status other than 101, redirects included.

    `body` is cut at `MAX_REFUSAL_BYTES`.
    """

    def __init__(self, status: int, body: bytes = b"") -> None:
        self.status = status
        self.body = body[:MAX_REFUSAL_BYTES]
        super().__init__(f"upgrade refused with {status}")


class TransportUnreachable(Exception):
    """No connection: name resolution, TCP, TLS or the HTTP exchange failed."""


OnMessage = Callable[[str | bytes], bool]
"""Takes one message; True when no more are wanted."""


class Transport(Protocol):
    """One open WebSocket. One task receives and one task sends; `aclose` may come from any task, more than once."""

    async def send(self, message: str) -> None:
        """Write one text message. Raises `TransportClosed`; a cancelled send leaves the transport closed."""

    async def receive(self) -> str | bytes:
        """Next whole message: `str` for text, `bytes` for binary. Raises `TransportClosed`. Cancelling loses none."""

    async def follow(self, on_message: OnMessage) -> None:
        """Hand over every message, those that came already first, until `on_message` says that it was the last.

        On asyncio it is called where the socket is read, without a switch of tasks: that is most of what a delta costs
        on its way to a listener. So it must neither block nor take long. Raises `TransportClosed`, and what
        `on_message` raises. Cancelling loses none.
        """

    async def aclose(self, code: int = NORMAL_CLOSURE) -> None:
        """Close with a bounded handshake (`CLOSE_HANDSHAKE_SECONDS`); the socket is gone afterwards. When the
        calling task is cancelled, the socket is dropped at once. Never raises for a socket already gone."""


@dataclass(frozen=True, slots=True)
class Keepalive:
    """Pings: one every `interval` seconds, the socket is dead `timeout` seconds after an unanswered one."""

    interval: float
    timeout: float


class Connect(Protocol):
    """Opens a `ws:` or `wss:` URL for the time of an `async with` block.

    Entering raises `UpgradeRefused` or `TransportUnreachable`; the deadline for it is the caller's. Leaving, by
    whatever way, drops the socket at once.
    """

    def __call__(
        self, url: str, headers: Mapping[str, str], keepalive: Keepalive
    ) -> AbstractAsyncContextManager[Transport]: ...
