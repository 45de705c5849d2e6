"""The URL by which a provider fetches a recording."""

from __future__ import annotations

from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from gateway.recordings import FETCH_SECONDS, provider_url
from gateway.settings import Settings, load_settings
from gateway.signing import InvalidToken, Signer
from storage.objects import InvalidKey

OWNER = uuid4()
KEY = f"{OWNER}/{uuid4()}/reference.wav"
LOCAL = {"UTTER_ENV": "local", "DATABASE_URL": "postgresql:///u", "UTTER_TOKEN_SECRET": "k" * 32}


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def settings(public_base_url: str) -> Settings:
    return load_settings({**LOCAL, "PUBLIC_BASE_URL": public_base_url})


@pytest.mark.parametrize("base", ["https://api.utter.example", "https://8.8.8.8:8443"])
def test_a_public_gateway_signs_a_short_lived_link_to_read_it(base: str) -> None:
    clock = Clock()
    signer = Signer("s" * 32, clock=clock)
    url = provider_url(settings(base), signer, OWNER, KEY)
    assert url is not None
    assert url.startswith(f"{base}/api/objects/references/{KEY}?token=")
    token = urlsplit(url).query.removeprefix("token=")
    signer.verify("object", f"references/{KEY}", token)
    with pytest.raises(InvalidToken):
        signer.verify("upload", f"references/{KEY}", token)
    clock.now += FETCH_SECONDS
    with pytest.raises(InvalidToken):
        signer.verify("object", f"references/{KEY}", token)


@pytest.mark.parametrize(
    "base",
    [
        "",
        "http://api.utter.example",
        "https://localhost:8080",
        "https://127.0.0.1",
        "https://10.0.0.7",
        "https://[fd00::1]",
        "https://gateway",
        "https://gateway.internal",
        "https://mac.local",
    ],
)
def test_where_a_provider_cannot_reach_it_there_is_none(base: str) -> None:
    assert provider_url(settings(base), Signer("s" * 32), OWNER, KEY) is None


@pytest.mark.parametrize("key", [f"{uuid4()}/v/reference.wav", f"{OWNER}", f"{OWNER}0/a.wav", f"../{KEY}", ""])
def test_another_s_recording_is_never_signed(key: str) -> None:
    for base in ("https://api.utter.example", ""):
        with pytest.raises(InvalidKey):
            provider_url(settings(base), Signer("s" * 32), OWNER, key)
