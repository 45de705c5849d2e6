"""Every address of the gateway. A trailing slash makes another address; what is not listed is a JSON 404."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from gateway.middleware.paths import ROUTE_PREFIXES
from gateway.routes import development, generate, generations, listen, objects, public, tasks, voices, web

_API = (
    ("GET", "/health", public.health),
    ("GET", "/ready", public.ready),
    ("GET", "/languages", public.languages),
    ("GET", "/me", public.me),
    ("POST", "/transcriptions", public.transcriptions),
    ("GET", "/voices", voices.list_voices),
    ("GET", "/voices/{voice_id}/preview", voices.preview),
    ("DELETE", "/voices/{voice_id}", voices.delete),
    ("POST", "/generate", generate.generate),
    ("POST", "/generate/stream", generate.generate_stream),
    ("GET", "/generations", generations.list_generations),
    ("GET", "/generations/{generation_id}/audio", generations.audio),
    ("GET", "/generations/{generation_id}/stream", listen.listen),
    ("DELETE", "/generations/{generation_id}", generations.delete),
    ("GET", "/tasks/{task_id}", tasks.get),
    ("DELETE", "/tasks/{task_id}", tasks.delete),
    ("POST", "/tasks/{task_id}/cancel", tasks.cancel),
    ("GET", "/objects/{bucket}/{key:path}", objects.read),
    ("POST", "/dev/token", development.token),
)


def all_routes() -> list[BaseRoute]:
    """The API under both mounts, the page, and the answer for everything else."""
    api = [
        Route(mount + path, endpoint, methods=[method]) for mount in ROUTE_PREFIXES for method, path, endpoint in _API
    ]
    return [*api, *web.routes(), Route("/{path:path}", _Nowhere())]


class _Nowhere:
    """404 for every method: v1 knew no 405, a known path with another method was an unknown route."""

    async def __call__(self, _scope: Scope, _receive: Receive, _send: Send) -> None:
        raise HTTPException(404)
