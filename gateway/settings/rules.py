"""What follows from several settings together: derived values, and what an environment may not do."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from gateway.net import is_loopback_host
from gateway.settings.fields import Settings
from gateway.settings.names import FIRST_VC_MODEL, FIRST_VD_MODEL, REALTIME_PATH, Environment, ProviderMode
from storage.object_location import S3Location, parse_location

MASK = "********"

JWKS_PATH = "/auth/v1/.well-known/jwks.json"
"""Where a Supabase project publishes its keys."""

_PROVIDER_URLS = {
    "dashscope_base_url": "DASHSCOPE_BASE_URL",
    "dashscope_realtime_url": "DASHSCOPE_REALTIME_URL",
    "modal_job_submit": "MODAL_JOB_SUBMIT",
    "modal_job_status": "MODAL_JOB_STATUS",
    "modal_job_result": "MODAL_JOB_RESULT",
    "modal_job_cancel": "MODAL_JOB_CANCEL",
    "modal_endpoint_voice_design": "MODAL_ENDPOINT_VOICE_DESIGN",
}


def derive(values: Mapping[str, Any]) -> dict[str, Any]:
    """Field values for what was left unset and follows from other fields, by field name."""
    local = values["env"] is Environment.LOCAL
    derived = {
        "provider_mode": ProviderMode.MODAL if local else ProviderMode.QWEN,
        "dashscope_realtime_url": _realtime_url(values["dashscope_base_url"]),
        "database_listen_url": values["database_url"],
        "objects_url": str(values["data_dir"] / "objects"),
        "spool_dir": values["data_dir"] / "spool",
        "supabase_jwks_url": f"{values['supabase_url']}{JWKS_PATH}" if values["supabase_url"] else "",
        "signing_secret": _local_signing_secret(values) if local else "",
        "dev_tokens": local and bool(values["token_secret"]),
        "accepted_vc_models": (FIRST_VC_MODEL,),
        "accepted_vd_models": (FIRST_VD_MODEL,),
    }
    unset = {name: value for name, value in derived.items() if values[name] is None}
    for accepted, pin in (("accepted_vc_models", "vc_target_model"), ("accepted_vd_models", "vd_target_model")):
        models = unset.get(accepted, values[accepted])
        # A voice made today must be usable today, so the pin need not be repeated in the list.
        unset[accepted] = models if values[pin] in models else (*models, values[pin])
    return unset


def _realtime_url(base_url: str) -> str:
    scheme, _, host = base_url.partition("://")
    return f"{'wss' if scheme == 'https' else 'ws'}://{host}{REALTIME_PATH}"


def _local_signing_secret(values: Mapping[str, Any]) -> str:
    """A key of its own, so that a signed URL can never pass for an access token. "" when there is no secret at all."""
    secret: str = values["token_secret"] or values["supabase_jwt_secret"]
    return hmac.new(secret.encode(), b"utter signing key", hashlib.sha256).hexdigest() if secret else ""


def check(settings: Settings, unreadable: AbstractSet[str]) -> list[str]:
    """Problems that no single variable shows, one sentence each.

    `unreadable` names the fields that were already reported: nothing is concluded from their stand-in values.
    """
    problems = [*_provider_problems(settings, unreadable), *_store_problems(settings, unreadable)]
    if "env" in unreadable:
        return problems
    problems += _secret_problems(settings, unreadable)
    if settings.env is not Environment.LOCAL:
        problems += _outside_local_problems(settings)
    if settings.env is Environment.PRODUCTION:
        problems += _production_problems(settings)
    return problems


def _provider_problems(settings: Settings, unreadable: AbstractSet[str]) -> Iterator[str]:
    mode_known = not {"env", "provider_mode"} & unreadable
    if mode_known and settings.provider_mode is ProviderMode.QWEN and not settings.dashscope_api_key:
        yield (
            "DASHSCOPE_API_KEY is not set, but the provider mode is qwen. "
            f"Set it to a key of the account at {settings.dashscope_base_url}, or set TTS_PROVIDER_MODE to modal."
        )


def _store_problems(settings: Settings, unreadable: AbstractSet[str]) -> Iterator[str]:
    """Amazon's machines may have a role instead of a key; nobody else's have."""
    if "objects_url" in unreadable:
        return
    location = parse_location(settings.objects_url)
    given = settings.aws_access_key_id and settings.aws_secret_access_key
    if isinstance(location, S3Location) and location.endpoint and not given:
        yield (
            "AWS_ACCESS_KEY_ID or AWS_SECRET_ACCESS_KEY is not set, but OBJECTS_URL is a store at "
            f"{location.endpoint}. Set both to a key of that store."
        )


def _secret_problems(settings: Settings, unreadable: AbstractSet[str]) -> Iterator[str]:
    local = settings.env is Environment.LOCAL
    ours = {"UTTER_TOKEN_SECRET": settings.token_secret} if local else {}
    ways_in = {**ours, "SUPABASE_URL": settings.supabase_jwks_url, "SUPABASE_JWT_SECRET": settings.supabase_jwt_secret}
    if not {"supabase_url", "supabase_jwks_url", "supabase_jwt_secret", "token_secret"} & unreadable:
        if not any(ways_in.values()):
            yield (
                f"None of {', '.join(ways_in)} is set, so no caller could sign in. "
                + ("Start with `utter dev`, which makes a token secret, or set one." if local else "Set one of them.")
            )
        if local and settings.dev_tokens and "UTTER_DEV_TOKENS" in _given(settings) and not settings.token_secret:
            yield "UTTER_DEV_TOKENS is on, but there is nothing to sign with. Set UTTER_TOKEN_SECRET as well."
    # A local one follows from any secret; without one the problem above says what is missing.
    signs = settings.signing_secret or (local and not settings.supabase_jwks_url)
    if not signs and "signing_secret" not in unreadable:
        yield (
            "UTTER_SIGNING_SECRET is not set, so no URL could be signed. "
            "Set it to a random text of at least 32 characters, the same on all instances."
        )


def _given(settings: Settings) -> set[str]:
    return {name for name, source in settings.sources.items() if source == "environment"}


def _outside_local_problems(settings: Settings) -> Iterator[str]:
    if settings.token_secret:
        yield (
            f"UTTER_TOKEN_SECRET is set, but self-minted tokens are for UTTER_ENV=local, not {settings.env}. Unset it."
        )
    if settings.dev_tokens:
        yield (
            f"UTTER_DEV_TOKENS is on, but the page may sign itself in only with UTTER_ENV=local, not "
            f"{settings.env}. Unset it."
        )


def _production_problems(settings: Settings) -> Iterator[str]:
    if settings.enable_generate_mode_toggle:
        yield "ENABLE_GENERATE_MODE_TOGGLE is on, which production does not allow. Unset it."
    if urlsplit(settings.supabase_jwks_url).scheme == "http":
        yield (
            "SUPABASE_JWKS_URL is not encrypted: whoever is on the way could hand out sign-in keys. "
            "Use https in production; where it is unset, that goes for SUPABASE_URL."
        )
    for field, name in _PROVIDER_URLS.items():
        parts = urlsplit(getattr(settings, field))
        if not parts.hostname or settings.sources.get(name) == "derived":
            continue
        if is_loopback_host(parts.hostname):
            yield f"{name} points to this machine. Production does not speak to an emulator: set the provider's URL."
        elif parts.scheme in {"http", "ws"}:
            yield f"{name} is not encrypted, and would carry the provider's key. Use https or wss in production."


def mask(secret: str) -> str:
    """What may be shown of a secret: nothing, except where a URL points to."""
    parts = urlsplit(secret)
    if not (parts.scheme and "://" in secret):
        return MASK
    host = parts.netloc.rpartition("@")[2]
    user = f"{parts.username}:{MASK}@" if parts.username else ""
    return urlunsplit((parts.scheme, user + host, parts.path, MASK if parts.query else "", ""))


def carries_credentials(value: str) -> bool:
    """Whether a setting that is no secret by itself was given as a URL with a password or a query in it.

    The URL of an object store cannot: `storage.object_location` refuses both.
    """
    parts = urlsplit(value)
    return "://" in value and parts.scheme != "s3" and bool(parts.username or parts.query)
