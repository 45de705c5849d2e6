"""Which fault is behind what the vendor said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import Fault, VendorError
from protocol.vendor_codes import classify


@pytest.mark.parametrize(
    ("vendor", "fault"),
    [
        (VendorError("InvalidApiKey", http_status=401), Fault.KEY_REFUSED),
        (VendorError("invalid_api_key"), Fault.KEY_REFUSED),
        (VendorError(" INVALIDAPIKEY "), Fault.KEY_REFUSED),
        (VendorError(http_status=401), Fault.KEY_REFUSED),
        (VendorError(http_status=403), Fault.KEY_REFUSED),
        (VendorError("Workspace.AccessDenied", "Workspace access denied.", 403), Fault.ACCESS_DENIED),
        (VendorError("", "Workspace access denied.", 403), Fault.ACCESS_DENIED),
        (VendorError("NOT AUTHORIZED", http_status=401), Fault.ACCESS_DENIED),
        (VendorError("Arrearage", http_status=400), Fault.ACCOUNT_ARREARS),
        (VendorError("CommodityNotPurchased", http_status=429), Fault.ACCOUNT_ARREARS),
        (VendorError("PrepaidBillOverdue", http_status=429), Fault.ACCOUNT_ARREARS),
        (VendorError("AllocationQuota.FreeTierOnly", http_status=403), Fault.ACCOUNT_ARREARS),
        (VendorError("Model.AccessDenied", http_status=403), Fault.MODEL_GONE),
        (VendorError("Endpoint.AccessDenied", http_status=403), Fault.MODEL_GONE),
        (VendorError("ModelNotFound", http_status=404), Fault.MODEL_GONE),
        (VendorError("model_not_found"), Fault.MODEL_GONE),
        (VendorError("Model.NotExist"), Fault.MODEL_GONE),
        (VendorError("NotFound"), Fault.MODEL_GONE),
        (VendorError("session_expired"), Fault.SESSION_EXPIRED),
        (VendorError("limit_of_some_new_kind"), Fault.RATE_LIMITED),
        (VendorError("limit_burst_rate", "Request rate increased too quickly.", 429), Fault.RATE_LIMITED),
        (VendorError("Throttling", http_status=429), Fault.RATE_LIMITED),
        (VendorError("Throttling.BurstRate", http_status=429), Fault.RATE_LIMITED),
        (VendorError("limit_requests", http_status=429), Fault.RATE_LIMITED),
        (VendorError(http_status=429), Fault.RATE_LIMITED),
        (VendorError("", "You hit a rate limit", close_code=1013), Fault.RATE_LIMITED),
        (VendorError("Audio.DurationLimitError", http_status=400), Fault.RECORDING_UNUSABLE),
        (VendorError("Audio.PreprocessError", http_status=430), Fault.RECORDING_UNUSABLE),
        (VendorError("InvalidParameter.DataInspection", http_status=400), Fault.RECORDING_UNUSABLE),
        (VendorError("DataInspectionFailed", http_status=400), Fault.CONTENT_REFUSED),
        (VendorError("InvalidParameter", http_status=400), Fault.BAD_INPUT),
        (VendorError("BadRequest.VoiceNotFound", "Voice 'x' not found.", 400), Fault.VOICE_UNKNOWN),
        (VendorError("VoiceNotFound", "Voice not found: x", 200), Fault.VOICE_UNKNOWN),
        (VendorError("InternalError.Algo", http_status=500), Fault.OVERLOADED),
        (VendorError("ModelUnavailable", http_status=503), Fault.OVERLOADED),
        (VendorError(http_status=502), Fault.OVERLOADED),
        (VendorError(http_status=599), Fault.OVERLOADED),
        (VendorError(close_code=1006), Fault.CONNECTION_LOST),
        (VendorError(close_code=1011), Fault.OVERLOADED),
        (VendorError("no_such_code", http_status=418), Fault.UNKNOWN),
        (VendorError(), Fault.UNKNOWN),
    ],
)
def test_which_fault_the_vendor_means(vendor: VendorError, fault: Fault) -> None:
    assert classify(vendor) is fault


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        ("Maximum voice storage limit exceeded, please delete existing voices.", Fault.VOICE_QUOTA),
        ("Maximum voice-clone voice limit exceeded.", Fault.VOICE_QUOTA),
        ("Maximum voice-design voice limit exceeded.", Fault.VOICE_QUOTA),
        ("Allocated quota exceeded, please increase your quota limit.", Fault.RATE_LIMITED),
    ],
)
def test_the_allocation_quota_is_split_by_its_message(message: str, fault: Fault) -> None:
    for status in (400, 429):
        assert classify(VendorError("Throttling.AllocationQuota", message, status)) is fault


@pytest.mark.parametrize(
    "message",
    [
        "The requested voice 'x' is not supported.",
        "CLIENT_ERROR-[qwen-tts:]Engine return error code: 411",
        "Engine return error code: 418",
    ],
)
def test_a_bad_voice_is_told_by_its_message(message: str) -> None:
    assert classify(VendorError("invalid_value", message)) is Fault.VOICE_MISMATCH


def test_arrears_hide_in_a_close_reason() -> None:
    reason = "Access denied, please make sure your account is in good standing."
    assert classify(VendorError(message=reason, close_code=1007)) is Fault.ACCOUNT_ARREARS


@pytest.mark.parametrize("close_code", [1007, 1011])
@pytest.mark.parametrize(
    "reason",
    [
        "Requests throttling triggered.",
        "Too many requests in route. Please try again later.",
        "You have exceeded your request limit.",
        "Requests rate limit exceeded, please try again later.",
        "Request rate increased too quickly, please slow down your requests.",
        "Allocated quota exceeded, please increase your quota limit.",
        "Throttling.RateQuota",
    ],
)
def test_a_rate_limit_in_a_close_reason_is_never_the_texts_fault(reason: str, close_code: int) -> None:
    assert classify(VendorError(message=reason, close_code=close_code)) is Fault.RATE_LIMITED


@pytest.mark.parametrize(
    ("reason", "fault"),
    [
        ("DataInspectionFailed: the text was refused", Fault.CONTENT_REFUSED),
        ("Model.AccessDenied", Fault.MODEL_GONE),
        ("InternalError: try again", Fault.OVERLOADED),
        ("something else: InternalError", Fault.BAD_INPUT),
    ],
)
def test_a_close_reason_may_begin_with_a_code(reason: str, fault: Fault) -> None:
    assert classify(VendorError(message=reason, close_code=1007)) is fault


@given(
    code=st.text(),
    message=st.text(),
    http_status=st.none() | st.integers(),
    close_code=st.none() | st.integers(),
)
def test_whatever_the_vendor_says_is_some_fault(
    code: str, message: str, http_status: int | None, close_code: int | None
) -> None:
    assert isinstance(classify(VendorError(code, message, http_status, close_code)), Fault)
