"""A WebSocket between two machines in one process: wsproto's frame layer at both ends, and bytes that arrive in
whatever pieces a test likes."""

from __future__ import annotations

from wsproto.connection import Connection, ConnectionType
from wsproto.events import TextMessage


class Wire:
    """One direction. `send` puts a whole message on it, `deliver` carries bytes and returns the messages they end."""

    def __init__(self, sender: Connection, receiver: Connection) -> None:
        self._sender = sender
        self._receiver = receiver
        self._bytes = bytearray()
        self._partial = ""

    @property
    def pending(self) -> int:
        """Bytes that were sent and not delivered."""
        return len(self._bytes)

    def send(self, message: str, frame_chars: int) -> None:
        """Frame one message, in fragments of at most `frame_chars` characters."""
        for start in range(0, max(len(message), 1), frame_chars):
            last = start + frame_chars >= len(message)
            piece = TextMessage(data=message[start : start + frame_chars], message_finished=last)
            self._bytes += self._sender.send(piece)

    def deliver(self, count: int) -> list[str]:
        """Carry the next `count` bytes across; the whole messages that are complete then."""
        self._receiver.receive_data(bytes(self._bytes[:count]))
        del self._bytes[:count]
        messages = []
        for event in self._receiver.events():
            assert isinstance(event, TextMessage)
            self._partial += event.data
            if event.message_finished:
                messages.append(self._partial)
                self._partial = ""
        return messages


def wire_pair() -> tuple[Wire, Wire]:
    """(client to server, server to client)."""
    client, server = Connection(ConnectionType.CLIENT), Connection(ConnectionType.SERVER)
    return Wire(client, server), Wire(server, client)
