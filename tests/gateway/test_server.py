"""The server over a real socket: how answers end, what is refused, and how it stops."""

from __future__ import annotations

import errno
import gc
import resource
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from shutil import which
from typing import Any

import anyio
import hypercorn.protocol
import pytest
import structlog
from anyio.abc import Process, SocketStream
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.protocol.h11 import H11Protocol
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from gateway import acceptor, http1
from gateway.connection import Connection, connection_of
from gateway.errors import ApiError, exception_handlers
from gateway.middleware import wrap
from gateway.request_tracker import parting_of
from gateway.server import NOTSENT_LOWAT_BYTES, YOUNGER_COLLECTIONS, CannotListen, listen, run, serve
from gateway.settings import Settings, load_settings
from gateway.shutdown import Shutdown
from tests.support.collector import collector_off
from tests.support.http_wire import Reader

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

ROOT = Path(__file__).parents[2]
PIECE = bytes(range(256)) * 4
PIECES = 300
CURL_OK = 0
CURL_PARTIAL_FILE = 18
"""curl's exit code for an answer that ended before its end."""

needs_curl = pytest.mark.skipif(which("curl") is None, reason="needs curl")


def settings(**environ: str) -> Settings:
    base = {"UTTER_ENV": "local", "DATABASE_URL": "postgresql:///u", "UTTER_TOKEN_SECRET": "k" * 32}
    return load_settings({**base, "UTTER_BIND_PORT": "0", **environ})


class Work:
    """Stands for the supervisor: idle until a test says otherwise."""

    def __init__(self) -> None:
        self.draining = anyio.Event()
        self.idle = anyio.Event()
        self.idle.set()

    def start_draining(self) -> None:
        self.draining.set()

    async def wait_idle(self) -> None:
        await self.idle.wait()


class Stream:
    """`?end=clean` ends with the last chunk, `cut` without it, `never` goes on until it is told to stop,
    `news` until the server wants its clients to leave."""

    def __init__(self) -> None:
        self.release = anyio.Event()
        self.disconnected = anyio.Event()
        self.started = anyio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        end = scope["query_string"].decode().partition("=")[2]
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"audio/mpeg")]})
        self.started.set()
        for _ in range(PIECES):
            await send({"type": "http.response.body", "body": PIECE, "more_body": True})
        if end == "wait":
            await self.release.wait()
        if end == "news":
            await parting_of(scope).wait()
        if end == "flood":
            await self._flood(receive, send)
        if end == "reset":
            connection = connection_of(scope)
            assert connection is not None
            connection.reset()
        if end in {"clean", "wait", "news"}:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _flood(self, receive: Receive, send: Send) -> None:
        """Write for ever; notice when nobody is there any more."""
        async with anyio.create_task_group() as tasks:

            async def watch() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                self.disconnected.set()
                tasks.cancel_scope.cancel()

            tasks.start_soon(watch)
            while True:
                await send({"type": "http.response.body", "body": PIECE * 16, "more_body": True})


class Server:
    """A running server and the parts a test reaches into."""

    def __init__(
        self, url: str, stop: Shutdown, work: Work, stream: Stream, ended: anyio.Event, answered: list[str]
    ) -> None:
        self.url = url
        self.host, _, port = url.removeprefix("http://").rpartition(":")
        self.port = int(port)
        self.stop = stop
        self.work = work
        self.stream = stream
        self.ended = ended
        self.answered = answered

    async def connect(self) -> SocketStream:
        return await anyio.connect_tcp(self.host, self.port)

    async def exchange(self, request: bytes) -> bytes:
        """Send `request` and read until the server closes."""
        async with await self.connect() as connection:
            await connection.send(request)
            return await read_all(connection)


async def read_all(connection: SocketStream) -> bytes:
    received = bytearray()
    async for part in connection:
        received += part
    return bytes(received)


@asynccontextmanager
async def running(listener: socket.socket | None = None, **environ: str) -> AsyncIterator[Server]:
    """The server on a free port, or that of `listener`, in this process, with a small app behind all layers."""
    work, stream, stop, ended = Work(), Stream(), Shutdown(), anyio.Event()
    configured = settings(**environ)
    answered: list[str] = []

    async def health(request: Request) -> Response:
        answered.append(request.url.path)
        return JSONResponse({"ok": True, "http_version": request.scope["http_version"]})

    async def echo(request: Request) -> Response:
        if work.draining.is_set():
            raise ApiError(503, "The server is restarting.")
        return JSONResponse({"bytes": len(await request.body())})

    async def refuses(_request: Request) -> Response:
        raise ApiError(401, "Please sign in.")

    app = Starlette(
        routes=[
            Route("/api/health", health),
            Route("/echo", echo, methods=["POST"]),
            Route("/refuses", refuses, methods=["POST"]),
            Route("/api/generate/stream", stream),
        ],
        exception_handlers=exception_handlers(),
    )
    urls: list[str] = []
    listening = anyio.Event()

    async def on_listening(url: str) -> None:
        urls.append(url)
        listening.set()

    async def run_server() -> None:
        await serve(wrap(app, configured), configured, work, stop=stop, listener=listener, on_listening=on_listening)
        ended.set()

    with structlog.testing.capture_logs():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run_server)
            await listening.wait()
            try:
                yield Server(urls[0], stop, work, stream, ended, answered)
            finally:
                stop.request()
                stop.request()


async def curl(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return await anyio.run_process(["curl", "-sS", "--max-time", "20", *arguments], check=False)


class TestEndings:
    @needs_curl
    @pytest.mark.parametrize(("end", "code"), [("clean", CURL_OK), ("cut", CURL_PARTIAL_FILE)])
    async def test_curl_tells_a_whole_answer_from_a_broken_one(self, end: str, code: int) -> None:
        async with running() as server:
            result = await curl(f"{server.url}/api/generate/stream?end={end}")
        assert result.returncode == code, result.stderr
        assert result.stdout == PIECE * PIECES

    async def test_a_broken_answer_ends_by_fin_after_everything_that_was_sent(self) -> None:
        async with running() as server:
            answer = await server.exchange(b"GET /api/generate/stream?end=cut HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer.count(PIECE) == PIECES
        assert not answer.endswith(b"0\r\n\r\n")

    async def test_a_connection_can_be_reset(self) -> None:
        def read_to_the_end(address: tuple[str, int]) -> None:
            # A plain socket: anyio's asyncio streams tell a reset and an end alike.
            with socket.create_connection(address) as connection:
                connection.sendall(b"GET /api/generate/stream?end=reset HTTP/1.1\r\nHost: x\r\n\r\n")
                while connection.recv(65536):
                    pass

        async with running() as server:
            with pytest.raises(ConnectionResetError):
                await anyio.to_thread.run_sync(read_to_the_end, (server.host, server.port))

    @pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="needs TCP_USER_TIMEOUT (Linux)")
    async def test_a_reader_that_does_not_read_is_dropped_after_the_stall_limit(self) -> None:
        async with (
            running(UTTER_WRITE_STALL_SECONDS="1", UTTER_TOKEN_WRITE_STALL_SECONDS="1") as server,
            await server.connect() as connection,
        ):
            await connection.send(b"GET /api/generate/stream?end=flood HTTP/1.1\r\nHost: x\r\n\r\n")
            await server.stream.disconnected.wait()

    async def test_a_client_that_leaves_is_noticed(self) -> None:
        async with running() as server:
            async with await server.connect() as connection:
                await connection.send(b"GET /api/generate/stream?end=flood HTTP/1.1\r\nHost: x\r\n\r\n")
                await server.stream.started.wait()
            await server.stream.disconnected.wait()

    async def test_a_connection_is_forgotten_as_soon_as_its_client_leaves(self) -> None:
        """Not at the end of the keep-alive time, which would be 75 s later, nor when the garbage collector comes by."""
        with collector_off():
            async with running() as server:
                for _ in range(3):
                    async with await server.connect() as connection:
                        await connection.send(b"GET /api/health HTTP/1.1\r\nHost: x\r\n\r\n")
                        await connection.receive()
                with anyio.fail_after(10):
                    while any(isinstance(it, Connection) for it in gc.get_objects()):  # noqa: ASYNC110
                        await anyio.sleep(0.01)


class TestVersions:
    async def test_http_2_by_prior_knowledge_is_refused_in_http_1(self) -> None:
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        empty_settings_frame = struct.pack(">I", 0)[1:] + b"\x04\x00" + struct.pack(">I", 0)
        async with running() as server:
            answer = await server.exchange(preface + empty_settings_frame)
        assert answer.startswith(b"HTTP/1.1 505 ")
        assert b"connection: close" in answer.lower()
        assert answer.rstrip().endswith(b'{"detail":"This server speaks HTTP/1.1 only."}')

    @needs_curl
    async def test_curl_cannot_speak_http_2_either(self) -> None:
        async with running() as server:
            result = await curl("--http2-prior-knowledge", f"{server.url}/api/health")
        assert result.returncode != CURL_OK
        assert result.stdout == b""

    @pytest.mark.parametrize(
        "offer",
        [
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA",
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIQ==",
        ],
        ids=["h2c", "websocket"],
    )
    async def test_an_offer_to_upgrade_is_ignored(self, offer: str) -> None:
        async with running() as server, await server.connect() as connection:
            await connection.send(f"GET /api/health HTTP/1.1\r\nHost: x\r\n{offer}\r\n\r\n".encode())
            answer = await Reader(connection).answer()
        assert (answer.status, answer.json) == (200, {"ok": True, "http_version": "1.1"})

    async def test_http_1_0_gets_no_stream_but_everything_else(self) -> None:
        async with running() as server:
            refused = await server.exchange(b"GET /api/generate/stream HTTP/1.0\r\n\r\n")
            served = await server.exchange(b"GET /api/health HTTP/1.0\r\n\r\n")
        assert refused.startswith(b"HTTP/1.1 426 ")
        assert b"upgrade: http/1.1\r\n" in refused.lower()
        assert b'{"detail":"A stream needs HTTP/1.1' in refused
        assert served.startswith(b"HTTP/1.1 200 ")
        assert served.endswith(b'{"ok":true,"http_version":"1.0"}')

    @pytest.mark.parametrize(
        ("request_bytes", "status"),
        [
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 200_000 + b"\r\n\r\n", 431),
            (b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        ],
        ids=["tls", "no host", "long head", "unknown coding"],
    )
    async def test_what_is_no_request_is_answered_like_any_error(self, request_bytes: bytes, status: int) -> None:
        async with running(CORS_ALLOWED_ORIGIN="https://app.example") as server, await server.connect() as connection:
            await connection.send(request_bytes)
            answer = await Reader(connection).answer()
        assert answer.status == status
        assert list(answer.json) == ["detail"]
        assert len(answer.headers["x-request-id"]) == 32
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        assert answer.headers["connection"] == "close"

    async def test_the_server_does_not_say_what_it_is(self) -> None:
        async with running() as server, await server.connect() as connection:
            reader = Reader(connection)
            for _ in range(2):  # the connection is kept
                await connection.send(b"GET /api/health HTTP/1.1\r\nHost: x\r\n\r\n")
                answer = await reader.answer()
                assert answer.status == 200
                assert "server" not in answer.headers
                assert "date" in answer.headers


class TestBodies:
    async def test_a_slow_body_times_out(self) -> None:
        async with running(UTTER_BODY_SECONDS="0.1") as server:
            answer = await server.exchange(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"connection: close" in answer.lower()

    @needs_curl
    @pytest.mark.parametrize("header", ["X-Declared: yes", "Transfer-Encoding: chunked"])
    async def test_an_oversized_body_is_told_so(self, header: str, tmp_path: Path) -> None:
        body = tmp_path / "body"
        body.write_bytes(b"x" * 5_000_000)
        async with running() as server:
            result = await curl("-H", header, "--data-binary", f"@{body}", "-w", "%{http_code}", f"{server.url}/echo")
        assert result.returncode == CURL_OK, result.stderr
        assert result.stdout.endswith(b"413")
        assert b"1048576 bytes" in result.stdout

    async def test_a_route_may_refuse_without_reading_a_body_in_many_pieces(self) -> None:
        pieces = b"".join(b"1\r\nx\r\n" for _ in range(100))  # ten times what Hypercorn's queue takes
        request = b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + pieces + b"0\r\n\r\n"
        async with running() as server, await server.connect() as connection:
            reader = Reader(connection)
            await connection.send(request % b"/refuses")
            assert (await reader.answer()).status == 401
            await connection.send(request % b"/echo")
            assert (await reader.answer()).json == {"bytes": 100}


class TestStopping:
    async def test_a_drain_lets_running_answers_finish_and_refuses_new_work(self) -> None:
        async with running() as server, await server.connect() as listener, await server.connect() as other:
            await listener.send(b"GET /api/generate/stream?end=wait HTTP/1.1\r\nHost: x\r\n\r\n")
            await server.stream.started.wait()
            server.stop.request()
            await server.work.draining.wait()

            reader = Reader(other)
            await other.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
            refused = await reader.answer()
            assert refused.status == 503
            assert "retry-after" in refused.headers
            assert refused.headers["connection"] == "close"
            assert not server.ended.is_set()

            server.stream.release.set()
            answer = await read_all(listener)
            assert answer.count(PIECE) == PIECES
            assert answer.endswith(b"0\r\n\r\n")
            await server.ended.wait()

    @pytest.mark.parametrize("way", [Shutdown.request, Shutdown.hand_over])
    async def test_an_answer_that_only_waits_for_news_holds_nothing_up(self, way: Callable[[Shutdown], None]) -> None:
        async with running(UTTER_DRAIN_SECONDS="3600") as server, await server.connect() as listener:
            await listener.send(b"GET /api/generate/stream?end=news HTTP/1.1\r\nHost: x\r\n\r\n")
            await server.stream.started.wait()
            way(server.stop)
            assert (await read_all(listener)).endswith(b"0\r\n\r\n")
            await server.ended.wait()

    async def test_a_drain_waits_for_work_that_has_no_listener(self) -> None:
        async with running() as server, await server.connect() as connection:
            server.work.idle = anyio.Event()
            server.stop.request()
            await server.work.draining.wait()
            await connection.send(b"GET /api/health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await Reader(connection).answer()).status == 200
            server.work.idle.set()
            await server.ended.wait()

    @pytest.mark.parametrize("requests", [1, 2])
    async def test_it_ends_when_the_limit_is_over_or_when_told_twice(self, requests: int) -> None:
        limit = "0" if requests == 1 else "3600"
        async with running(UTTER_DRAIN_SECONDS=limit) as server, await server.connect() as listener:
            await listener.send(b"GET /api/generate/stream?end=wait HTTP/1.1\r\nHost: x\r\n\r\n")
            await server.stream.started.wait()
            for _ in range(requests):
                server.stop.request()
            await server.ended.wait()

    async def test_a_reader_that_does_not_read_cannot_hold_it_up(self) -> None:
        async with running(UTTER_DRAIN_SECONDS="0") as server, await server.connect() as listener:
            await listener.send(b"GET /api/generate/stream?end=flood HTTP/1.1\r\nHost: x\r\n\r\n")
            await server.stream.started.wait()
            server.stop.request()
            await server.ended.wait()

    async def test_a_failing_start_hook_stops_the_server_and_is_raised(self) -> None:
        async def fails(_url: str) -> None:
            raise LookupError("no demo voice")

        configured = settings()
        with structlog.testing.capture_logs(), pytest.raises(LookupError, match="no demo voice"):
            await serve(wrap(Starlette(), configured), configured, Work(), stop=Shutdown(), on_listening=fails)

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    async def test_a_signal_ends_the_process_with_success(self, number: signal.Signals) -> None:
        process = await _start_process()
        async with process:
            assert process.stdout is not None
            port = int((await Reader(process.stdout).line()).rpartition(b":")[2])
            async with await anyio.connect_tcp("127.0.0.1", port) as connection:
                await connection.send(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
                assert (await Reader(connection).answer()).status == 404
                process.send_signal(number)
                assert await process.wait() == 0

    async def test_a_second_signal_ends_a_drain(self) -> None:
        process = await _start_process("busy")
        async with process:
            assert process.stdout is not None
            lines = Reader(process.stdout)
            await lines.line()
            process.send_signal(signal.SIGTERM)
            assert await lines.line() == b"draining"
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0


class TestHandingOver:
    """What a process does that others, who share its socket, have taken the place of."""

    @pytest.fixture(autouse=True)
    def _short_parting(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(acceptor, "PARTING_SECONDS", 0.1)

    async def test_it_accepts_no_more_and_serves_those_it_has(self) -> None:
        async with running() as server, await server.connect() as listener, await server.connect() as other:
            await listener.send(b"GET /api/generate/stream?end=wait HTTP/1.1\r\nHost: x\r\n\r\n")
            await server.stream.started.wait()
            reader = Reader(other)
            await other.send(b"GET /api/health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert "connection" not in (await reader.answer()).headers
            server.stop.hand_over()
            await other.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
            answer = await reader.answer()
            assert (answer.status, answer.json) == (200, {"bytes": 1}), "new work is taken still"
            assert answer.headers["connection"] == "close"
            assert await read_all(other) == b""
            with pytest.raises(OSError, match="onnect"):
                await server.connect()
            assert not server.work.draining.is_set()
            server.stream.release.set()
            assert (await read_all(listener)).endswith(b"0\r\n\r\n")
            await server.ended.wait()
            assert server.work.draining.is_set()

    async def test_an_idle_connection_is_let_go_of_and_work_is_waited_for(self) -> None:
        async with running() as server, await server.connect() as idle:
            await idle.send(b"GET /api/health HTTP/1.1\r\nHost: x\r\n\r\n")
            await Reader(idle).answer()
            server.work.idle = anyio.Event()
            server.stop.hand_over()
            assert await read_all(idle) == b""
            await server.work.draining.wait()
            assert not server.ended.is_set()
            server.work.idle.set()
            await server.ended.wait()

    @pytest.mark.parametrize("requests", [0, 1, 2])
    async def test_it_ends_at_its_limits_and_a_signal_still_drains_it(self, requests: int) -> None:
        limit = "0.05" if requests == 0 else "3600"
        async with running(UTTER_DRAIN_SECONDS=limit) as server, await server.connect() as listener:
            await listener.send(b"GET /api/generate/stream?end=wait HTTP/1.1\r\nHost: x\r\n\r\n")
            await server.stream.started.wait()
            server.stop.hand_over()
            for _ in range(requests):
                server.stop.request()
            await server.work.draining.wait()
            if requests == 1:
                assert not server.ended.is_set()
                server.stream.release.set()
                assert (await read_all(listener)).endswith(b"0\r\n\r\n")
            await server.ended.wait()

    async def test_after_a_drain_began_there_is_nothing_to_hand_over(self) -> None:
        stop = Shutdown()
        stop.request()
        stop.hand_over()
        assert not stop.handing_over


class TestAccepting:
    async def test_what_the_system_has_no_means_for_waits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(acceptor, "ACCEPT_PAUSE_SECONDS", 0.01)
        full = iter([OSError(errno.EMFILE, "Too many open files"), BlockingIOError()])

        class Listener(socket.socket):
            def accept(self) -> tuple[socket.socket, Any]:
                for error in full:
                    raise error
                return super().accept()

        with listen("127.0.0.1", 0, stall_seconds=1) as made:
            async with running(listener=Listener(fileno=made.detach())) as server:
                answer = await server.exchange(b"GET /api/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert next(full, None) is None

    async def test_two_on_one_socket_share_what_comes(self) -> None:
        with listen("127.0.0.1", 0, stall_seconds=1) as made:
            both = [made.dup(), made.dup()]
            async with AsyncExitStack() as stack:
                servers = [await stack.enter_async_context(running(listener=listener)) for listener in both]
                connections = [await stack.enter_async_context(await servers[0].connect()) for _ in range(24)]
                for connection in connections:
                    await connection.send(b"GET /api/health HTTP/1.1\r\nHost: x\r\n\r\n")
                for connection in connections:
                    assert (await Reader(connection).answer()).status == 200
                assert all(len(server.answered) > 6 for server in servers)

    async def test_a_client_that_leaves_before_it_is_accepted_costs_nothing(self) -> None:
        async with running() as server:
            for _ in range(20):
                with socket.socket() as hasty:
                    hasty.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    hasty.connect((server.host, server.port))
            answer = await server.exchange(b"GET /api/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")


class TestSocket:
    def test_options_are_on_the_listener(self) -> None:
        with listen("127.0.0.1", 0, stall_seconds=1.5) as listener:
            assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
            assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            if sys.platform == "linux":
                assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == NOTSENT_LOWAT_BYTES
                assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 1500

    def test_a_taken_port_is_said_to_be_taken(self) -> None:
        with listen("127.0.0.1", 0, stall_seconds=1) as first:
            port = first.getsockname()[1]
            with pytest.raises(CannotListen, match=f"port {port}: another program uses it.*UTTER_BIND_PORT"):
                listen("127.0.0.1", port, stall_seconds=1)

    def test_an_address_that_is_not_ours_is_refused_in_words(self) -> None:
        with pytest.raises(CannotListen, match="Check UTTER_BIND_HOST"):
            listen("192.0.2.1", 0, stall_seconds=1)


def test_what_was_loaded_before_the_start_is_not_looked_through_again() -> None:
    async def count() -> int:
        return gc.get_freeze_count()

    before, thresholds = gc.get_freeze_count(), gc.get_threshold()
    try:
        assert run(count) > before
        assert gc.get_threshold() == (*thresholds[:2], YOUNGER_COLLECTIONS)
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)


def test_a_process_may_have_as_many_files_as_the_system_lets_it() -> None:
    async def allowed() -> int:
        return resource.getrlimit(resource.RLIMIT_NOFILE)[0]

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    thresholds = gc.get_threshold()
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard - 1, hard))
    try:
        assert run(allowed) == hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        gc.unfreeze()
        gc.set_threshold(*thresholds)


class TestHypercornHooks:
    @pytest.mark.parametrize(
        ("owner", "name"),
        [
            (H11Protocol, "_check_protocol"),
            (H11Protocol, "_create_stream"),
            (H11Protocol, "_send_error_response"),
            (TCPServer, "protocol_send"),
            (TCPServer, "_close"),
        ],
    )
    def test_a_hypercorn_without_a_hook_is_refused_at_start(
        self, owner: type, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delattr(owner, name)
        with pytest.raises(http1.UnsupportedHypercorn, match=f"{name}.*requirements.lock"):
            http1.install()

    def test_a_hook_that_is_called_differently_is_refused_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def changed(_self: H11Protocol, _request: object, _more: object) -> None:
            raise AssertionError("never called")

        monkeypatch.setattr(H11Protocol, "_check_protocol", changed)
        with pytest.raises(http1.UnsupportedHypercorn, match="_check_protocol"):
            http1.install()

    def test_a_wrapper_that_no_longer_looks_it_up_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Wrapper:
            def __init__(self) -> None:
                self.protocol = None

        monkeypatch.setattr(hypercorn.protocol, "ProtocolWrapper", Wrapper)
        with pytest.raises(http1.UnsupportedHypercorn, match="ProtocolWrapper"):
            http1.install()

    def test_installing_twice_changes_nothing(self) -> None:
        http1.install()
        http1.install()
        assert vars(hypercorn.protocol)["H11Protocol"] is http1.Http1Protocol


PROCESS = """
import sys
import anyio
from starlette.applications import Starlette
from gateway.middleware import wrap
from gateway.errors import exception_handlers
from gateway.logs import configure_logging
from gateway.server import run, serve
from gateway.settings import load_settings

class Work:
    def start_draining(self):
        print("draining", flush=True)
    async def wait_idle(self):
        if "busy" in sys.argv:
            await anyio.sleep_forever()

async def main():
    settings = load_settings({"UTTER_ENV": "local", "DATABASE_URL": "postgresql:///u",
                              "UTTER_TOKEN_SECRET": "k" * 32, "UTTER_BIND_PORT": "0"})
    configure_logging(settings)
    async def on_listening(url):
        print(url, flush=True)
    app = wrap(Starlette(exception_handlers=exception_handlers()), settings)
    await serve(app, settings, Work(), on_listening=on_listening)

run(main)
"""


async def _start_process(*arguments: str) -> Process:
    command = [sys.executable, "-c", PROCESS, *arguments]
    return await anyio.open_process(command, cwd=ROOT, stderr=subprocess.DEVNULL)
