"""Signed, expiring, credential-free links to audio (product sections 4 and 9)."""

from __future__ import annotations

from urllib.parse import quote
from uuid import UUID

from starlette.requests import Request

from gateway.net import public_base_url
from gateway.routes.access import services_of


def object_url(request: Request, bucket: str, key: str) -> str:
    """An absolute URL that reads one stored object, more than once, until it expires."""
    path = f"{bucket}/{key}"
    token = services_of(request).signer.sign("object", path, _lifetime(request))
    return f"{_base(request)}/api/objects/{quote(path)}?token={quote(token, safe='')}"


def stream_url(request: Request, generation_id: UUID) -> str:
    """An absolute URL that an `<audio>` can play, while the generation runs and afterwards."""
    token = services_of(request).signer.sign("stream", str(generation_id), _lifetime(request))
    return f"{_base(request)}/api/generations/{generation_id}/stream?token={quote(token, safe='')}"


def _base(request: Request) -> str:
    settings = services_of(request).settings
    return public_base_url(request.scope, settings.public_base_url, settings.trusted_proxies)


def _lifetime(request: Request) -> float:
    return services_of(request).settings.signed_url_seconds
