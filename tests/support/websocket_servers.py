"""Scripted WebSocket servers on both libraries, so that a client is tested against the one it is not made of.

A script is a plain function over a blocking `Peer`, run in a thread per connection: it reads top to bottom like the
dialogue it stages. What it raises fails the test, except `PeerGone`, which only says that the client went away.
"""

from __future__ import annotations

import base64
import hashlib
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import anyio
import anyio.to_thread
import trio
from trio_websocket import ConnectionClosed as TrioClosed
from trio_websocket import WebSocketConnection, WebSocketRequest, WebSocketServer
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed as WebsocketsClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from gateway.transports import Keepalive

ENDED_SECONDS = 20
"""Longest wait for the server to notice the end of a connection; reached only by a failing test."""

NO_CLOSE_FRAME = 1006

MOMENT_SECONDS = 0.05
"""Between two writes that a client should see one by one."""

QUIET = Keepalive(interval=60, timeout=60)
"""No ping within a test."""


class PeerGone(Exception):
    """The client ended the connection with `code`, 1006 when without a close frame."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(f"client gone with {code}")


class Peer(Protocol):
    """The server's end of one connection."""

    path: str
    headers: dict[str, str]

    def send(self, message: str | bytes) -> None: ...
    def receive(self) -> str | bytes: ...
    def close(self, code: int, reason: str = "") -> None: ...
    def cut(self) -> None:
        """End the TCP connection without a close frame."""


Script = Callable[[Peer], None]


@dataclass(frozen=True)
class Refusal:
    """Answer to an upgrade instead of 101, for the first `times` upgrades or, when None, for all of them."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    times: int | None = None


@dataclass
class ScriptedServer:
    """Where to connect, and what became of the connections. `upgrades` counts refused ones too."""

    url: str = ""
    refusal: Refusal | None = None
    upgrades: int = 0
    ended: queue.Queue[int] = field(default_factory=queue.Queue)
    errors: list[BaseException] = field(default_factory=list)

    def refuse(self) -> Refusal | None:
        """Count an upgrade and say whether to refuse it."""
        self.upgrades += 1
        refusal = self.refusal
        spent = refusal is not None and refusal.times is not None and self.upgrades > refusal.times
        return None if spent else refusal

    def next_end(self) -> int:
        """Close code of the next connection that the client ended; blocks."""
        return self.ended.get(timeout=ENDED_SECONDS)

    def play(self, script: Script, peer: Peer) -> None:
        try:
            script(peer)
        except PeerGone as gone:
            self.ended.put(gone.code)
        except Exception as error:  # re-raised in the test's thread by `_reraise`
            self.errors.append(error)

    def reraise(self) -> None:
        if self.errors:
            raise self.errors[0]


async def ended(server: ScriptedServer) -> int:
    """`next_end` for a test on an event loop."""
    return await anyio.to_thread.run_sync(server.next_end)


class _WebsocketsPeer:
    def __init__(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        self._connection = connection
        self.path = connection.request.path
        self.headers = {name.lower(): value for name, value in connection.request.headers.raw_items()}

    def send(self, message: str | bytes) -> None:
        try:
            self._connection.send(message)
        except WebsocketsClosed as error:
            raise PeerGone(error.rcvd.code if error.rcvd else NO_CLOSE_FRAME) from error

    def receive(self) -> str | bytes:
        try:
            return self._connection.recv()
        except WebsocketsClosed as error:
            raise PeerGone(error.rcvd.code if error.rcvd else NO_CLOSE_FRAME) from error

    def close(self, code: int, reason: str = "") -> None:
        self._connection.close(code, reason)

    def cut(self) -> None:
        self._connection.close_socket()


Serve = Callable[..., AbstractContextManager[ScriptedServer]]
"""`websockets_server` or `trio_server`."""


@contextmanager
def websockets_server(script: Script, refusal: Refusal | None = None) -> Iterator[ScriptedServer]:
    """A server made with `websockets`, on threads."""
    server = ScriptedServer(refusal=refusal)

    def answer(_: ServerConnection, request: Request) -> Response | None:
        refusal = server.refuse()
        if refusal is None:
            return None
        headers = Headers({"Content-Length": str(len(refusal.body)), **refusal.headers})
        return Response(refusal.status, "refused", headers, refusal.body)

    def handle(connection: ServerConnection) -> None:
        server.play(script, _WebsocketsPeer(connection))

    with serve(handle, "127.0.0.1", 0, process_request=answer, ping_interval=None, close_timeout=1) as listener:
        thread = threading.Thread(target=listener.serve_forever)
        thread.start()
        try:
            server.url = f"ws://127.0.0.1:{listener.socket.getsockname()[1]}"
            yield server
        finally:
            listener.shutdown()
            thread.join()
    server.reraise()


class _TrioPeer:
    def __init__(self, connection: WebSocketConnection, request: WebSocketRequest) -> None:
        self._connection = connection
        self.path = request.path
        self.headers = {name.decode().lower(): value.decode() for name, value in request.headers}

    def send(self, message: str | bytes) -> None:
        try:
            trio.from_thread.run(self._connection.send_message, message)
        except TrioClosed as error:
            raise PeerGone(error.reason.code if error.reason else NO_CLOSE_FRAME) from error

    def receive(self) -> str | bytes:
        try:
            return trio.from_thread.run(self._connection.get_message)
        except TrioClosed as error:
            raise PeerGone(error.reason.code if error.reason else NO_CLOSE_FRAME) from error

    def close(self, code: int, reason: str = "") -> None:
        trio.from_thread.run(self._connection.aclose, code, reason)

    def cut(self) -> None:
        trio.from_thread.run(self._connection._stream.aclose)


@contextmanager
def trio_server(script: Script, refusal: Refusal | None = None) -> Iterator[ScriptedServer]:
    """A server made with trio-websocket, in a trio thread."""
    server = ScriptedServer(refusal=refusal)
    ready: queue.Queue[tuple[int, trio.lowlevel.TrioToken]] = queue.Queue()
    scope = trio.CancelScope()

    async def handle(request: WebSocketRequest) -> None:
        refusal = server.refuse()
        if refusal is not None:
            extra = [(name.lower().encode(), value.encode()) for name, value in refusal.headers.items()]
            await request.reject(refusal.status, extra_headers=extra, body=refusal.body)
            return
        connection = await request.accept()
        peer: Peer = _TrioPeer(connection, request)
        await trio.to_thread.run_sync(server.play, script, peer)

    async def main() -> None:
        with scope:
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            listening = WebSocketServer(handle, listeners, disconnect_timeout=1)
            async with trio.open_nursery() as nursery:
                await nursery.start(listening.run)
                ready.put((listening.port, trio.lowlevel.current_trio_token()))

    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    port, token = ready.get(timeout=ENDED_SECONDS)
    try:
        server.url = f"ws://127.0.0.1:{port}"
        yield server
    finally:
        token.run_sync_soon(scope.cancel)
        thread.join()
    server.reraise()


@contextmanager
def deaf_server(*wire: bytes) -> Iterator[ScriptedServer]:
    """Accepts the upgrade, writes each of `wire`, a moment apart, and then neither reads nor writes: no pong, no
    close frame, a full TCP window."""
    server = ScriptedServer()
    opened: list[socket.socket] = []

    def accept(listener: socket.socket) -> None:
        try:
            while True:
                connection, _ = listener.accept()
                opened.append(connection)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.sendall(_upgrade_reply(connection))
                for piece in wire:
                    time.sleep(MOMENT_SECONDS)
                    connection.sendall(piece)
        except OSError:
            return  # the listener was shut down by the end of the test

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, args=(listener,))
        thread.start()
        try:
            server.url = f"ws://127.0.0.1:{listener.getsockname()[1]}"
            yield server
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in opened:
                connection.close()


def frame(opcode: int, payload: bytes, *, last: bool = True) -> bytes:
    """One frame as a server writes it (RFC 6455, 5.2), of at most 125 bytes."""
    return bytes([opcode | (0x80 if last else 0), len(payload)]) + payload


def _upgrade_reply(connection: socket.socket) -> bytes:
    request = b""
    while b"\r\n\r\n" not in request:
        request += connection.recv(4096)
    lines = dict(line.split(": ", 1) for line in request.decode().split("\r\n")[1:] if ": " in line)
    key = {name.lower(): value for name, value in lines.items()}["sec-websocket-key"]
    digest = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()  # noqa: S324  RFC 6455, 4.2.2
    accept = base64.b64encode(digest).decode()
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n"
    ).encode()
