"""JSON answers, written by msgspec."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from starlette.responses import Response

NO_STORE = "no-store"
"""`Cache-Control` of everything that belongs to one user or to one moment. v1's proxy sends it on all of /api."""


class JsonResponse(Response):
    """A JSON body that no cache keeps. `content` is a struct of `schema.http`."""

    media_type = "application/json"

    def __init__(self, content: msgspec.Struct, *, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(
            msgspec.json.encode(content), status_code=status, headers={"cache-control": NO_STORE, **(headers or {})}
        )


def redirect(url: str) -> Response:
    """302 to `url`, a signed one that is different each time."""
    return Response(status_code=302, headers={"location": url, "cache-control": NO_STORE})
