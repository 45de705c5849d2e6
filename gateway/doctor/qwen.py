"""The Qwen lane: the key, both customization models, both target models, the provider's clock. Nothing is billed."""

from __future__ import annotations

import email.utils
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import httpx

from gateway.doctor.checkup import Check, Result, failed, ok, warning
from gateway.doctor.clock import compared
from gateway.providers import VoiceKind, open_customization, open_provider
from gateway.settings import ProviderMode, Settings
from protocol.errors import Fault, ProviderFailure

LANE = ProviderMode.QWEN

ACCOUNT_VOICES = 1000
"""Voices that an account may have, both kinds together (protocol reference 3)."""

CROWDED_VOICES = 900
"""From here on it is time to look for voices that nobody uses."""

CLOCK_SECONDS = 5.0
"""For an answer of which only the header counts."""

OTHER_REGION: Mapping[str, str] = {
    "https://dashscope-intl.aliyuncs.com": "https://dashscope.aliyuncs.com",
    "https://dashscope.aliyuncs.com": "https://dashscope-intl.aliyuncs.com",
}
"""The vendor's two regions (protocol reference 1.1). A key belongs to one."""

_NO_KEY = "Set DASHSCOPE_API_KEY to a key of the account at {url}."
_SETTING = {VoiceKind.CLONED: "QWEN_ENROLLMENT_MODEL", VoiceKind.DESIGNED: "QWEN_DESIGN_MODEL"}
_WORK = {VoiceKind.CLONED: "cloned", VoiceKind.DESIGNED: "designed"}


async def key(settings: Settings) -> Result:
    """Does the account know us? Cloned voices are listed, which needs the enrollment model as well."""
    if not settings.dashscope_api_key:
        return failed("DASHSCOPE_API_KEY is not set.", _NO_KEY.format(url=settings.dashscope_base_url))
    return await _listed(settings, VoiceKind.CLONED)


async def design(settings: Settings) -> Result:
    """Can voices be designed?"""
    return await _listed(settings, VoiceKind.DESIGNED)


async def voices(settings: Settings) -> Result:
    """Is there room for more voices?"""
    try:
        async with open_customization(settings) as customization:
            used = sum([len(await customization.list_voices(kind)) for kind in VoiceKind])
    except ProviderFailure as failure:
        return _refused(failure, "a list of its voices")
    if used >= CROWDED_VOICES:
        return warning(
            f"The account has {used} of {ACCOUNT_VOICES} voices; when it is full, nobody can clone or design.",
            "`utter orphans` lists those that nobody uses, `utter voices provider delete` removes one.",
        )
    return ok(f"The account has {used} of {ACCOUNT_VOICES} voices.")


async def vc_model(settings: Settings) -> Result:
    """Does the model for cloned voices speak?"""
    return await _greeted(settings, settings.vc_target_model, "QWEN_VC_TARGET_MODEL")


async def vd_model(settings: Settings) -> Result:
    """Does the model for designed voices speak?"""
    return await _greeted(settings, settings.vd_target_model, "QWEN_VD_TARGET_MODEL")


async def clock(settings: Settings) -> Result:
    """Does the provider's clock agree with ours? Any answer of its front end says what time it is."""
    before = datetime.now(UTC)
    try:
        async with httpx.AsyncClient(timeout=CLOCK_SECONDS, trust_env=False) as client:
            answer = await client.head(settings.dashscope_base_url)
    except httpx.HTTPError as error:
        return warning(f"The provider did not say what time it is: {type(error).__name__}.", "Try again.")
    after = datetime.now(UTC)
    try:
        theirs = email.utils.parsedate_to_datetime(answer.headers["date"])
    except (KeyError, ValueError):
        return ok("The provider does not say what time it is.")
    # A `Date` is cut to whole seconds.
    return compared("the provider", theirs.astimezone(UTC), before.replace(microsecond=0), after)


async def other_region(settings: Settings, others: Mapping[str, str] = OTHER_REGION) -> Result:
    """Is the key one of the other region? On the wire that looks exactly like a wrong one."""
    here = settings.dashscope_base_url
    there = others.get(here)
    if await _fault_of_key(settings) is not Fault.KEY_REFUSED:
        return ok(f"The other region was not asked: the key is not refused at {here}.")
    if there is None:
        return warning(f"It is not known which other region there is beside {here}.", "Ask the vendor whose key it is.")
    if await _fault_of_key(replace(settings, dashscope_base_url=there)) is not None:
        return failed(f"The key is not taken at {there} either: it is wrong.", _NO_KEY.format(url=here))
    return failed(
        f"The key is one of the account at {there}, not of one at {here}.",
        f"{_NO_KEY.format(url=here)} Or move to the other region, with DASHSCOPE_BASE_URL={there} and a "
        "DASHSCOPE_REGION of its own; voices that were made here cannot be used there.",
    )


async def _listed(settings: Settings, kind: VoiceKind) -> Result:
    try:
        async with open_customization(settings) as customization:
            found = await customization.list_voices(kind)
    except ProviderFailure as failure:
        return _refused(failure, f"a list of {_WORK[kind]} voices", f" Check {_SETTING[kind]} too.")
    return ok(f"The account at {settings.dashscope_base_url} has {len(found)} {_WORK[kind]} voices.")


async def _greeted(settings: Settings, model: str, name: str) -> Result:
    async with open_provider(settings) as realtime:
        try:
            await realtime.greet(model)
        except ProviderFailure as failure:
            where = f" The address was {settings.dashscope_realtime_url}, the model that of {name}."
            return _refused(failure, f"a session for {model}", where)
    return ok(f"{model} opens a session.")


async def _fault_of_key(settings: Settings) -> Fault | None:
    try:
        async with open_customization(settings) as customization:
            await customization.list_voices(VoiceKind.CLONED)
    except ProviderFailure as failure:
        return failure.fault
    return None


def _refused(failure: ProviderFailure, wanted: str, more: str = "") -> Result:
    """What the vendor said beside its code is for the log: it may quote what it was sent."""
    vendor = failure.vendor
    facts = [failure.fault.value, vendor.code, f"status {vendor.http_status}" if vendor.http_status else ""]
    request = f" Request id: {vendor.request_id}." if vendor.request_id else ""
    return failed(
        f"The provider did not give us {wanted}: {', '.join(fact for fact in facts if fact)}.{request}",
        failure.fault.facts.remedy + more,
    )


def checks(*, probe_other_region: bool) -> tuple[Check, ...]:
    """Those of the lane. Asking the other region means showing it our key, so that is done on request only."""
    more = (Check("qwen.other_region", other_region, lane=LANE),) if probe_other_region else ()
    return (
        Check("qwen.key", key, lane=LANE),
        *more,
        Check("qwen.design", design, needs="qwen.key", lane=LANE),
        Check("qwen.voices", voices, needs="qwen.design", lane=LANE),
        Check("qwen.vc_model", vc_model, needs="qwen.key", lane=LANE),
        Check("qwen.vd_model", vd_model, needs="qwen.key", lane=LANE),
        Check("qwen.clock", clock, needs="qwen.key", lane=LANE),
    )
