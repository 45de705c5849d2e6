"""Routes that need no sign-in: is the server up, what can it speak, who am I."""

from __future__ import annotations

import anyio
from starlette.requests import Request
from starlette.responses import Response

from gateway.auth import SignInUnchecked, Unauthorized
from gateway.errors import ApiError
from gateway.responses import JsonResponse
from gateway.routes.access import caller, services_of
from gateway.services import Services
from gateway.settings import ProviderMode, Settings
from protocol import modal
from protocol.languages import LANGUAGES, SPOKEN_LANGUAGES
from schema.http import Capabilities, Health, Languages, Readiness, Transcription
from schema.http_account import Me, Profile, UserId
from storage import profiles
from storage.database import DatabaseUnavailable, UnknownUser
from storage.objects import GENERATIONS, ObjectStoreUnavailable

PROBE_SECONDS = 2.0
"""Longest wait for one dependency in `/ready`: probes of a load balancer commonly give up after five."""

PROBE_KEY = "00000000-0000-0000-0000-000000000000/readiness"
"""An object that is never there: asking for it shows whether the store answers."""

_SPOKEN = {ProviderMode.QWEN: SPOKEN_LANGUAGES, ProviderMode.MODAL: modal.LANGUAGES}

TRANSCRIPTION = Transcription(enabled=False, provider="mistral", model="")
"""v1 clients hide the feature when it is not enabled (v1 contract 1.9)."""


async def health(_request: Request) -> Response:
    """The process answers; says nothing about what it depends on."""
    return JsonResponse(Health())


async def ready(request: Request) -> Response:
    """503 while work cannot be taken; 200 with `degraded` reasons while some of it would fail."""
    services = services_of(request)
    reason = await _not_ready(services)
    if reason is not None:
        return JsonResponse(Readiness(ready=False, detail=reason), status=503, headers=ApiError(503, reason).headers)
    return JsonResponse(Readiness(ready=True, degraded=await _degraded(services)))


async def languages(request: Request) -> Response:
    """The languages of the list, and what the active provider really offers."""
    settings = services_of(request).settings
    return JsonResponse(
        Languages(
            languages=list(LANGUAGES),
            default="Auto",
            provider=settings.provider_mode.value,
            transcription=TRANSCRIPTION,
            capabilities=capabilities(settings),
            spoken_languages=list(_SPOKEN[settings.provider_mode]),
        )
    )


def capabilities(settings: Settings) -> Capabilities:
    """What the page may offer in this mode (product section 4)."""
    streams = settings.provider_mode is ProviderMode.QWEN and settings.enable_generate_stream
    return Capabilities(
        supports_generate=True,
        supports_generate_stream=streams,
        default_generate_mode="stream" if streams else "task",
        allow_generate_mode_toggle=streams and settings.enable_generate_mode_toggle,
        max_text_chars=settings.max_text_chars,
    )


async def me(request: Request) -> Response:
    """Who is signed in. A refused token is an answer here, not an error (v1 contract 1.1)."""
    try:
        user = caller(request)
        async with services_of(request).database.as_user(user.id) as transaction:
            profile = await profiles.get_or_create_profile(transaction, user.id)
    except (Unauthorized, SignInUnchecked, UnknownUser):
        return JsonResponse(Me(signed_in=False, user=None, profile=None))
    return JsonResponse(Me(signed_in=True, user=UserId(user.id), profile=Profile.of(profile)))


async def transcriptions(request: Request) -> Response:
    """Not offered, to nobody (v1 contract 1.9)."""
    caller(request)
    raise ApiError(503, "Transcription is not available on this server.")


async def _not_ready(services: Services) -> str | None:
    if services.supervisor.draining:
        return "The server is shutting down."
    waiting = services.not_ready_reason()
    if waiting is not None:
        return waiting
    try:
        with anyio.fail_after(PROBE_SECONDS):
            await services.database.ping()
    except (DatabaseUnavailable, TimeoutError):
        return "The database cannot be reached."
    return None


async def _degraded(services: Services) -> list[str]:
    reasons = (await _store_trouble(services), services.authenticator.degraded, services.provider_trouble())
    return [reason for reason in reasons if reason is not None]


async def _store_trouble(services: Services) -> str | None:
    try:
        with anyio.fail_after(PROBE_SECONDS):
            await services.objects.head(GENERATIONS, PROBE_KEY)
    except (ObjectStoreUnavailable, TimeoutError):
        return "The object store cannot be reached: stored audio cannot be played, new audio waits in memory."
    return None
