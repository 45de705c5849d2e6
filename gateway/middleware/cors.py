"""CORS (v1 contract 1.0, product section 4): the same headers on every answer, errors and redirects included."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.middleware.paths import DEV_TOKEN_PATHS

ALLOWED_METHODS = "GET, POST, PUT, DELETE, PATCH, OPTIONS"
ALLOWED_HEADERS = "authorization, x-client-info, apikey, content-type, idempotency-key, traceparent, range"
EXPOSED_HEADERS = (
    # A browser takes no patterns here: each X-Utter-* has to be named.
    "X-Utter-Provider, X-Utter-Generation-Id, X-Utter-Task-Id, X-Utter-Stream-Url, X-Utter-Error-Category, "
    "X-Request-Id, Retry-After, Server-Timing, Repr-Digest, Content-Range, Accept-Ranges"
)
MAX_AGE_SECONDS = 86400
"""How long a browser may keep a preflight's answer: v1's value."""


class CorsHeaders:
    """Adds the headers to whatever is answered. An origin that is not listed is told the first one that is."""

    def __init__(self, app: ASGIApp, *, allowed_origins: Sequence[str]) -> None:
        self._app = app
        self._allowed_origins = tuple(allowed_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in DEV_TOKEN_PATHS:
            await self._app(scope, receive, send)
            return
        origin = Headers(scope=scope).get("origin")

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._add(MutableHeaders(scope=message), origin)
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _add(self, headers: MutableHeaders, origin: str | None) -> None:
        allowed = cors_origin(self._allowed_origins, origin)
        headers["Access-Control-Allow-Origin"] = allowed
        headers["Access-Control-Allow-Headers"] = ALLOWED_HEADERS
        headers["Access-Control-Allow-Methods"] = ALLOWED_METHODS
        headers["Access-Control-Max-Age"] = str(MAX_AGE_SECONDS)
        headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
        headers["Timing-Allow-Origin"] = allowed
        if allowed != "*":
            headers.add_vary_header("Origin")


def cors_origin(allowed_origins: Sequence[str], origin: str | None) -> str:
    """The one value of `Access-Control-Allow-Origin` for a request from `origin`."""
    if "*" in allowed_origins:
        return "*"
    return origin if origin in allowed_origins and origin is not None else allowed_origins[0]


class Preflight:
    """OPTIONS on any path, known or not, signed in or not: 204 and nothing else."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "OPTIONS":
            await self._app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})
