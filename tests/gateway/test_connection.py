"""A connection over a real socket: how long it may wait, when there is no room for it, and what it is told."""

from __future__ import annotations

import gc
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
import structlog
from anyio.abc import SocketStream
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway import http1
from gateway.acceptor import Acceptor
from gateway.connection import Connection, InviteBody
from gateway.errors import exception_handlers
from gateway.http1 import ServerConfig
from gateway.middleware import wrap
from gateway.server import listen
from gateway.settings import load_settings
from gateway.shutdown import Shutdown
from tests.support.collector import collector_off
from tests.support.http_wire import HttpAnswer, Reader

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

LONG_SECONDS = 60.0
"""More than any test takes: a limit that is not the one tried."""

SHORT_SECONDS = 0.4
"""The limit that is tried. What must outlive it waits for three of them."""

SETTINGS = load_settings({"UTTER_ENV": "local", "DATABASE_URL": "postgresql:///unused", "UTTER_TOKEN_SECRET": "k" * 32})
BOTH_SHORT: dict[str, Any] = {"head_seconds": SHORT_SECONDS, "rest_seconds": SHORT_SECONDS}

GET = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
BUSY = b"GET /busy HTTP/1.1\r\nHost: x\r\n\r\n"


class House:
    """A listening acceptor, and a request that is answered when `release` says so."""

    def __init__(self, port: int, config: ServerConfig) -> None:
        self._port = port
        self.config = config
        self.release = anyio.Event()
        self.busy = 0

    async def connect(self) -> SocketStream:
        return await anyio.connect_tcp("127.0.0.1", self._port)

    async def become_busy(self) -> SocketStream:
        """A connection with a request that is being answered."""
        connection, busy = await self.connect(), self.busy
        await connection.send(BUSY)
        while self.busy == busy:  # noqa: ASYNC110 - what is asked for is on the other side of a socket
            await anyio.sleep(0.001)
        return connection


@asynccontextmanager
async def house(
    *, most: int = 100, head_seconds: float = LONG_SECONDS, rest_seconds: float = LONG_SECONDS
) -> AsyncIterator[House]:
    config = ServerConfig({"Access-Control-Allow-Origin": "*"}, most, head_seconds)
    config.keep_alive_timeout = rest_seconds

    async def health(_request: Request) -> Response:
        return JSONResponse({"ok": True})

    async def busy(_request: Request) -> Response:
        made.busy += 1
        await made.release.wait()
        return JSONResponse({"ok": True})

    async def echo(request: Request) -> Response:
        return JSONResponse({"bytes": len(await request.body())})

    routes = [
        Route("/health", health),
        Route("/busy", busy),
        Route("/echo", echo, methods=["POST"]),
    ]
    http1.install()
    app = wrap(Starlette(routes=routes, exception_handlers=exception_handlers()), SETTINGS)
    acceptor = Acceptor(InviteBody(app), config)
    listener = listen("127.0.0.1", 0, stall_seconds=LONG_SECONDS)
    made = House(listener.getsockname()[1], config)
    acceptor.open(listener)
    stop = Shutdown()
    try:
        with anyio.fail_after(30):
            yield made
    finally:
        made.release.set()
        stop.request()
        stop.request()
        await acceptor.aclose(stop)


async def answer_to(connection: SocketStream, request: bytes) -> HttpAnswer:
    await connection.send(request)
    return await Reader(connection).answer()


async def is_closed(connection: SocketStream) -> None:
    """Return when the server has closed it. Raises AssertionError where it says something first."""
    try:
        assert not await connection.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        return


class TestWaiting:
    async def test_a_head_that_drips_is_too_slow(self) -> None:
        async with house(head_seconds=SHORT_SECONDS) as it, await it.connect() as slow:
            await slow.send(GET[:5])
            answer = await Reader(slow).answer()
            await is_closed(slow)
        assert answer.status == 408
        assert answer.json == {"detail": "The request did not arrive in time. Please try again."}
        assert answer.headers["connection"] == "close"
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["x-request-id"]

    async def test_bytes_now_and_then_do_not_buy_time(self) -> None:
        async with house(head_seconds=SHORT_SECONDS) as it, await it.connect() as slow:

            async def drip() -> None:
                for number in range(1_000_000):
                    await slow.send(GET[number : number + 1] or b"a")
                    await anyio.sleep(SHORT_SECONDS / 10)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(drip)
                await slow.receive()
                tasks.cancel_scope.cancel()

    async def test_who_says_nothing_is_told_nothing(self) -> None:
        async with house(head_seconds=SHORT_SECONDS) as it, await it.connect() as silent:
            await is_closed(silent)

    async def test_between_two_requests_there_is_more_time(self) -> None:
        async with house(head_seconds=SHORT_SECONDS) as it, await it.connect() as client:
            assert (await answer_to(client, GET)).status == 200
            await anyio.sleep(3 * SHORT_SECONDS)
            assert (await answer_to(client, GET)).status == 200

    async def test_that_time_ends_too(self) -> None:
        async with house(rest_seconds=SHORT_SECONDS) as it, await it.connect() as client:
            assert (await answer_to(client, GET)).status == 200
            await is_closed(client)

    async def test_a_further_head_has_to_come_as_the_first(self) -> None:
        async with house(head_seconds=SHORT_SECONDS) as it, await it.connect() as client:
            assert (await answer_to(client, GET + GET[:5])).status == 200
            assert (await Reader(client).answer()).status == 408

    async def test_an_answer_takes_the_time_it_takes(self) -> None:
        async with house(**BOTH_SHORT) as it, await it.become_busy() as client:
            await anyio.sleep(3 * SHORT_SECONDS)
            it.release.set()
            assert (await Reader(client).answer()).status == 200

    async def test_who_has_said_all_may_close_his_half(self) -> None:
        async with house(**BOTH_SHORT) as it, await it.become_busy() as client:
            await client.send_eof()
            await anyio.sleep(3 * SHORT_SECONDS)
            it.release.set()
            assert (await Reader(client).answer()).status == 200
            await is_closed(client)

    async def test_a_body_is_no_head(self) -> None:
        async with house(head_seconds=SHORT_SECONDS) as it, await it.connect() as client:
            await client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na")
            await anyio.sleep(3 * SHORT_SECONDS)
            assert (await answer_to(client, b"b")).json == {"bytes": 2}


class TestLeaving:
    @pytest.mark.parametrize(
        "sent",
        [
            b"",
            GET,
            GET * 20,
            GET[:5],
            b"\x16\x03\x01\r\n\r\n",
            b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 200 + b"\r\n",
            b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na",
        ],
        ids=["nothing", "request", "requests", "half a head", "garbage", "many headers", "half a body"],
    )
    @pytest.mark.parametrize("reads", [True, False])
    async def test_nothing_of_it_waits_for_the_garbage_collector(self, sent: bytes, *, reads: bool) -> None:
        with collector_off(), structlog.testing.capture_logs():
            async with house(head_seconds=SHORT_SECONDS) as it:
                async with await it.connect() as client:
                    await client.send(sent)
                    while not len(it.config.connections):  # noqa: ASYNC110 - its accept is on the other side of a socket
                        await anyio.sleep(0.001)
                    if reads:
                        with anyio.move_on_after(SHORT_SECONDS / 2):
                            await client.receive()
                while any(isinstance(one, Connection) for one in gc.get_objects()):  # noqa: ASYNC110
                    await anyio.sleep(0.01)


class TestRoom:
    async def test_who_waits_the_longest_makes_room(self) -> None:
        async with house(most=2) as it, await it.connect() as first, await it.connect() as second:
            for client in (first, second, first):
                assert (await answer_to(client, GET)).status == 200
            async with await it.connect() as third:
                assert (await answer_to(third, GET)).status == 200
                await is_closed(second)
                assert (await answer_to(first, GET)).status == 200

    async def test_a_head_that_drips_makes_room_too(self) -> None:
        async with house(most=1) as it, await it.connect() as slow:
            await slow.send(GET[:5])
            while not len(it.config.connections):  # noqa: ASYNC110 - its accept is on the other side of a socket
                await anyio.sleep(0.001)
            async with await it.connect() as client:
                assert (await answer_to(client, GET)).status == 200
            await is_closed(slow)

    async def test_who_is_being_answered_stays_and_the_new_one_is_told_so(self) -> None:
        async with house(most=1) as it, await it.become_busy() as client:
            async with await it.connect() as another:
                refusal = await answer_to(another, GET)
                await is_closed(another)
            assert refusal.status == 503
            assert refusal.json == {
                "detail": "This server has as many connections as it can hold. Please try again in a moment."
            }
            assert int(refusal.headers["retry-after"]) > 0
            it.release.set()
            assert (await Reader(client).answer()).status == 200
            async with await it.connect() as later:
                assert (await answer_to(later, GET)).status == 200

    async def test_beyond_so_many_refusals_at_once_nothing_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("gateway.open_connections.MAX_REFUSALS_AT_ONCE", 0)
        async with house(most=1) as it, await it.become_busy(), await it.connect() as another:
            await is_closed(another)

    async def test_a_refused_one_that_says_nothing_is_not_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("gateway.connection.REFUSAL_SECONDS", SHORT_SECONDS)
        async with house(most=1) as it, await it.become_busy(), await it.connect() as another:
            await is_closed(another)

    async def test_who_does_not_read_gives_its_place_back_at_once(self) -> None:
        async with house(most=1) as it:
            with socket.socket() as deaf:
                deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                await anyio.to_thread.run_sync(deaf.connect, ("127.0.0.1", it._port))
                deaf.settimeout(10)
                await anyio.to_thread.run_sync(deaf.sendall, GET)
                async with await it.connect() as client:
                    assert (await answer_to(client, GET)).status == 200
            assert len(it.config.connections) <= 1


class TestExpect:
    EXPECT = b"Host: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"

    async def test_a_body_that_is_read_is_asked_for_once(self) -> None:
        async with house() as it, await it.connect() as client:
            await client.send(b"POST /echo HTTP/1.1\r\n" + self.EXPECT)
            reader = Reader(client)
            assert await reader.line() == b"HTTP/1.1 100 \r"
            assert await reader.line() == b"\r"
            await client.send(b"12")
            await client.send(b"345")
            assert (await reader.answer()).json == {"bytes": 5}

    async def test_one_that_is_refused_is_not(self) -> None:
        async with house() as it, await it.connect() as client:
            too_long = self.EXPECT.replace(b"Content-Length: 5", b"Content-Length: 99999999")
            refusal = await answer_to(client, b"POST /echo HTTP/1.1\r\n" + too_long)
            await client.send_eof()
            await is_closed(client)
        assert refusal.status == 413

    async def test_who_does_not_wait_for_it_is_not_held_up(self) -> None:
        async with house() as it, await it.connect() as client:
            answer = await answer_to(client, b"POST /echo HTTP/1.1\r\n" + self.EXPECT + b"12345")
        assert answer.json == {"bytes": 5}
