"""What the REST port answers, also when it answers badly."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send


class BodyTooLarge(Exception):
    """A request body past its limit; the rest of it was not read."""


class CutAnswer(Response):
    """The headers and half the body, then the connection ends."""

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        half = bytes(self.body)[: len(self.body) // 2]
        # The server closes the connection when an app returns before its last piece.
        await send({"type": "http.response.body", "body": half, "more_body": True})


def json_answer(content: object, status: int = 200) -> Response:
    """`content` in JSON."""
    return Response(msgspec.json.encode(content), status, media_type="application/json")


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body. Raises `BodyTooLarge` past `limit` bytes."""
    content = bytearray()
    async for piece in request.stream():
        content += piece
        if len(content) > limit:
            raise BodyTooLarge
    return bytes(content)


async def no_answer(request: Request) -> Response:
    """Return, with an answer that nobody gets, when the caller has given up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    return Response()
