"""Section 1.2: `PATCH /profile`."""

from __future__ import annotations

from tests.contract.rows import Raw, Row, refused, unreadable_bodies
from tests.contract.shapes import PROFILE

PATCH = "PATCH /profile"
LINE = "1.2 profile"

WRONG_TYPES = {"a number": 17, "true": True, "a list": ["ada_l"], "an object": {"value": "ada_l"}}

SENT_AND_KEPT: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "handle of 3": ({"handle": "Ad_"}, {"handle": "Ad_"}),
    "handle of 30": ({"handle": "a" * 30}, {"handle": "a" * 30}),
    "handle is trimmed": ({"handle": " \ufeffAda_9\u3000"}, {"handle": "Ada_9"}),
    "handle null clears": ({"handle": None}, {"handle": None}),
    "handle blank clears": ({"handle": " \ufeff "}, {"handle": None}),
    "display_name of 1": ({"display_name": "A"}, {"display_name": "A"}),
    "display_name of 100 units": ({"display_name": "a" * 100}, {"display_name": "a" * 100}),
    "display_name of 50 emoji is 100 units": ({"display_name": "😀" * 50}, {"display_name": "😀" * 50}),
    "display_name is trimmed as JavaScript does, U+FEFF too": (
        {"display_name": "\ufeffAda\ufeff"},
        {"display_name": "Ada"},
    ),
    "display_name keeps U+0085, which JavaScript does not trim": (
        {"display_name": "\x85Ada\x85"},
        {"display_name": "\x85Ada\x85"},
    ),
    "display_name keeps U+001C, which JavaScript does not trim": (
        {"display_name": "\x1cAda\x1f"},
        {"display_name": "\x1cAda\x1f"},
    ),
    "display_name null clears": ({"display_name": None}, {"display_name": None}),
    "display_name blank clears": ({"display_name": ""}, {"display_name": None}),
    "avatar_url": ({"avatar_url": "https://example.com/me.png"}, {"avatar_url": "https://example.com/me.png"}),
    "avatar_url of any scheme": ({"avatar_url": "mailto:ada@example.com"}, {"avatar_url": "mailto:ada@example.com"}),
    "avatar_url without slashes": ({"avatar_url": "https:example.com"}, {"avatar_url": "https:example.com"}),
    "avatar_url null clears": ({"avatar_url": None}, {"avatar_url": None}),
    "avatar_url blank clears": ({"avatar_url": "  "}, {"avatar_url": None}),
    "all three, as the profile page sends them": (
        {"handle": "", "display_name": "Ada", "avatar_url": ""},
        {"handle": None, "display_name": "Ada", "avatar_url": None},
    ),
    "other columns are ignored": (
        {"display_name": "Ada", "credits_remaining": 1_000_000, "subscription_tier": "gold", "id": "x"},
        {"display_name": "Ada", "credits_remaining": 100, "subscription_tier": "free"},
    ),
}

ROWS = [
    *(
        Row(f"{LINE}: {what}", PATCH, 200, sent, {"profile": {**PROFILE, **kept}})
        for what, (sent, kept) in SENT_AND_KEPT.items()
    ),
    *unreadable_bodies("profile", PATCH),
    *refused(
        LINE,
        PATCH,
        {
            "only unknown fields": {"credits_remaining": 5},
            "handle of 2": {"handle": "ad"},
            "handle of 31": {"handle": "a" * 31},
            "handle with a dash": {"handle": "ada-l"},
            "handle with a space": {"handle": "ada l"},
            "handle with a letter beyond ASCII": {"handle": "adä"},
            "handle with a digit beyond ASCII": {"handle": "ada\u0661"},
            "handle with NUL": {"handle": "ada\0"},
            "display_name of 101 units": {"display_name": "a" * 101},
            "display_name of 51 emoji is 102 units": {"display_name": "😀" * 51},
            "display_name with NUL": {"display_name": "A\0da"},
            "avatar_url relative": {"avatar_url": "/me.png"},
            "avatar_url without scheme": {"avatar_url": "example.com/me.png"},
            "avatar_url without host": {"avatar_url": "https://"},
            "avatar_url with a space in its host": {"avatar_url": "https://exa mple.com"},
            "avatar_url with NUL": {"avatar_url": "https://example.com/\0"},
            "one good and one bad field": {"display_name": "Ada", "handle": "a b"},
            "a lone surrogate": Raw(b'{"display_name": "\\ud800"}'),
            **{
                f"{field} {kind}": {field: value}
                for field in ("handle", "display_name", "avatar_url")
                for kind, value in WRONG_TYPES.items()
            },
        },
    ),
]
