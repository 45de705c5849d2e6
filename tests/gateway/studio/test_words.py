"""What users are told when the provider will not make their voice (product section 4's table)."""

from __future__ import annotations

import pytest

from gateway.studio.words import clone_error, design_words
from protocol.errors import Fault, ProviderFailure, VendorError
from protocol.vendor_codes import classify

SECRET = "said in the vendor's own words"


def failure(code: str, http_status: int = 400, message: str = SECRET) -> ProviderFailure:
    vendor = VendorError(code=code, message=message, http_status=http_status)
    return ProviderFailure(classify(vendor), vendor)


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        ("Audio.AudioRateError", "24 kHz"),
        ("Audio.AudioShortError", "at least 10 seconds"),
        ("Audio.AudioSilentError", "microphone"),
        ("Audio.DurationLimitError", "shorten"),
        ("Audio.DecoderError", "WAV, MP3 or M4A"),
        ("BadRequest.UnsupportedFileFormat", "WAV, MP3 or M4A"),
        ("BadRequest.TooLarge", "less than 10 MB"),
        ("Audio.PreprocessError", "matches the transcript"),
        ("Audio.SomethingNew", "at least 10 seconds"),
        ("InvalidParameter", "transcript"),
        ("DataInspectionFailed", "transcript"),
    ],
)
def test_what_the_user_must_redo_is_400_and_says_how(code: str, advice: str) -> None:
    error = clone_error(failure(code))
    assert (error.status, error.headers["X-Utter-Error-Category"]) == (400, "validation")
    assert advice in error.detail
    assert SECRET not in error.detail


@pytest.mark.parametrize("code", ["BadRequest.InputDownloadFailed", "InvalidParameter.DataInspection"])
def test_a_recording_that_the_vendor_could_not_fetch_is_not_its_users_fault(code: str) -> None:
    error = clone_error(failure(code))
    assert (error.status, error.headers["X-Utter-Error-Category"]) == (503, "provider_unavailable")
    assert "Retry-After" in error.headers


@pytest.mark.parametrize(
    ("code", "http_status", "status"),
    [
        ("InvalidApiKey", 401, 502),
        ("Arrearage", 400, 502),
        ("Endpoint.AccessDenied", 403, 502),
        ("Throttling.RateQuota", 429, 503),
        ("InternalError", 500, 503),
    ],
)
def test_the_vendors_own_troubles_follow_the_table(code: str, http_status: int, status: int) -> None:
    error = clone_error(failure(code, http_status))
    assert error.status == status
    assert error.detail == classify(VendorError(code=code)).facts.detail


def test_a_full_account_is_no_rate_limit() -> None:
    full = failure("Throttling.AllocationQuota", 429, "Maximum voice-clone voice limit exceeded.")
    assert clone_error(full).status == 502


@pytest.mark.parametrize("code", ["InvalidParameter", "DataInspectionFailed"])
def test_a_refused_design_names_what_can_be_changed(code: str) -> None:
    words = design_words(failure(code))
    assert "English or Chinese" in words
    assert SECRET not in words


def test_any_other_design_fails_with_the_words_of_its_fault() -> None:
    assert design_words(failure("InvalidApiKey", 401)) == Fault.KEY_REFUSED.facts.detail
