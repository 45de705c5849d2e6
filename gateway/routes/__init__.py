"""Every address of the gateway. A trailing slash makes another address; what is not listed is a JSON 404.

The rows stand in `gateway.routes.table`. `/api/openapi.json` is made of them too, so a row that is added there is
served, documented and tested.
"""

from __future__ import annotations

import functools
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from gateway.middleware.paths import ROUTE_PREFIXES
from gateway.routes import docs, web
from gateway.routes.access import services_of
from gateway.routes.operations import Endpoint, Operation
from gateway.routes.table import API

__all__ = ["API", "all_routes"]


def all_routes() -> list[BaseRoute]:
    """The API under both mounts, the pages, and the answer for everything else."""
    api = [_route(mount, operation) for mount in ROUTE_PREFIXES for operation in API]
    return [*api, *web.routes(), *docs.routes(), Route("/{path:path}", _Nowhere())]


def _route(mount: str, operation: Operation) -> Route:
    endpoint = _knowing_the_key(operation.endpoint) if operation.auth.by_token else operation.endpoint
    return Route(mount + operation.path, endpoint, methods=[operation.method])


def _knowing_the_key(endpoint: Endpoint) -> Endpoint:
    """`endpoint`, called once the key that the token names was looked for, should it be a new one."""

    @functools.wraps(endpoint)
    async def called(request: Request) -> Any:
        await services_of(request).authenticator.prepare(request.headers.get("authorization"))
        return await endpoint(request)

    return called


class _Nowhere:
    """404 for every method: v1 knew no 405, a known path with another method was an unknown route."""

    async def __call__(self, _scope: Scope, _receive: Receive, _send: Send) -> None:
        raise HTTPException(404)
