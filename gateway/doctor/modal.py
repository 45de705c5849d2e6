"""The Modal lane: the endpoints are set, and an app answers at each. Nothing is started, so nothing is billed."""

from __future__ import annotations

from functools import partial

import httpx
import msgspec

from gateway.doctor.checkup import Check, Result, failed, ok
from gateway.settings import ProviderMode, Settings
from protocol.modal import MAX_JSON_BYTES, with_job_id

LANE = ProviderMode.MODAL

ANSWER_SECONDS = 20.0
"""One answer: an app that has slept starts a container first, which takes seconds, not minutes."""

PROBED_JOB = "utter-doctor"
"""The id of no job."""

_FIELDS = {
    "MODAL_JOB_SUBMIT": "modal_job_submit",
    "MODAL_JOB_STATUS": "modal_job_status",
    "MODAL_JOB_RESULT": "modal_job_result",
    "MODAL_JOB_CANCEL": "modal_job_cancel",
    "MODAL_ENDPOINT_VOICE_DESIGN": "modal_endpoint_voice_design",
}
_OPTIONAL = "MODAL_JOB_CANCEL"
"""The deployed app has none (v1 contract 4.2)."""

_STATUS = "MODAL_JOB_STATUS"
_RESULT = "MODAL_JOB_RESULT"
_ASKED_FOR_A_JOB = {_STATUS, _RESULT}


async def endpoints(settings: Settings) -> Result:
    """Are all addresses set?"""
    unset = [name for name, field in _FIELDS.items() if not getattr(settings, field)]
    needed = [name for name in unset if name != _OPTIONAL]
    if len(needed) == len(_FIELDS) - 1:
        return failed(
            "No endpoint of Modal is set: there is no lane to switch to.",
            f"Set {', '.join(_FIELDS)} to the addresses of the deployed app.",
        )
    if needed:
        return failed(
            f"{', '.join(needed)} is not set, but other endpoints of Modal are.",
            "Set it to the address of the deployed app.",
        )
    if unset:
        return ok(f"The endpoints are set; without {_OPTIONAL} a cancelled job runs on, and is billed.")
    return ok("All five endpoints are set.")


async def answers(name: str, settings: Settings) -> Result:
    """Does an app answer there? By a GET, which starts nothing: where that is the wrong method, the app says so."""
    url: str = getattr(settings, _FIELDS[name])
    if not url:
        return ok("Not set.")
    asked = with_job_id(url, PROBED_JOB) if name in _ASKED_FOR_A_JOB else url
    try:
        async with httpx.AsyncClient(timeout=ANSWER_SECONDS, trust_env=False) as client:
            answer = await client.get(asked)
    except httpx.TimeoutException:
        return failed(f"{name} did not answer within {ANSWER_SECONDS:.0f} s.", "See the app's log at Modal.")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return failed(
            f"{name} cannot be reached at {url}: {type(error).__name__}.",
            f"Check {name}, and that this machine may reach it.",
        )
    return _judged(name, url, answer)


def _judged(name: str, url: str, answer: httpx.Response) -> Result:
    """What the answer to a GET says of the app. Of a job that does not exist it may say so with 500 (v1 contract
    4.2)."""
    status, spoken = answer.status_code, _is_object(answer.content)
    if status == httpx.codes.NOT_FOUND and not spoken:
        return failed(f"No app answers for {name} at {url}.", "Deploy the app at Modal, or correct the address.")
    if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        return failed(f"{name} refuses us at {url} ({status}).", "Let the endpoint be called without credentials.")
    if status >= httpx.codes.INTERNAL_SERVER_ERROR and not (name == _RESULT and spoken):
        return failed(f"The app for {name} at {url} fails ({status}).", "See the app's log at Modal.")
    if name == _STATUS and not spoken:
        return failed(f"What answers for {name} at {url} is not Modal's job API.", "Correct the address.")
    return ok(f"An app answers at {url}.")


def _is_object(body: bytes) -> bool:
    """Whether this is a JSON object, as the app's own answers are."""
    try:
        msgspec.json.decode(body[:MAX_JSON_BYTES], type=dict[str, object])
    except (ValueError, RecursionError):
        return False
    return True


CHECKS = (
    Check("modal.endpoints", endpoints, lane=LANE),
    *(
        Check(
            f"modal.{name.removeprefix('MODAL_').lower()}", partial(answers, name), needs="modal.endpoints", lane=LANE
        )
        for name in _FIELDS
    ),
)
