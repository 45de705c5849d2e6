"""Signed, expiring, credential-free links to audio (product sections 4, 6 and 9).

Whoever asks is given links to objects of their own only: that is checked here, where they are signed.
"""

from __future__ import annotations

from urllib.parse import quote
from uuid import UUID

from starlette.requests import Request

from gateway.auth import User
from gateway.net import public_base_url
from gateway.routes.access import belongs_to, services_of, unknown
from gateway.signing import Purpose

UPLOAD_URL_SECONDS = 7200.0
"""How long an upload link works: v1's two hours (v1 contract 1.4)."""


def object_url(request: Request, bucket: str, key: str) -> str:
    """An absolute URL that reads one stored object of the caller's, more than once, until it expires.

    Raises ApiError 404 for an object that is not the caller's.
    """
    return _object_url(request, "object", bucket, key, services_of(request).settings.signed_url_seconds)


def upload_url(request: Request, bucket: str, key: str) -> str:
    """An absolute URL to which the caller may PUT one recording, once, within `UPLOAD_URL_SECONDS`.

    Raises ApiError 404 for a key that is not the caller's.
    """
    return _object_url(request, "upload", bucket, key, UPLOAD_URL_SECONDS)


def stream_url(request: Request, generation_id: UUID) -> str:
    """An absolute URL that an `<audio>` can play, while the generation runs and afterwards."""
    services = services_of(request)
    token = services.signer.sign("stream", str(generation_id), services.settings.signed_url_seconds)
    return f"{_base(request)}/api/generations/{generation_id}/stream?token={quote(token, safe='')}"


def _object_url(request: Request, purpose: Purpose, bucket: str, key: str, seconds: float) -> str:
    user: User = request.state.caller
    if not belongs_to(user.id, key):
        raise unknown("recording")
    path = f"{bucket}/{key}"
    token = services_of(request).signer.sign(purpose, path, seconds)
    return f"{_base(request)}/api/objects/{quote(path)}?token={quote(token, safe='')}"


def _base(request: Request) -> str:
    settings = services_of(request).settings
    return public_base_url(request.scope, settings.public_base_url, settings.trusted_proxies)
