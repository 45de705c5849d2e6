"""The production transport: the `websockets` client on asyncio.

`python -m bench websockets` compares it with picows; docs/decisions/0003-websocket-client.md records the choice.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from contextvars import copy_context
from typing import Any, cast

import anyio
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websockets_connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.frames import DATA_OPCODES, CloseCode, Frame, Opcode
from websockets.protocol import Event

from gateway.frames import forget_frames
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

# At DEBUG the library writes headers and frames to its log, which are our key and the user's text. A logger of our
# own at WARNING keeps it silent whatever level the root logger is set to.
_LIBRARY_LOG = logging.getLogger("utter.websocket")
_LIBRARY_LOG.setLevel(logging.WARNING)

_REFUSAL_CODES = frozenset({CloseCode.PROTOCOL_ERROR, CloseCode.INVALID_DATA, CloseCode.MESSAGE_TOO_BIG})


class AsyncioWebSocketTransport:
    """A `Transport` over one `ClientConnection`."""

    def __init__(self, connection: _Connection) -> None:
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
            return await self._connection.recv_in_turn()
        except ConnectionClosed as error:
            raise _closed(error) from error

    async def follow(self, on_message: OnMessage) -> None:
        failure: BaseException | None = None
        was_last = False
        context = copy_context()  # where the socket is read, it is that of whoever opened it

        def take(message: str) -> bool:
            nonlocal failure, was_last
            try:
                was_last = context.run(on_message, message)
            except BaseException as error:  # not the library's, whose method called us
                failure, was_last = error, True
            if was_last:
                heard_enough.cancel()
            return was_last

        with anyio.CancelScope() as heard_enough, self._connection.handing_over(take):
            try:
                # What came before, is not text or comes in parts, and the end of the socket.
                while not on_message(await self.receive()):
                    pass
            except TransportClosed:
                if not was_last:
                    raise
        if failure is not None:
            raise failure

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
    """A connection that can hand a message over where it is read, and leaves nothing for the garbage collector."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._take: Callable[[str], bool] | None = None
        self._in_line = 0  # messages that `recv` is still to give
        self._in_parts = False  # one that has begun is not yet whole

    @contextmanager
    def handing_over(self, take: Callable[[str], bool]) -> Iterator[None]:
        """Within the block, give `take` each text that comes whole with none before it in line, until it returns True.
        All others go to `recv_in_turn`."""
        self._take = take
        try:
            yield
        finally:
            self._take = None

    async def recv_in_turn(self) -> str | bytes:
        """As `recv`."""
        message = await self.recv()
        self._in_line -= 1
        return message

    def process_event(self, event: Event) -> None:
        """See websockets 17, `Connection.process_event`: it is called for each frame."""
        if isinstance(event, Frame) and event.opcode in DATA_OPCODES:
            if self._take is not None and (text := self._next_text(event)) is not None:
                if self._take(text):
                    self._take = None
                return
            self._in_parts = not event.fin
            self._in_line += event.fin
        super().process_event(event)

    def _next_text(self, frame: Frame) -> str | None:
        """The text of a frame that is a whole message and the next one; None also for what is no UTF-8, to which the
        library has an answer."""
        if frame.opcode is not Opcode.TEXT or not frame.fin or self._in_line or self._in_parts:
            return None
        try:
            return str(frame.data, "utf-8")
        except UnicodeDecodeError:
            return None

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of the audio: the parser, a generator that never ends by itself, holds the connection, and so does the
        exception that a cut leaves there (websockets 17, `Protocol.parse`)."""
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


async def _open(url: str, headers: Mapping[str, str], keepalive: Keepalive) -> _Connection:
    try:
        connection = await _ConnectOnce(
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
        return cast("_Connection", connection)  # made by `create_connection`
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
