"""`GET /page`: what differs from one server to the next, so that the page needs no build of its own for each."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from gateway.media import WAV
from gateway.middleware.body import MAX_UPLOAD_BYTES
from gateway.net import may_sign_itself_in
from gateway.responses import JsonResponse
from gateway.routes.access import services_of
from gateway.settings import ProviderMode, Settings
from protocol.customization import (
    ADVISED_RECORDING_SECONDS,
    MAX_RECORDING_SECONDS,
    MIN_RECORDING_SECONDS,
    MIN_SAMPLE_RATE,
    max_recording_bytes,
)
from schema.http_page import PageFacts, RecordingLimits, SignIn

RECORDING = RecordingLimits(
    # The smaller of the two ways a recording takes: the provider gets it in a data URL where it cannot fetch it.
    max_bytes=min(MAX_UPLOAD_BYTES, max_recording_bytes(WAV)),
    min_seconds=MIN_RECORDING_SECONDS,
    max_seconds=MAX_RECORDING_SECONDS,
    advised_seconds=ADVISED_RECORDING_SECONDS,
    sample_rate=MIN_SAMPLE_RATE,
)
"""The same in both modes: a voice that Modal speaks with today is to be cloned at Qwen tomorrow."""


async def facts(request: Request) -> Response:
    """For anybody: none of it is secret."""
    settings = services_of(request).settings
    billed = settings.provider_mode is ProviderMode.QWEN
    return JsonResponse(
        PageFacts(
            sign_in=_sign_in(settings, automatic=may_sign_itself_in(request.scope, settings.bind_host)),
            recording=RECORDING,
            clone_price_usd=settings.clone_price_usd if billed else 0.0,
            design_price_usd=settings.design_price_usd if billed else 0.0,
        )
    )


def _sign_in(settings: Settings, *, automatic: bool) -> SignIn:
    if settings.dev_tokens and automatic:
        return SignIn("development", "", "")
    if settings.supabase_url and settings.supabase_anon_key:
        return SignIn("supabase", settings.supabase_url, settings.supabase_anon_key)
    return SignIn("token", "", "")
