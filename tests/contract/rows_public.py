"""Sections 1.1 and 1.9: routes that need no sign-in, and the one that is not offered."""

from __future__ import annotations

from tests.contract.rows import Auth, Row
from tests.contract.shapes import PROFILE, SIGNED_OUT, Made, matching, uuid

LANGUAGES = [
    "Auto",
    "English",
    "Chinese",
    "Japanese",
    "Korean",
    "French",
    "German",
    "Spanish",
    "Italian",
    "Portuguese",
    "Russian",
    "Arabic",
    "Hindi",
    "Dutch",
    "Turkish",
]
"""In v1's order (1.1)."""

NOT_SPOKEN = {"Arabic", "Hindi", "Dutch", "Turkish"}
"""By neither provider (product section 5, v1 contract 4.2)."""

CAPABILITIES = {
    "qwen": {"supports_generate_stream": True, "default_generate_mode": "stream"},
    "modal": {"supports_generate_stream": False, "default_generate_mode": "task"},
}


def languages(mode: str) -> dict[str, object]:
    """The whole answer of `GET /languages` (1.1, product sections 4 and 5)."""
    return {
        "languages": lambda found: found == LANGUAGES,
        "default": "Auto",
        "provider": mode,
        "transcription": {"enabled": False, "provider": "mistral", "model": str},
        "capabilities": {
            "supports_generate": True,
            "allow_generate_mode_toggle": False,
            "max_text_chars": 2000,
            **CAPABILITIES[mode],
        },
        "spoken_languages": lambda found: sorted(found) == sorted(set(LANGUAGES) - NOT_SPOKEN),
    }


ME = {"signed_in": True, "user": {"id": Made("{owner}")}, "profile": PROFILE}

FRESH = {
    **PROFILE,
    "handle": None,
    "display_name": None,
    "avatar_url": None,
    "subscription_tier": "free",
    "credits_remaining": 100,
}

ROWS = [
    Row("1.1 health: good", "GET /health", 200, auth=Auth.NONE, shape={"ok": True}),
    Row("1.1 languages: in Qwen mode", "GET /languages", 200, None, languages("qwen"), auth=Auth.NONE, modes=("qwen",)),
    Row(
        "product 4, 1.1 languages: in Modal mode the provider says so",
        "GET /languages",
        200,
        shape=languages("modal"),
        auth=Auth.NONE,
        modes=("modal",),
    ),
    Row(
        "1.1 me: a fresh user has a free profile",
        "GET /me",
        200,
        shape={**ME, "profile": FRESH},
        auth=Auth.OPTIONAL,
        signed_out=SIGNED_OUT,
    ),
    Row(
        "1.1 me: a token without its scheme is nobody's",
        "GET /me",
        200,
        shape=SIGNED_OUT,
        auth=Auth.OPTIONAL,
        signed_out=SIGNED_OUT,
        sends={"Authorization": "not.a.token"},
    ),
    Row(
        "1.9 transcriptions: nobody is offered any",
        "POST /transcriptions",
        503,
        {"audio": ""},
        answers={"Retry-After": matching(r"\d+")},
    ),
    Row(
        "product 4 ready: whatever is degraded, requests are served",
        "GET /ready",
        200,
        shape={"ready": True, "degraded": []},
        auth=Auth.NONE,
    ),
    Row(
        "product 17 page: what it is told before anybody is signed in",
        "GET /page",
        200,
        shape={
            "sign_in": {"method": "development", "supabase_url": "", "supabase_anon_key": ""},
            "recording": {
                "max_bytes": int,
                "min_seconds": 3.0,
                "max_seconds": 60.0,
                "advised_seconds": lambda found: found == [10.0, 20.0],
                "sample_rate": 24_000,
            },
            "clone_price_usd": float,
            "design_price_usd": float,
        },
        auth=Auth.NONE,
    ),
    Row(
        "product 4 openapi: made from the types",
        "GET /openapi.json",
        200,
        shape=lambda document: document["openapi"].startswith("3.1"),
        auth=Auth.NONE,
    ),
    Row(
        "product 10 dev/token: this machine's own page signs itself in",
        "POST /dev/token",
        200,
        shape={"token": str, "expires_in": int, "user": {"id": uuid}},
        auth=Auth.NONE,
        answers={"Access-Control-Allow-Origin": None},
    ),
]
