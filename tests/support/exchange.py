"""One request to an ASGI app in the test's own process, with a client that watches the answer come and can leave.

Unlike a socket it shows each message at once and buffers nothing, so a test can ask what was *not* sent yet.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

import anyio
import msgspec
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Scope

WAIT_SECONDS = 10.0
"""Longest wait for something the app should do by itself; only a failing test ever waits so long."""


class Exchange:
    """A request and what has been answered so far. `complete` says whether the answer's end was sent."""

    def __init__(self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> None:
        self.status: int | None = None
        self.headers = Headers()
        self.body = b""
        self.complete = False
        self.scope = _scope(method, target, headers or {})
        self._request: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        self._left = anyio.Event()
        self._changed = anyio.Event()
        self._over = anyio.Event()

    @property
    def begun(self) -> bool:
        """Whether the status was sent."""
        return self.status is not None

    async def run(self, app: ASGIApp) -> None:
        """Let the app answer to its end."""
        try:
            await app(self.scope, self.receive, self.send)
        finally:
            self._over.set()

    def leave(self) -> None:
        """Close the client's side."""
        self._left.set()

    async def answered(self) -> None:
        """Wait for the status."""
        await self._until(lambda: self.begun)

    async def received(self, size: int) -> None:
        """Wait for so many bytes of the body."""
        await self._until(lambda: len(self.body) >= size)

    async def holds(self, what: bytes) -> None:
        """Wait until the body has this in it."""
        await self._until(lambda: what in self.body)

    async def over(self) -> None:
        """Wait until the app is done with the request."""
        with anyio.fail_after(WAIT_SECONDS):
            await self._over.wait()

    def json(self) -> Any:
        """The body; the answer must say that it is JSON."""
        assert self.headers["content-type"] == "application/json", self.headers["content-type"]
        return msgspec.json.decode(self.body)

    async def receive(self) -> Message:
        """The app's side of the request: its body, and later that the client left."""
        if self._request:
            return self._request.pop()
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """The app's side of the answer."""
        if message["type"] == "http.response.start":
            assert self.status is None, "the answer began twice"
            self.status = message["status"]
            self.headers = Headers(raw=list(message["headers"]))
        else:
            assert self.status is not None, "a body before its status"
            assert not self.complete, "a body after its end"
            if self.scope["method"] != "HEAD":  # as a server does
                self.body += message.get("body", b"")
            self.complete = not message.get("more_body", False)
        self._changed.set()
        self._changed = anyio.Event()

    async def _until(self, condition: Callable[[], bool]) -> None:
        with anyio.fail_after(WAIT_SECONDS):
            while not condition():
                await self._changed.wait()


async def request(
    app: ASGIApp, method: str, target: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
) -> Exchange:
    """The whole answer."""
    exchange = Exchange(method, target, headers, body)
    with anyio.fail_after(WAIT_SECONDS):
        await exchange.run(app)
    return exchange


@asynccontextmanager
async def open_request(
    app: ASGIApp, method: str, target: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
) -> AsyncIterator[Exchange]:
    """A request that is answered beside the body of the `with`; leaving it cancels what is not answered yet."""
    exchange = Exchange(method, target, headers, body)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(exchange.run, app)
        yield exchange
        tasks.cancel_scope.cancel()


def _scope(method: str, target: str, headers: Mapping[str, str]) -> Scope:
    path, _, query = target.partition("?")
    fields = {"host": "127.0.0.1:8080", **{name.lower(): value for name, value in headers.items()}}
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.1"},  # what Hypercorn declares
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields.items()],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8080),
    }
