"""Answers that come before the request's body is here, and still arrive.

A refusal - 401, 409, 413 - need not wait for the rest of a recording. Two things would spoil it. Closing a socket with
unread bytes resets it, and the client would lose the answer that tells it why (RFC 9112, 9.6). And Hypercorn hands a
body over through a queue of ten pieces, through which the end of the answer has to go as well: with nobody reading,
it would wait for room for ever.
"""

from __future__ import annotations

import anyio
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.task_groups import until_cancelled

LINGER_SECONDS = 30.0
"""How long a refused client's bytes are read and thrown away. nginx's default (`lingering_time`): many clients read
nothing before they have sent all, and v1's page sends up to 50 MB."""

LINGER_SILENCE_SECONDS = 2.0
"""A refused client that sends nothing for so long has nothing more to send, or has read its answer."""


class LingeringClose:
    """Holds the end of an answer back until the request's body is here, at most for the limits above."""

    def __init__(
        self, app: ASGIApp, *, seconds: float = LINGER_SECONDS, silence_seconds: float = LINGER_SILENCE_SECONDS
    ) -> None:
        self._app = app
        self._seconds = seconds
        self._silence_seconds = silence_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        incoming = _Incoming(receive)

        async def send_and_linger(message: Message) -> None:
            if not incoming.ended and message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Connection"] = "close"
            if incoming.ended or message["type"] != "http.response.body" or message.get("more_body", False):
                await send(message)
            else:
                await self._end(message, incoming, send)

        await self._app(scope, incoming.receive, send_and_linger)

    async def _end(self, message: Message, incoming: _Incoming, send: Send) -> None:
        await send({**message, "more_body": True})
        quiet = anyio.Event()
        async with anyio.create_task_group() as tasks:
            # It goes on during the last send, which needs room in the queue.
            tasks.start_soon(until_cancelled, self._discard, incoming, quiet)
            with anyio.move_on_after(self._seconds):
                await quiet.wait()
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            tasks.cancel_scope.cancel()

    async def _discard(self, incoming: _Incoming, quiet: anyio.Event) -> None:
        while not incoming.ended:
            with anyio.move_on_after(self._silence_seconds) as silence:
                await incoming.receive()
            if silence.cancelled_caught:
                quiet.set()
        quiet.set()


class _Incoming:
    """A request's `receive` that knows whether the body, or its client, has ended."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.ended = False

    async def receive(self) -> Message:
        message = await self._receive()
        self.ended = message["type"] != "http.request" or not message.get("more_body", False)
        return message
