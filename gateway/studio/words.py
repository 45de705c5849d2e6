"""What a user is told when the provider will not make their voice. Chosen by the vendor's code, never its words."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.errors import ApiError, from_failure
from protocol.errors import Category, Fault, ProviderFailure

VOICE_UNKNOWN = "This voice does not exist. It may have been deleted."
VOICE_EXISTS = "This voice exists already. To change it, clone it again as a new voice."

_UNREADABLE = "This recording cannot be read. Please upload a WAV, MP3 or M4A file."
_RECORDING_BY_CODE: Mapping[str, str] = {
    "audio.audiorateerror": "The sample rate of this recording is too low. Please record with 24 kHz or more.",
    "audio.audioshorterror": "This recording is too short. Please record at least 10 seconds of clear speech.",
    "audio.audiosilenterror": "There is no speech to be heard in this recording. Please check the microphone and "
    "record again.",
    "audio.durationlimiterror": "This recording is longer than 60 seconds. Please shorten it; 10 to 20 seconds are "
    "best.",
    "audio.decodererror": _UNREADABLE,
    "badrequest.unsupportedfileformat": _UNREADABLE,
    "badrequest.toolarge": "This recording is too large. Please upload one of less than 10 MB.",
}
"""By the vendor's code in lower case (protocol reference 3.4). Others mean what the fault says."""

_NOT_FETCHED = {"badrequest.inputdownloadfailed", "invalidparameter.datainspection"}
"""The vendor could not get the recording from us (protocol reference 3.4): nothing its user could do better."""

_CLONE_REFUSED = (
    "The speech service declined this recording or its transcript. Please check that the transcript is what is said, "
    "or record something else."
)
_DESIGN_REFUSED = (
    "The speech service declined this description or text. Please change them; descriptions work best in English or "
    "Chinese."
)
_REFUSED_INPUT = {Fault.BAD_INPUT, Fault.CONTENT_REFUSED}


def clone_error(failure: ProviderFailure) -> ApiError:
    """The answer when a clone was not made: 400 for what its user must redo, else by product section 4's table."""
    code = failure.vendor.code.strip().lower()
    if code in _NOT_FETCHED:
        detail = "The speech service could not fetch the recording. Please try again in a moment."
        return ApiError(503, detail, Category.PROVIDER_UNAVAILABLE)
    if failure.fault is Fault.RECORDING_UNUSABLE and code in _RECORDING_BY_CODE:
        return ApiError(400, _RECORDING_BY_CODE[code])
    if failure.fault in _REFUSED_INPUT:
        return ApiError(400, _CLONE_REFUSED)
    return from_failure(failure)


def design_words(failure: ProviderFailure) -> str:
    """What the task of a preview says that was not made."""
    return _DESIGN_REFUSED if failure.fault in _REFUSED_INPUT else failure.fault.facts.detail
