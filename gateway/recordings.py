"""A URL by which the provider can fetch a user's recording (product section 6)."""

from __future__ import annotations

from urllib.parse import quote, urlsplit
from uuid import UUID

from gateway.net import is_public_host
from gateway.settings import Settings
from gateway.signing import Signer
from storage.objects import REFERENCES, InvalidKey

FETCH_SECONDS = 600.0
"""How long the provider may take to begin: v1's successor allowed as much (v1 contract, App. A, "clone finalize")."""


def provider_url(settings: Settings, signer: Signer, owner: UUID, key: str) -> str | None:
    """A signed, credential-free https URL of `owner`'s recording, valid for `FETCH_SECONDS`.

    None where the provider could not reach it: PUBLIC_BASE_URL is unset, not https, or names no public host. The
    recording then has to travel inside the request. Raises `InvalidKey` for a key that is not the owner's.
    """
    if not key.startswith(f"{owner}/"):
        raise InvalidKey("a recording is fetched for its owner only")
    base = urlsplit(settings.public_base_url)
    if base.scheme != "https" or not is_public_host(base.hostname or ""):
        return None
    path = f"{REFERENCES}/{key}"
    token = signer.sign("object", path, FETCH_SECONDS)
    return f"{settings.public_base_url}/api/objects/{quote(path)}?token={quote(token, safe='')}"
