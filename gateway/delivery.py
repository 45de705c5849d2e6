"""Finished bytes as an HTTP answer, whole or in part, with a bound on readers that do not read.

`gateway.streaming` sends audio that still grows; this module sends what has an end, from memory or from the object
store.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from gateway.errors import ApiError
from gateway.ranges import RangeNotSatisfiable, Span, parse_range, resolve
from gateway.sending import cancelled_on_disconnect, send_while_connected
from storage.objects import ObjectMissing, ObjectStoreUnavailable

REVALIDATE = "private, no-cache"
"""`Cache-Control` of stored audio: kept, but asked about each time. Who may hear it, and whether it still exists, is
decided anew; two users of one browser share its cache."""

CLIENT_GONE = 499
"""Status for the log when nobody is left to answer; the convention of nginx."""

T = TypeVar("T")


class ClientGone(Exception):
    """The client closed its connection before there was anything to answer."""


@dataclass(frozen=True, slots=True)
class Body:
    """A finished body of `size` bytes. `read(start, stop)` gives the bytes from `start` to before `stop`.

    `sha256` is the hex digest of the whole and `etag` a strong validator with its quotes; None when not known.
    """

    size: int
    content_type: str
    read: Callable[[int, int], AsyncIterator[bytes]]
    sha256: str | None = None
    etag: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def respond(request: Request, body: Body, *, stall_seconds: float, offset: int = 0) -> Response | SpanResponse:
    """The answer to GET or HEAD for `body`: 200, 206 or 304.

    `offset` (bytes) asks for the rest from there as a body of its own, with status 200, and then `Range` is ignored.
    `stall_seconds` bounds every single write. Raises ApiError 416 when no byte asked for exists.
    """
    headers = {"accept-ranges": "bytes", "cache-control": REVALIDATE, **body.headers}
    if offset == 0:
        headers |= _validators(body)
        if body.etag is not None and _names(request.headers.get("if-none-match"), body.etag):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    span, status = _span(request, body, offset)
    headers |= {"content-type": body.content_type, "content-length": str(span.length)}
    headers["x-content-type-options"] = "nosniff"
    if status is HTTPStatus.PARTIAL_CONTENT:
        headers["content-range"] = span.content_range(body.size)
    if request.method == "HEAD" or not span.length:
        return Response(status_code=status, headers=headers)
    return SpanResponse(status, headers, body.read(span.start, span.stop), stall_seconds)


def quoted(validator: str) -> str:
    """`validator` as an ETag, whether or not it came with its quotes: stores differ."""
    return f'"{validator.strip(chr(34))}"'


def repr_digest(sha256: str) -> str:
    """`Repr-Digest` (RFC 9530) of a hex digest: of the whole body, also on a part of it."""
    return f"sha-256=:{b64encode(bytes.fromhex(sha256)).decode()}:"


def not_satisfiable(error: RangeNotSatisfiable) -> ApiError:
    """416, with the real size where there is one."""
    return ApiError(416, "There is no audio at this position.", headers=error.headers)


class SpanResponse:
    """ASGI response that sends `chunks`. The status is held back until the first one is there.

    A failure after that ends without the last body message, so the connection is closed before `Content-Length`
    bytes came and the client sees a cut transfer.
    """

    def __init__(
        self, status: int, headers: Mapping[str, str], chunks: AsyncIterator[bytes], stall_seconds: float
    ) -> None:
        self._status = int(status)
        self._headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        self._chunks = chunks
        self._stall_seconds = stall_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send_while_connected(
            partial(self._send_all, await self._first_chunk()),
            scope,
            receive,
            send,
            stall_seconds=self._stall_seconds,
            cut_by=(ObjectMissing, ObjectStoreUnavailable),
        )

    async def _first_chunk(self) -> bytes:
        try:
            return await anext(self._chunks, b"")
        except ObjectMissing as error:  # removed since its size was asked for
            raise ApiError(404, "This audio is no longer stored.") from error

    async def _send_all(self, first: bytes, send: Send) -> None:
        await send({"type": "http.response.start", "status": self._status, "headers": self._headers})
        await send(_piece(first))
        async for chunk in self._chunks:
            await send(_piece(chunk))
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def while_connected(receive: Receive, work: Callable[[], Awaitable[T]]) -> T:
    """Do `work`, which must not raise, unless the client leaves first. Raises ClientGone."""
    done: list[T] = []
    async with cancelled_on_disconnect(receive):
        done.append(await work())
    if not done:
        raise ClientGone
    return done[0]


def _validators(body: Body) -> dict[str, str]:
    found = {}
    if body.etag is not None:
        found["etag"] = body.etag
    if body.sha256 is not None:
        found["repr-digest"] = repr_digest(body.sha256)
    return found


def _span(request: Request, body: Body, offset: int) -> tuple[Span, HTTPStatus]:
    if offset > body.size:
        raise not_satisfiable(RangeNotSatisfiable(body.size))
    wanted = parse_range(request.headers.get("range")) if not offset and _range_applies(request, body) else None
    if wanted is None:
        return Span(offset, body.size), HTTPStatus.OK
    try:
        return resolve(wanted, body.size), HTTPStatus.PARTIAL_CONTENT
    except RangeNotSatisfiable as error:
        raise not_satisfiable(error) from error


def _range_applies(request: Request, body: Body) -> bool:
    """Ranges are for GET only (RFC 9110, 14.2), and `If-Range` must name these very bytes."""
    condition = request.headers.get("if-range")
    return request.method == "GET" and (condition is None or condition == body.etag)


def _names(header: str | None, etag: str) -> bool:
    """Whether an `If-None-Match` header names `etag`; weak comparison (RFC 9110, 13.1.2)."""
    if header is None:
        return False
    return header.strip() == "*" or etag in {tag.strip().removeprefix("W/") for tag in header.split(",")}


def _piece(data: bytes) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": True}
