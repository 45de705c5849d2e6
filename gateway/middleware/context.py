"""Which request is this: its id and its trace, on the answer, on every log line, and in one line when it is over."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Sequence

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.net import Network, is_trusted_proxy
from gateway.push import PUSH_EXTENSION, Push, push_of

REQUEST_ID_HEADER = "X-Request-Id"

MAX_LOGGED_PATH_CHARS = 200
"""The longest path of ours is about 80; the rest is somebody trying things."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
_TRACEPARENT = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<parent>[0-9a-f]{16})-[0-9a-f]{2}(?P<rest>-.*)?"
)
_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.http")


class RequestContext:
    """Binds `request_id` and `trace_id` to the log and puts both into `scope["state"]` under the same names."""

    def __init__(self, app: ASGIApp, *, trusted_proxies: Sequence[Network]) -> None:
        self._app = app
        self._trusted_proxies = tuple(trusted_proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = self._request_id(scope, headers)
        trace_id = trace_id_of(headers.get("traceparent", "")) or new_trace_id()
        scope.setdefault("state", {}).update(request_id=request_id, trace_id=trace_id)
        answer = _Answer(send, request_id)
        if (push := push_of(scope)) is not None:
            scope["extensions"][PUSH_EXTENSION] = answer.counting(push)
        structlog.contextvars.clear_contextvars()  # Hypercorn has a task for each request; another server may not
        with structlog.contextvars.bound_contextvars(request_id=request_id, trace_id=trace_id):
            try:
                await self._app(scope, receive, answer.send)
            finally:
                answer.log(scope)
                scope.get("extensions", {}).pop(PUSH_EXTENSION, None)  # it leads back here, in a circle

    def _request_id(self, scope: Scope, headers: Headers) -> str:
        """A trusted proxy's id, so that its log and ours meet; a stranger's could only confuse."""
        given = headers.get(REQUEST_ID_HEADER, "")
        if _REQUEST_ID.fullmatch(given) and is_trusted_proxy(scope, self._trusted_proxies):
            return given
        return new_request_id()


class _Answer:
    """What was sent so far. The id goes on the start; the counts go to the access log."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self._began = time.perf_counter()
        self._status: int | None = None
        self._bytes = 0
        self._ended = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = int(message["status"])
            MutableHeaders(scope=message)[REQUEST_ID_HEADER] = self._request_id
        await self._send(message)
        if message["type"] == "http.response.body":
            self._bytes += len(message.get("body", b""))
            self._ended = not message.get("more_body", False)

    def counting(self, push: Push) -> Push:
        """`push`, whose bytes are counted."""

        def counted(piece: bytes) -> bool:
            pushed = push(piece)
            if pushed:
                self._bytes += len(piece)
            return pushed

        return counted

    def log(self, scope: Scope) -> None:
        """One line. The path comes from the raw bytes, so that no control character reaches a terminal; the query,
        which may carry a token, stays out."""
        raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
        _log.info(
            "http.request",
            method=scope["method"],
            path=raw_path.decode("ascii", "backslashreplace")[:MAX_LOGGED_PATH_CHARS],
            status=self._status,
            outcome=self._outcome(),
            bytes_sent=self._bytes,
            duration_ms=round((time.perf_counter() - self._began) * 1000, 3),
            http_version=scope["http_version"],
        )

    def _outcome(self) -> str:
        if self._ended:
            return "completed"
        return "unanswered" if self._status is None else "cut"


def new_request_id() -> str:
    """32 hex digits."""
    return secrets.token_hex(16)


def new_trace_id() -> str:
    """32 hex digits (W3C Trace Context, 3.2.2.3)."""
    return secrets.token_hex(16)


def trace_id_of(traceparent: str) -> str | None:
    """The trace id of a `traceparent` header, None when the header must be ignored (W3C Trace Context, 3.2)."""
    match = _TRACEPARENT.fullmatch(traceparent.strip())
    if match is None or match["version"] == "ff":
        return None
    if match["version"] == "00" and match["rest"]:  # only later versions may add fields
        return None
    if not (match["trace"].strip("0") and match["parent"].strip("0")):
        return None
    return match["trace"]
