"""How much a request may bring, and how long it may take (product sections 4 and 6).

Most bodies are small and are here, whole, before any route runs. A recording is not: its route reads it as it comes,
through a `receive` that keeps the same limits.
"""

from __future__ import annotations

from dataclasses import dataclass

import anyio
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.errors import ApiError
from gateway.middleware.paths import FORM_PATHS, UPLOAD_PATHS

MAX_UPLOAD_BYTES = 10 * 1024 * 1024
"""Of one recording: the limit of v1's bucket (v1 contract 3.5)."""

MAX_FORM_BYTES = 2 * 1024 * 1024
"""Of a form with a recording of at most 1,000,000 bytes and some fields (v1 contract 1.5). Twice that, so that the
route can say which part is too large; what is larger still is refused here."""


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """What the settings say. Sizes in bytes, times in seconds until the body is here."""

    max_bytes: int
    seconds: float
    upload_seconds: float


class BodyLimit:
    """413 for a body over its limit, declared or sent; 408 for one that takes too long to arrive; 415 for one that is
    compressed."""

    def __init__(self, app: ASGIApp, limits: BodyLimits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        _refuse_encoded(scope)
        limits = self._limits
        if scope["method"] == "PUT" and UPLOAD_PATHS.fullmatch(scope["path"]):
            body = _Body(scope, receive, max_bytes=MAX_UPLOAD_BYTES, seconds=limits.upload_seconds)
            await self._app(scope, body.receive, send)
            return
        form = scope["method"] == "POST" and scope["path"] in FORM_PATHS
        max_bytes = max(limits.max_bytes, MAX_FORM_BYTES) if form else limits.max_bytes
        whole = await _read(_Body(scope, receive, max_bytes=max_bytes, seconds=limits.seconds))
        if whole is not None:
            await self._app(scope, _replay(whole, receive), send)


def _refuse_encoded(scope: Scope) -> None:
    """A compressed body may be a thousand times what its limit allows, so none is ever unpacked."""
    encoding = Headers(scope=scope).get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        detail = "Compressed request bodies are not taken. Please send it without Content-Encoding."
        raise ApiError(415, detail, headers={"Connection": "close"})


class _Body:
    """The body of one request. Raises ApiError 413 at once when more is declared than may come."""

    def __init__(self, scope: Scope, receive: Receive, *, max_bytes: int, seconds: float) -> None:
        self._receive = receive
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._deadline = anyio.current_time() + seconds
        self._size = 0
        self._ended = False
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared) > max_bytes:
            raise self._too_large()

    async def receive(self) -> Message:
        """As ASGI's: pieces of the body, later the disconnect. Raises ApiError 408 and 413 before the body's end."""
        if self._ended:
            return await self._receive()
        try:
            with anyio.fail_after(self._deadline - anyio.current_time()):
                message = await self._receive()
        except TimeoutError:
            detail = f"The request did not arrive within {self._seconds:g} seconds. Please try again."
            raise ApiError(408, detail, headers={"Connection": "close"}) from None
        self._size += len(message.get("body", b""))
        if self._size > self._max_bytes:
            raise self._too_large()
        self._ended = not message.get("more_body", False)
        return message

    def _too_large(self) -> ApiError:
        detail = f"The request is too large. The limit is {self._max_bytes} bytes."
        return ApiError(413, detail, headers={"Connection": "close"})


async def _read(body: _Body) -> bytes | None:
    """The whole body, None when its client left."""
    whole = bytearray()
    while True:
        message = await body.receive()
        if message["type"] == "http.disconnect":
            return None
        whole += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(whole)


def _replay(body: bytes, receive: Receive) -> Receive:
    """`receive` for the layers below: the whole body first, after that the real one, which tells of disconnects."""
    first: Message | None = {"type": "http.request", "body": body, "more_body": False}

    async def replayed() -> Message:
        nonlocal first
        if first is None:
            return await receive()
        message, first = first, None
        return message

    return replayed
