"""Request bodies, read whole before any route runs.

Not only a limit. Hypercorn hands a body over through a queue of ten pieces, and the end of an answer goes through the
same queue: a route that answers without having read its body - a 401, say - would wait for room in it for ever.
"""

from __future__ import annotations

import anyio
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.errors import ApiError, error_response

LINGER_SECONDS = 1.0
"""How long a refused client's bytes are read and thrown away. Closing a socket with unread bytes resets it, and the
client would lose the answer that tells it why (RFC 9112, 9.6)."""


class _BodyRefused(Exception):
    """`more_to_come`: the client has not sent all of it."""

    def __init__(self, answer: ApiError, *, more_to_come: bool) -> None:
        self.answer = answer
        self.more_to_come = more_to_come
        super().__init__(answer.detail)


class _ClientGone(Exception):
    pass


class BodyLimit:
    """413 for a body over `max_bytes`, declared or sent; 408 for one that takes longer than `seconds` to arrive."""

    def __init__(self, app: ASGIApp, *, max_bytes: int, seconds: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            body = await self._read(scope, receive)
        except _ClientGone:
            return
        except _BodyRefused as refused:
            await _refuse(refused, scope, receive, send)
            return
        await self._app(scope, _replay(body, receive), send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared) > self._max_bytes:
            raise self._too_large(more_to_come=True)
        body = bytearray()
        try:
            with anyio.fail_after(self._seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _ClientGone
                    body += message.get("body", b"")
                    more_to_come = message.get("more_body", False)
                    if len(body) > self._max_bytes:
                        raise self._too_large(more_to_come=more_to_come)
                    if not more_to_come:
                        return bytes(body)
        except TimeoutError:
            detail = f"The request did not arrive within {self._seconds:g} seconds. Please try again."
            raise _BodyRefused(ApiError(408, detail), more_to_come=True) from None

    def _too_large(self, *, more_to_come: bool) -> _BodyRefused:
        answer = ApiError(413, f"The request is too large. The limit is {self._max_bytes} bytes.")
        return _BodyRefused(answer, more_to_come=more_to_come)


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


async def _refuse(refused: _BodyRefused, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer while the client may still be sending, then close. The end waits for the client, at most a moment."""
    refused.answer.headers["Connection"] = "close"
    response = error_response(refused.answer)
    if not refused.more_to_come:
        await response(scope, receive, send)
        return
    arrived = anyio.Event()

    async def send_but_hold_the_end(message: Message) -> None:
        if message["type"] != "http.response.body":
            await send(message)
            return
        await send({**message, "more_body": True})
        with anyio.move_on_after(LINGER_SECONDS):
            await arrived.wait()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async with anyio.create_task_group() as tasks:
        # It goes on during the last send, which needs room in the queue.
        tasks.start_soon(_discard, receive, arrived)
        await response(scope, receive, send_but_hold_the_end)
        tasks.cancel_scope.cancel()


async def _discard(receive: Receive, arrived: anyio.Event) -> None:
    message: Message = {"type": "http.request", "more_body": True}
    while message["type"] == "http.request" and message.get("more_body", False):
        message = await receive()
    arrived.set()
