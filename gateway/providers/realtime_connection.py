"""One socket and the session on it. Whatever can go wrong in receiving is an output of the session, never an exception.

It says nothing by itself: a connection on which the server has spoken and we have not can be kept for who comes next.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from gateway.providers.sockets import Socket
from gateway.transports import MessageRefused, TransportClosed
from protocol.errors import Fault, ProviderFailure, RemoteProtocolError, VendorError
from protocol.session import ClientSession, Output, SessionFailed, SessionOpened

T = TypeVar("T")


class RealtimeConnection:
    """Use for one session. `session` makes the messages to send, and failures that carry its ids."""

    def __init__(self, socket: Socket) -> None:
        self.session = ClientSession()
        self._socket = socket

    async def opened(self) -> None:
        """Wait for the server's first word; nothing is sent. At once when it was heard. Raises `ProviderFailure`."""
        if self.session.session_id:
            return
        first = await self.follow(lambda output: output if isinstance(output, SessionOpened | SessionFailed) else None)
        if isinstance(first, SessionFailed):
            raise first.failure

    async def send(self, messages: list[str]) -> None:
        """Send all of them. Where the socket ends, `follow` learns why from what the server still said."""
        try:
            for message in messages:
                await self._socket.transport.send(message)
        except TransportClosed:
            self.session.send_failed()

    async def follow(self, handle: Callable[[Output], T | None]) -> T:
        """Give `handle` all that comes, the end of the socket as a `SessionFailed`, until it returns something; that.

        It is called where the socket is read (`Transport.follow`). It has to return something for a `SessionFailed`.
        Cancelling loses nothing.
        """
        results: list[T] = []

        def on_message(message: str | bytes) -> bool:
            for output in self._outputs(message):
                if (result := handle(output)) is not None:
                    results.append(result)
                    return True
            return False

        try:
            await self._socket.transport.follow(on_message)
        except TransportClosed as closed:
            result = handle(SessionFailed(self._ended(closed)))
            if result is None:
                raise RuntimeError("a failed session was not the end") from closed
            return result
        return results[0]

    def _outputs(self, message: str | bytes) -> list[Output]:
        try:
            return self.session.receive(message)
        except RemoteProtocolError as error:
            return [SessionFailed(self._broken(error, VendorError(message=str(error))))]

    def _ended(self, closed: TransportClosed) -> ProviderFailure:
        if isinstance(closed, MessageRefused):
            return self._broken(closed, VendorError(close_code=closed.code))
        return self.session.closed(closed.code, closed.reason) or self.session.failure(Fault.CONNECTION_LOST)

    def drop(self) -> None:
        """See `Socket.drop`."""
        self._socket.drop()

    def close_politely(self) -> None:
        """See `Socket.close_politely`."""
        self._socket.close_politely()

    def _broken(self, cause: Exception, vendor: VendorError) -> ProviderFailure:
        failure = self.session.failure(Fault.PROTOCOL_BROKEN, vendor)
        failure.__cause__ = cause
        return failure
