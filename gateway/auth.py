"""Who is calling: access tokens verified here, without a network call (v1 contract 1.0, "Auth").

The algorithm is fixed by the verifier, never by the token: `alg: none`, or a public key used as an HMAC secret,
cannot get in.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

import jwt

from gateway.errors import ApiError
from gateway.settings import Settings

AUDIENCE = "authenticated"
"""`aud` of a Supabase access token. The anon and service keys have none."""

ROLE = "authenticated"
"""`role` of a signed-in user. The anon key says `anon`, the service key `service_role`."""

CLOCK_SKEW_SECONDS = 30.0
"""How far the issuer's clock may be from ours. More would only keep expired tokens alive."""

TOKEN_SECONDS = 3600
"""Lifetime of a token minted here: the same as Supabase's (v1 contract 1.0), so that the page renews both alike."""

_ALGORITHM = "HS256"
_CANONICAL_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/=-]+)", re.IGNORECASE)

_MISSING = "Please sign in: the Authorization header is missing."
_INVALID = "Your sign-in is not valid. Please sign in again."
_EXPIRED = "Your sign-in has expired. Please sign in again."


class Unauthorized(ApiError):
    """401. `detail` says kindly what to do, never what was in the token."""

    def __init__(self, detail: str = _INVALID) -> None:
        super().__init__(401, detail, headers={"WWW-Authenticate": "Bearer"})


@dataclass(frozen=True, slots=True)
class User:
    """The caller. `id` is the `sub` of the token."""

    id: UUID


class TokenVerifier(Protocol):
    """Knows one kind of signature. Others (a JWKS, say) stand beside `SharedSecretVerifier`."""

    def claims(self, token: str) -> Mapping[str, Any]:
        """The claims of a token with a good signature, `aud` and `exp`. Raises jwt.InvalidTokenError."""


class SharedSecretVerifier:
    """HS256 with a secret that the issuer and we share."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def claims(self, token: str) -> Mapping[str, Any]:
        claims: Mapping[str, Any] = jwt.decode(
            token,
            self._secret,
            algorithms=[_ALGORITHM],
            audience=AUDIENCE,
            leeway=CLOCK_SKEW_SECONDS,
            options={"require": ["exp", "aud", "sub"]},
        )
        return claims


class Authenticator:
    """Turns an `Authorization` header into a `User`. Keeps nothing between calls."""

    def __init__(self, settings: Settings) -> None:
        secrets = (settings.supabase_jwt_secret, settings.token_secret)
        self._verifiers: list[TokenVerifier] = [SharedSecretVerifier(secret) for secret in secrets if secret]

    def verify(self, authorization: str | None) -> User:
        """The caller behind the header's value. Raises Unauthorized."""
        if authorization is None or not authorization.strip():
            raise Unauthorized(_MISSING)
        match = _BEARER.fullmatch(authorization.strip())
        if match is None:
            raise Unauthorized
        claims = self._claims(match[1])
        subject = claims.get("sub")
        if claims.get("role") != ROLE or not isinstance(subject, str) or not _CANONICAL_UUID.fullmatch(subject):
            raise Unauthorized
        return User(UUID(subject))

    def _claims(self, token: str) -> Mapping[str, Any]:
        """The claims according to the first verifier that recognizes the signature."""
        detail = _INVALID
        for verifier in self._verifiers:
            try:
                return verifier.claims(token)
            except jwt.ExpiredSignatureError:
                detail = _EXPIRED
            except jwt.InvalidTokenError:
                continue
        # Without the cause: a library's words about a token have no place in a log.
        raise Unauthorized(detail) from None


def mint_token(secret: str, user_id: UUID, ttl: float = TOKEN_SECONDS) -> str:
    """An access token like Supabase's, valid for `ttl` seconds. For UTTER_ENV=local and for tests."""
    now = int(time.time())
    claims = {
        "sub": str(user_id),
        "aud": AUDIENCE,
        "role": ROLE,
        "iat": now,
        "exp": now + int(ttl),
    }
    return jwt.encode(claims, secret, algorithm=_ALGORITHM)
