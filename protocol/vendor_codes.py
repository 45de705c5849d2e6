"""The vendor's error codes, texts and numbers, and the `Fault` behind each.

The tables follow protocol reference 0 (retirement), 1.2 and 1.8 (realtime) and 3.4 (REST). What none of them knows
becomes `Fault.UNKNOWN`, never an exception.
"""

from __future__ import annotations

from protocol.errors import Fault, VendorError

# The comparison is case-insensitive, because the vendor spells the same code InvalidApiKey and invalid_api_key.
_BY_CODE: dict[str, Fault] = {
    "invalidparameter": Fault.BAD_INPUT,
    "badrequest.emptyinput": Fault.BAD_INPUT,
    "badrequest.emptymodel": Fault.BAD_INPUT,
    "badrequest.emptyparameters": Fault.BAD_INPUT,
    "badrequest.illegalinput": Fault.BAD_INPUT,
    "invalid_value": Fault.BAD_INPUT,
    "badrequest.inputdownloadfailed": Fault.RECORDING_UNUSABLE,
    "badrequest.unsupportedfileformat": Fault.RECORDING_UNUSABLE,
    "badrequest.toolarge": Fault.RECORDING_UNUSABLE,
    "invalidparameter.datainspection": Fault.RECORDING_UNUSABLE,
    "datainspectionfailed": Fault.CONTENT_REFUSED,
    "data_inspection_failed": Fault.CONTENT_REFUSED,
    "badrequest.voicenotfound": Fault.VOICE_UNKNOWN,
    "voicenotfound": Fault.VOICE_UNKNOWN,
    "arrearage": Fault.ACCOUNT_ARREARS,
    "commoditynotpurchased": Fault.ACCOUNT_ARREARS,
    "prepaidbilloverdue": Fault.ACCOUNT_ARREARS,
    "postpaidbilloverdue": Fault.ACCOUNT_ARREARS,
    "allocationquota.freetieronly": Fault.ACCOUNT_ARREARS,
    "invalidapikey": Fault.KEY_REFUSED,
    "invalid_api_key": Fault.KEY_REFUSED,
    "not authorized": Fault.ACCESS_DENIED,
    "accessdenied": Fault.ACCESS_DENIED,
    "accessdenied.unpurchased": Fault.ACCESS_DENIED,
    "workspace.accessdenied": Fault.ACCESS_DENIED,
    "workspacenotfound": Fault.ACCESS_DENIED,
    "model.accessdenied": Fault.MODEL_GONE,
    "endpoint.accessdenied": Fault.MODEL_GONE,
    "modelnotfound": Fault.MODEL_GONE,
    "model_not_found": Fault.MODEL_GONE,
    "model.notexist": Fault.MODEL_GONE,
    "notfound": Fault.MODEL_GONE,
    "limitrequests": Fault.RATE_LIMITED,
    "insufficient_quota": Fault.RATE_LIMITED,
    "internalerror": Fault.OVERLOADED,
    "internal_error": Fault.OVERLOADED,
    "internalerror.algo": Fault.OVERLOADED,
    "internalerror.timeout": Fault.OVERLOADED,
    "systemerror": Fault.OVERLOADED,
    "modelservicefailed": Fault.OVERLOADED,
    "requesttimeout": Fault.OVERLOADED,
    "modelservingerror": Fault.OVERLOADED,
    "modelunavailable": Fault.OVERLOADED,
    "session_expired": Fault.SESSION_EXPIRED,
}

_BY_PREFIX: tuple[tuple[str, Fault], ...] = (
    ("audio.", Fault.RECORDING_UNUSABLE),
    ("throttling", Fault.RATE_LIMITED),
    ("limit_", Fault.RATE_LIMITED),
)

# Texts that decide where the code does not: the vendor reuses codes, or sends none at all (a close frame).
# First match wins, so the narrow ones stand first. Sources as above.
_BY_MESSAGE: tuple[tuple[str, Fault], ...] = (
    ("account is in good standing", Fault.ACCOUNT_ARREARS),
    ("voice storage limit exceeded", Fault.VOICE_QUOTA),
    ("voice limit exceeded", Fault.VOICE_QUOTA),
    ("the requested voice", Fault.VOICE_MISMATCH),
    ("engine return error code: 4", Fault.VOICE_MISMATCH),
    ("request timeout", Fault.SESSION_EXPIRED),
    ("session_expired", Fault.SESSION_EXPIRED),
)

# Only where neither code nor message decided, as in a close reason: these phrases are too common to outrank a code.
_BY_LOOSE_MESSAGE: tuple[tuple[str, Fault], ...] = (
    ("rate limit", Fault.RATE_LIMITED),
    ("throttling", Fault.RATE_LIMITED),
    ("request limit", Fault.RATE_LIMITED),
    ("too many requests", Fault.RATE_LIMITED),
    ("rate increased too quickly", Fault.RATE_LIMITED),
    ("allocated quota exceeded", Fault.RATE_LIMITED),
    ("invalid api-key", Fault.KEY_REFUSED),
    ("workspace access denied", Fault.ACCESS_DENIED),
)

_BY_HTTP_STATUS: dict[int, Fault] = {
    401: Fault.KEY_REFUSED,
    403: Fault.KEY_REFUSED,  # the documents give 401 and 403 for the same wrong key (reference 1.2)
    404: Fault.MODEL_GONE,
    408: Fault.OVERLOADED,
    429: Fault.RATE_LIMITED,
}

_BY_CLOSE_CODE: dict[int, Fault] = {
    1007: Fault.BAD_INPUT,
    1011: Fault.OVERLOADED,
    1013: Fault.OVERLOADED,
}


def classify(vendor: VendorError) -> Fault:
    """Name the fault behind what the vendor said; `Fault.UNKNOWN` when nothing matches.

    Narrow texts outrank codes, because the vendor answers arrears, a full voice quota and a bad voice under
    codes that also mean other things (protocol reference 1.8 and 3.4).
    """
    message = vendor.message.lower()
    # A close frame has no field for the code: where its reason is one, or begins with one, it is read as such.
    code = vendor.code.strip().lower() or message.partition(":")[0].strip()
    return (
        _first(message, _BY_MESSAGE)
        or _BY_CODE.get(code)
        or next((fault for prefix, fault in _BY_PREFIX if code.startswith(prefix)), None)
        or _first(message, _BY_LOOSE_MESSAGE)
        or _by_number(vendor)
        or Fault.UNKNOWN
    )


def _first(message: str, table: tuple[tuple[str, Fault], ...]) -> Fault | None:
    return next((fault for text, fault in table if text in message), None)


def _by_number(vendor: VendorError) -> Fault | None:
    status = vendor.http_status
    if status is not None:
        return _BY_HTTP_STATUS.get(status) or (Fault.OVERLOADED if status >= 500 else None)
    if vendor.close_code is not None:
        return _BY_CLOSE_CODE.get(vendor.close_code, Fault.CONNECTION_LOST)
    return None
