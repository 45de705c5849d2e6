"""The production transport: the `websockets` client on asyncio.

`python -m bench websockets` compares it with picows; docs/decisions/0003-websocket-client.md records the choice.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websockets_connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.frames import CloseCode

from gateway.frames import forget_frames
from gateway.transports import (
    CLOSE_HANDSHAKE_SECONDS,
    MAX_QUEUED_MESSAGES,
    NO_CLOSE_FRAME,
    NORMAL_CLOSURE,
    Keepalive,
    MessageRefused,
    Transport,
    TransportClosed,
    TransportUnreachable,
    UpgradeRefused,
)
from protocol.events import MAX_MESSAGE_BYTES

# At DEBUG the library writes headers and frames to its log, which are our key and the user's text. A logger of our
# own at WARNING keeps it silent whatever level the root logger is set to.
_LIBRARY_LOG = logging.getLogger("utter.websocket")
_LIBRARY_LOG.setLevel(logging.WARNING)

_REFUSAL_CODES = frozenset({CloseCode.PROTOCOL_ERROR, CloseCode.INVALID_DATA, CloseCode.MESSAGE_TOO_BIG})


class AsyncioWebSocketTransport:
    """A `Transport` over one `ClientConnection`."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._dropped = False

    async def send(self, message: str) -> None:
        if self._dropped:  # the library notices an abort one turn of the loop later, and would take the message
            raise TransportClosed(NO_CLOSE_FRAME)
        try:
            await self._connection.send(message)
        except ConnectionClosed as error:
            raise _closed(error) from error
        except BaseException:
            self.drop()
            raise

    async def receive(self) -> str | bytes:
        try:
            return await self._connection.recv()
        except ConnectionClosed as error:
            raise _closed(error) from error

    async def aclose(self, code: int = NORMAL_CLOSURE) -> None:
        try:
            await self._connection.close(code)
        finally:
            self.drop()

    def drop(self) -> None:
        """Close the socket without a handshake and without waiting."""
        self._dropped = True
        self._connection.transport.abort()


class _Connection(ClientConnection):
    """A connection that does not wait for the garbage collector, audio and all: its parser, a generator that never
    ends by itself, holds it, and so does the exception that a cut leaves there (websockets 17, `Protocol.parse`)."""

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.protocol.parser.close()
        forget_frames(self.protocol.parser_exc)


class _ConnectOnce(websockets_connect):
    """`websockets.connect` that takes a redirect for the refusal it is: our key goes to the configured host only."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


@asynccontextmanager
async def connect(url: str, headers: Mapping[str, str], keepalive: Keepalive) -> AsyncIterator[Transport]:
    """See `Connect`. Proxy variables of the environment are not read: a proxy that buffers undoes live speech."""
    transport = AsyncioWebSocketTransport(await _open(url, headers, keepalive))
    try:
        yield transport
    finally:
        transport.drop()


async def _open(url: str, headers: Mapping[str, str], keepalive: Keepalive) -> ClientConnection:
    try:
        return await _ConnectOnce(
            url,
            create_connection=_Connection,
            compression=None,  # base64 of MP3 does not shrink enough to pay for the time
            additional_headers=dict(headers),
            user_agent_header=None,
            proxy=None,
            open_timeout=None,
            ping_interval=keepalive.interval,
            ping_timeout=keepalive.timeout,
            close_timeout=CLOSE_HANDSHAKE_SECONDS,
            max_size=MAX_MESSAGE_BYTES,
            max_queue=MAX_QUEUED_MESSAGES,
            logger=_LIBRARY_LOG,
        )
    except InvalidStatus as error:
        raise UpgradeRefused(error.response.status_code, bytes(error.response.body)) from error
    except (OSError, WebSocketException) as error:
        raise TransportUnreachable(type(error).__name__) from error


def _closed(error: ConnectionClosed) -> TransportClosed:
    ours_first = error.sent is not None and not error.rcvd_then_sent
    if ours_first and error.sent is not None and error.sent.code in _REFUSAL_CODES:
        return MessageRefused(error.sent.code, error.sent.reason)
    if error.rcvd is not None:
        return TransportClosed(error.rcvd.code, error.rcvd.reason)
    return TransportClosed(NO_CLOSE_FRAME)
