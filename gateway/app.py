"""The ASGI application: routes inside the layers that every request passes."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.types import ASGIApp

from gateway import middleware
from gateway.errors import exception_handlers
from gateway.openapi import document
from gateway.routes import API, all_routes
from gateway.services import Services


def create_app(services: Services) -> ASGIApp:
    """The application over `services`, which outlive it."""
    app = Starlette(routes=all_routes(), exception_handlers=exception_handlers())
    app.router.redirect_slashes = False  # v1: a trailing slash is another route, not a detour
    app.state.services = services
    app.state.openapi = document(API)
    return middleware.wrap(app, services.settings)
