"""Who is calling: access tokens verified here, without asking anybody (v1 contract 1.0, "Auth"; product section 10).

The algorithm is fixed by the key, never by the token: `alg: none`, or a public key used as an HMAC secret, cannot get
in. Public keys come from `gateway.issuer_keys`.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

import jwt

from gateway.errors import ApiError
from gateway.issuer_keys import IssuerKeys, key_id_of, open_issuer_keys
from gateway.settings import Settings

AUDIENCE = "authenticated"
"""`aud` of a Supabase access token. The anon and service keys have none."""

ROLE = "authenticated"
"""`role` of a signed-in user. The anon key says `anon`, the service key `service_role`."""

CLOCK_SKEW_SECONDS = 30.0
"""How far the issuer's clock may be from ours. More would only keep expired tokens alive."""

TOKEN_SECONDS = 3600
"""Lifetime of a token minted here: the same as Supabase's (v1 contract 1.0), so that the page renews both alike."""

_HMAC = "HS256"
_CANONICAL_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/=-]+)", re.IGNORECASE)

_MISSING = "Please sign in: the Authorization header is missing."
_INVALID = "Your sign-in is not valid. Please sign in again."
_EXPIRED = "Your sign-in has expired. Please sign in again."
_UNCHECKED = "Your sign-in cannot be checked right now. You are still signed in; please try again in a moment."


class Unauthorized(ApiError):
    """401. `detail` says kindly what to do, never what was in the token."""

    def __init__(self, detail: str = _INVALID) -> None:
        super().__init__(401, detail, headers={"WWW-Authenticate": "Bearer"})


class SignInUnchecked(ApiError):
    """503: the token may be good, but the keys to tell are out of reach. A 401 would make clients sign people out."""

    def __init__(self) -> None:
        super().__init__(503, _UNCHECKED)


@dataclass(frozen=True, slots=True)
class User:
    """The caller. `id` is the `sub` of the token."""

    id: UUID


class TokenVerifier(Protocol):
    """Knows one kind of signature."""

    def claims(self, token: str) -> Mapping[str, Any]:
        """The claims of a token with a good signature, `aud` and `exp`. Raises jwt.InvalidTokenError."""


class SharedSecretVerifier:
    """HS256 with a secret that the issuer and we share."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def claims(self, token: str) -> Mapping[str, Any]:
        return _decode(token, self._secret, _HMAC)


class IssuerKeyVerifier:
    """ES256 and RS256 with the public key that the token names."""

    def __init__(self, keys: IssuerKeys) -> None:
        self._keys = keys

    def claims(self, token: str) -> Mapping[str, Any]:
        """As the others; raises SignInUnchecked when the issuer cannot be asked whether it has such a key."""
        key_id = key_id_of(token)
        if key_id is None:
            raise jwt.InvalidTokenError("names no key")
        key = self._keys.find(key_id)
        if key is not None:
            return _decode(token, key.public_key, key.algorithm)
        if not (self._keys.trusted and self._keys.reachable):
            raise SignInUnchecked
        raise jwt.InvalidTokenError("names an unknown key")


class Authenticator:
    """Turns an `Authorization` header into a `User`. Keeps nothing between calls but the issuer's keys."""

    def __init__(self, settings: Settings, issuer_keys: IssuerKeys | None = None) -> None:
        self._issuer_keys = issuer_keys
        secrets = (settings.supabase_jwt_secret, settings.token_secret)
        self._verifiers: list[TokenVerifier] = [SharedSecretVerifier(secret) for secret in secrets if secret]
        if issuer_keys is not None:
            self._verifiers.append(IssuerKeyVerifier(issuer_keys))

    @property
    def degraded(self) -> str | None:
        """What is impaired, in words for an operator; None when nothing is."""
        if self._issuer_keys is None or self._issuer_keys.reachable:
            return None
        if self._issuer_keys.trusted:
            return "The sign-in keys cannot be refreshed: sign-ins are checked with those fetched before."
        return "The sign-in keys cannot be fetched: sign-ins that need them are answered with 503."

    async def prepare(self, authorization: str | None) -> None:
        """Look for the key that the header's token names, when it is not known yet. Call it before `verify`.

        Nearly always there is nothing to do: see `IssuerKeys.look_for` for when somebody is asked.
        """
        match = _BEARER.fullmatch((authorization or "").strip())
        if self._issuer_keys is not None and match is not None:
            key_id = key_id_of(match[1])
            if key_id is not None:
                await self._issuer_keys.look_for(key_id)

    def verify(self, authorization: str | None) -> User:
        """The caller behind the header's value. Raises Unauthorized, or SignInUnchecked."""
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


@asynccontextmanager
async def open_authenticator(settings: Settings) -> AsyncIterator[Authenticator]:
    """The authenticator for the time of the block, which keeps the issuer's keys fresh where there is an issuer.

    An issuer that is away stops nothing: see `SignInUnchecked`.
    """
    if not settings.supabase_jwks_url:
        yield Authenticator(settings)
        return
    async with open_issuer_keys(settings.supabase_jwks_url) as keys:
        yield Authenticator(settings, keys)


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
    return jwt.encode(claims, secret, algorithm=_HMAC)


def _decode(token: str, key: Any, algorithm: str) -> Mapping[str, Any]:
    """The claims, signed with exactly this key and algorithm. Raises jwt.InvalidTokenError."""
    claims: Mapping[str, Any] = jwt.decode(
        token,
        key,
        algorithms=[algorithm],
        audience=AUDIENCE,
        leeway=CLOCK_SKEW_SECONDS,
        options={"require": ["exp", "aud", "sub"]},
    )
    return claims
