"""Signing in: are there keys to verify access tokens with?"""

from __future__ import annotations

from gateway.doctor.checkup import Check, Result, failed, ok, warning
from gateway.issuer_keys import KeysUnavailable, fetch_keys
from gateway.settings import Settings


async def sign_in_keys(settings: Settings) -> Result:
    """Does the project publish keys that we can use? Beside a shared secret they may be missing."""
    shared = bool(settings.supabase_jwt_secret or settings.token_secret)
    if not settings.supabase_jwks_url:
        return ok("Tokens are verified with a shared secret.")
    complain = warning if shared else failed
    try:
        keys = await fetch_keys(settings.supabase_jwks_url)
    except KeysUnavailable as error:
        return complain(
            f"The sign-in keys at {settings.supabase_jwks_url} cannot be fetched: {error}.",
            "Check SUPABASE_URL, and that this machine may reach it.",
        )
    if not keys and not shared:
        return failed(
            f"There is no usable sign-in key at {settings.supabase_jwks_url}, so nobody could sign in.",
            "Let the project sign with ES256 or RS256 keys, or set SUPABASE_JWT_SECRET where it signs with HS256.",
        )
    return ok(f"Sign-in keys that can be used: {len(keys)}.")


CHECKS = (Check("sign_in", sign_in_keys),)
