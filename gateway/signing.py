"""Signed, expiring permissions that fit into a URL.

A token says: whoever holds this may do `purpose` with `subject` until it expires. It carries only the time and the
signature; purpose and subject come from the request it is shown with, so there is nothing in it to parse or trust.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Callable
from typing import Literal

Purpose = Literal["object", "stream", "upload"]
"""`object`: read one stored object. `stream`: listen to one generation. `upload`: store one object that is not there
yet. None of them does for another."""

_TOKEN = re.compile(r"([0-9a-f]{1,16})\.([A-Za-z0-9_-]{43})")


class InvalidToken(Exception):
    """The token is damaged, forged, expired, or was made for something else. Which one is nobody's business."""


class Signer:
    """Makes and checks permissions under one secret. `clock` gives seconds since the epoch, as time.time does."""

    def __init__(self, secret: str, *, clock: Callable[[], float] = time.time) -> None:
        if not secret:
            raise ValueError("a signer needs a secret")
        # A key of its own: what this secret signs elsewhere can never pass for a permission.
        self._key = hmac.digest(secret.encode(), b"utter signed url", hashlib.sha256)
        self._clock = clock

    def sign(self, purpose: Purpose, subject: str, ttl: float) -> str:
        """A URL-safe token that is valid for the next `ttl` seconds."""
        expires = f"{int(self._clock() + ttl):x}"
        return f"{expires}.{self._signature(purpose, subject, expires)}"

    def verify(self, purpose: Purpose, subject: str, token: str) -> None:
        """Raises InvalidToken unless `token` was made by `sign` for the same purpose and subject and is still valid."""
        match = _TOKEN.fullmatch(token)
        if match is None:
            raise InvalidToken
        expires, signature = match.groups()
        if not hmac.compare_digest(signature, self._signature(purpose, subject, expires)):
            raise InvalidToken
        if int(expires, 16) <= self._clock():
            raise InvalidToken

    def _signature(self, purpose: Purpose, subject: str, expires: str) -> str:
        parts = (purpose.encode(), subject.encode("utf-8", "surrogatepass"), expires.encode())
        # Lengths in front: no two different triples give the same message.
        message = b"".join(len(part).to_bytes(8) + part for part in parts)
        digest = hmac.digest(self._key, message, hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
