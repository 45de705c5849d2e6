"""HTTP/1.1, and HTTP/1.0 for answers of a known length.

A stream that fails ends without its last chunk. HTTP/1.0 has no chunks: there the end of the connection is the end of
the answer, and half a speech would pass for a whole one. HTTP/2 is kept out altogether: see `gateway/server.py`.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.errors import ApiError, error_response
from gateway.middleware.paths import STREAM_PATHS

_NOT_SPOKEN = "This server speaks HTTP/1.1 only."
_NEEDS_HTTP_1_1 = (
    "A stream needs HTTP/1.1: over HTTP/1.0 a broken stream looks like a whole one. "
    "Behind nginx, set proxy_http_version 1.1 and proxy_buffering off."
)


class HttpVersionGuard:
    """505 for what is neither 1.0 nor 1.1, 426 for 1.0 on a stream."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = _refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await error_response(refusal)(scope, receive, send)


def _refusal(scope: Scope) -> ApiError | None:
    match scope["http_version"]:
        case "1.1":
            return None
        case "1.0" if not STREAM_PATHS.fullmatch(scope["path"]):
            return None
        case "1.0":
            # Upgrade is a hop-by-hop field, so Connection has to name it (RFC 9110, 7.8).
            return ApiError(426, _NEEDS_HTTP_1_1, headers={"Upgrade": "HTTP/1.1", "Connection": "Upgrade"})
        case _:
            return ApiError(505, _NOT_SPOKEN, headers={"Connection": "close"})
