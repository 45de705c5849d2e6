"""What happens to every request before and after the routes: pure ASGI, one module for each concern.

From the outside in:

    RequestContext   request id, trace context, the access log line
    CorsHeaders      on every answer, also those of the layers below
    LingeringClose   an answer before its request's body was read still arrives
    ErrorBoundary    whatever is raised becomes a JSON answer, or a connection that does not end cleanly
    BodyLimit        the request body is within bounds, and here, whole, before a route runs; a recording streams
    HttpVersionGuard only HTTP/1.1, and HTTP/1.0 where a cut answer cannot be mistaken for a whole one
    Preflight        OPTIONS on any path
"""

from __future__ import annotations

from starlette.types import ASGIApp

from gateway.middleware.body import BodyLimit, BodyLimits
from gateway.middleware.boundary import ErrorBoundary
from gateway.middleware.context import RequestContext
from gateway.middleware.cors import CorsHeaders, Preflight
from gateway.middleware.http_version import HttpVersionGuard
from gateway.middleware.lingering import LingeringClose
from gateway.settings import Settings


def wrap(app: ASGIApp, settings: Settings) -> ASGIApp:
    """`app` inside all layers: outside Starlette too, whose own error answers would otherwise miss the headers."""
    app = Preflight(app)
    app = HttpVersionGuard(app)
    app = BodyLimit(app, BodyLimits(settings.max_body_bytes, settings.body_seconds, settings.upload_seconds))
    app = ErrorBoundary(app)
    app = LingeringClose(app)
    app = CorsHeaders(app, allowed_origins=settings.cors_allowed_origin)
    return RequestContext(app, trusted_proxies=settings.trusted_proxies)
