"""`GET /openapi.json`, and `/docs`, the page that reads it."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway.responses import NO_STORE
from gateway.routes import web


async def document(request: Request) -> Response:
    """The document that the application was made with."""
    content: bytes = request.app.state.openapi
    return Response(content, media_type="application/json", headers={"cache-control": NO_STORE})


async def page(request: Request) -> Response:
    """The page; its script reads the document."""
    return web.document(request, "docs.html")


def routes() -> list[BaseRoute]:
    """The page's address, at the root."""
    return [Route("/docs", page)]
