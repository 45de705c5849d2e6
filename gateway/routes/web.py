"""The page: one document under four paths, its assets, and the policy they run under (product section 17)."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from gateway.routes.access import services_of
from gateway.settings import Settings

WEB = Path(__file__).parent.parent / "web"

PAGES = ("/", "/generate", "/voices", "/history")

REVALIDATE = "no-cache"
"""`Cache-Control` of the page: kept, but asked about each time, so that an update needs no hard reload."""

HEADERS = {
    "cache-control": REVALIDATE,
    "accept-ranges": "none",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",  # stream URLs carry a token
    "cross-origin-opener-policy": "same-origin",
}


async def page(request: Request) -> Response:
    """The document; which view it shows is decided by its script from the path."""
    return document(request, "index.html")


def document(request: Request, name: str) -> Response:
    """An HTML file of ours under the policy of all our pages."""
    settings = services_of(request).settings
    headers = {**HEADERS, "content-security-policy": content_security_policy(settings)}
    return _Document(WEB / name, media_type="text/html", headers=headers)


class _Document(FileResponse):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().__call__(_without_range(scope), receive, send)


def content_security_policy(settings: Settings) -> str:
    """No inline script or style, no host but ourselves and what the settings name."""
    ours = _origins(settings.public_base_url)  # links are built with it, whatever name the page was opened under
    directives = {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'"],
        "font-src": ["'self'"],
        "connect-src": ["'self'", *ours, *_origins(settings.supabase_url)],
        "media-src": ["'self'", "blob:", *ours],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
        "frame-ancestors": ["'none'"],
    }
    return "; ".join(" ".join([name, *dict.fromkeys(sources)]) for name, sources in directives.items())


class Assets(StaticFiles):
    """The files beside the document. Opened as a page of its own, none of them may load or run anything."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().__call__(_without_range(scope), receive, send)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file. Raises HTTPException 404."""
        response = await super().get_response(path, scope)
        response.headers.update({**HEADERS, "content-security-policy": "default-src 'none'"})
        return response


def routes() -> list[BaseRoute]:
    """The page and its assets."""
    return [*(Route(path, page) for path in PAGES), Mount("/web", Assets(directory=WEB))]


def _without_range(scope: Scope) -> Scope:
    """Every file here is small, so it is sent whole (RFC 9110, 14.2); Starlette would refuse a bad range in plain
    text."""
    return {**scope, "headers": [(name, value) for name, value in scope["headers"] if name != b"range"]}


def _origins(url: str) -> list[str]:
    parts = urlsplit(url)
    return [f"{parts.scheme}://{parts.netloc}"] if parts.netloc else []
