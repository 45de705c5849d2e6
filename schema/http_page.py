"""What the page is told before anybody is signed in (product sections 6, 10 and 17)."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class SignIn(Struct, frozen=True):
    """How somebody signs in here. `development`: by itself; `supabase`: e-mail and password, at that project; `token`:
    with an access token from elsewhere. The key is public; both texts are "" for the other two."""

    method: Literal["development", "supabase", "token"]
    supabase_url: str
    supabase_anon_key: str


class RecordingLimits(Struct, frozen=True):
    """What a voice can be cloned from. `max_bytes` is of a WAV file."""

    max_bytes: int
    min_seconds: float
    max_seconds: float
    advised_seconds: tuple[float, float]
    sample_rate: int


class PageFacts(Struct, frozen=True):
    """`GET /page`. Prices are what the provider bills for one voice, in US dollars; 0: nothing."""

    sign_in: SignIn
    recording: RecordingLimits
    clone_price_usd: float
    design_price_usd: float
