"""Pieces of a body that are written where they are made, over a real socket and through all layers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import httpx
import pytest
import structlog
from anyio.abc import SocketStream
from anyio.lowlevel import checkpoint
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.audio_log import AudioLog
from gateway.middleware import wrap
from gateway.push import Push, push_of
from gateway.server import serve
from gateway.settings import load_settings
from gateway.shutdown import Shutdown
from gateway.streaming import AudioLogResponse

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

SETTINGS = load_settings(
    {
        "UTTER_ENV": "local",
        "DATABASE_URL": "postgresql:///unused",
        "UTTER_TOKEN_SECRET": "k" * 32,
        "UTTER_BIND_PORT": "0",
    }
)
FIRST = b"first piece"
HEAD = {"type": "http.response.start", "status": 200, "headers": []}
LARGE = bytes(64 * 1024)
MOST_PIECES = 1000
"""64 MB, more than the kernel keeps for anybody."""
LIVE = b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n"


class Nothing:
    """No work that outlives a request."""

    def start_draining(self) -> None:
        """There is none to refuse."""

    async def wait_idle(self) -> None:
        """There is none to wait for."""


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[str]:
    """Its base URL."""
    stop, urls, listening = Shutdown(), list[str](), anyio.Event()

    async def on_listening(url: str) -> None:
        urls.append(url)
        listening.set()

    async def run() -> None:
        await serve(wrap(app, SETTINGS), SETTINGS, Nothing(), stop=stop, on_listening=on_listening)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        with anyio.fail_after(30):
            await listening.wait()
            yield urls[0]
        stop.request()


class Speaker:
    """Sends a first piece, then lets the test push, and ends the body when it is told to."""

    def __init__(self) -> None:
        self.push: Push | None = None
        self.early: bool | None = None
        self.ready = anyio.Event()
        self.finish = anyio.Event()
        self.ended = anyio.Event()

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        self.push = push_of(scope)
        self.early = self.push and self.push(b"too early")
        await send(HEAD)
        await send({"type": "http.response.body", "body": FIRST, "more_body": True})
        self.ready.set()
        await self.finish.wait()
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        self.ended.set()


@asynccontextmanager
async def asked(speaker: Speaker, url: str, method: str = "GET") -> AsyncIterator[httpx.Response]:
    """An answer that has begun."""
    async with httpx.AsyncClient() as client, client.stream(method, url) as response:
        await speaker.ready.wait()
        yield response


@asynccontextmanager
async def raw(url: str, request: bytes) -> AsyncIterator[SocketStream]:
    host, _, port = url.removeprefix("http://").rpartition(":")
    async with await anyio.connect_tcp(host, int(port)) as connection:
        await connection.send(request)
        yield connection


def push_all(push: Push, pieces: list[bytes]) -> list[bool]:
    return [push(piece) for piece in pieces]


async def test_a_pushed_piece_is_a_piece_like_any_other() -> None:
    speaker = Speaker()
    with structlog.testing.capture_logs() as lines:
        async with served(speaker) as url, asked(speaker, url) as response:
            assert speaker.push is not None
            assert push_all(speaker.push, [b"second", b"third"]) == [True, True]
            speaker.finish.set()
            assert await response.aread() == FIRST + b"secondthird"
            assert response.headers["transfer-encoding"] == "chunked"
    assert [line["bytes_sent"] for line in lines if line["event"] == "http.request"] == [len(FIRST + b"secondthird")]


async def test_nothing_is_pushed_before_the_head_is_out_nor_after_the_end() -> None:
    speaker = Speaker()
    async with served(speaker) as url, asked(speaker, url) as response:
        assert speaker.push is not None
        speaker.finish.set()
        assert await response.aread() == FIRST
        await speaker.ended.wait()
        assert (speaker.early, speaker.push(b"too late")) == (False, False)


async def test_one_that_does_not_read_is_pushed_no_more_than_one_piece_and_loses_none() -> None:
    speaker = Speaker()
    async with served(speaker) as url, raw(url, LIVE) as connection:
        await speaker.ready.wait()
        assert speaker.push is not None
        pushed = 0
        while pushed < MOST_PIECES and speaker.push(LARGE):
            pushed += 1
        assert 0 < pushed < MOST_PIECES
        speaker.finish.set()
        received = bytearray()
        while not received.endswith(b"0\r\n\r\n"):
            received += await connection.receive(1024 * 1024)
    assert received.count(b"10000\r\n" + LARGE + b"\r\n") == pushed


async def test_one_that_left_is_pushed_nothing() -> None:
    speaker = Speaker()
    async with served(speaker) as url:
        async with raw(url, LIVE):
            await speaker.ready.wait()
        assert speaker.push is not None
        while speaker.push(b"a"):  # noqa: ASYNC110 - the kernel says that it left when it is written to
            await anyio.sleep(0.001)
        speaker.finish.set()


@pytest.mark.parametrize(
    "request_line", [b"HEAD /live HTTP/1.1", b"GET /live HTTP/1.0"], ids=["no body", "a body without chunks"]
)
async def test_where_there_are_no_chunks_there_is_no_push(request_line: bytes) -> None:
    speaker = Speaker()
    async with served(speaker) as url, raw(url, request_line + b"\r\nHost: x\r\n\r\n"):
        await speaker.ready.wait()
        speaker.finish.set()
    assert speaker.push is None


async def test_a_log_is_heard_as_it_grows() -> None:
    log = AudioLog()
    pieces = [bytes([number]) * 5000 for number in range(100)]
    log.append(pieces[0])
    heard = anyio.Event()

    async def listen(scope: Scope, receive: Receive, send: Send) -> None:
        response = AudioLogResponse(log, offset=0, headers={}, stall_seconds=10, on_end=heard.set)
        await response(scope, receive, send)

    async with (
        served(listen) as url,
        httpx.AsyncClient() as client,
        client.stream("GET", url) as response,
    ):
        for piece in pieces[1:]:
            log.append(piece)
            await checkpoint()
        log.complete()
        assert await response.aread() == b"".join(pieces)
        await heard.wait()
