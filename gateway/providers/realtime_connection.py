"""One socket and the session on it. Whatever can go wrong in receiving is an output of the session, never an exception.

It says nothing by itself: a connection on which the server has spoken and we have not can be kept for who comes next.
"""

from __future__ import annotations

from gateway.providers.sockets import Socket
from gateway.transports import MessageRefused, TransportClosed
from protocol.errors import Fault, ProviderFailure, RemoteProtocolError, VendorError
from protocol.session import ClientSession, Output, SessionFailed, SessionOpened


class RealtimeConnection:
    """Use for one session. `session` makes the messages to send, and failures that carry its ids."""

    def __init__(self, socket: Socket) -> None:
        self.session = ClientSession()
        self._socket = socket

    async def opened(self) -> None:
        """Wait for the server's first word; nothing is sent. At once when it was heard. Raises `ProviderFailure`."""
        opened = bool(self.session.session_id)
        while not opened:
            for output in await self.receive():
                if isinstance(output, SessionFailed):
                    raise output.failure
                opened = opened or isinstance(output, SessionOpened)

    async def send(self, messages: list[str]) -> None:
        """Send all of them. Where the socket ends, `receive` learns why from what the server still said."""
        try:
            for message in messages:
                await self._socket.transport.send(message)
        except TransportClosed:
            self.session.send_failed()

    async def receive(self) -> list[Output]:
        """What the next message means; the socket's end is a `SessionFailed`, too. Cancelling loses none."""
        try:
            return self.session.receive(await self._socket.transport.receive())
        except MessageRefused as refused:
            return [SessionFailed(self._broken(refused, VendorError(close_code=refused.code)))]
        except RemoteProtocolError as error:
            return [SessionFailed(self._broken(error, VendorError(message=str(error))))]
        except TransportClosed as closed:
            failure = self.session.closed(closed.code, closed.reason) or self.session.failure(Fault.CONNECTION_LOST)
            return [SessionFailed(failure)]

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
