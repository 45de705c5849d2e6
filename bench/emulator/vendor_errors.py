"""The vendor's refusals on HTTP, in its words (protocol reference 1.2 and 3.4)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class VendorAnswer:
    """A refusal: HTTP status, vendor code, vendor message."""

    status: int
    code: str
    message: str

    def envelope(self) -> dict[str, str]:
        """The JSON body, with a new request id."""
        return {"request_id": str(uuid.uuid4()), "code": self.code, "message": self.message}


class VendorRefusal(Exception):
    """Raised where a REST request is refused."""

    def __init__(self, answer: VendorAnswer) -> None:
        self.answer = answer
        super().__init__(answer.code)


def bad_parameter(message: str) -> VendorAnswer:
    """A field that is missing or wrong."""
    return VendorAnswer(400, "InvalidParameter", message)


INVALID_KEY = VendorAnswer(401, "InvalidApiKey", "Invalid API-key provided.")
MODEL_NOT_FOUND = VendorAnswer(404, "ModelNotFound", "The model does not exist or is no longer available.")
THROTTLED = VendorAnswer(429, "Throttling.RateQuota", "Requests rate limit exceeded, please try again later.")
VOICE_QUOTA = VendorAnswer(
    400,
    "Throttling.AllocationQuota",
    "Maximum voice storage limit exceeded, please delete existing voices.",
)
CREATE_TIMED_OUT = VendorAnswer(500, "InternalError.Timeout", "An internal timeout error has occurred.")
INTERNAL_ERROR = VendorAnswer(500, "InternalError", "An internal error has occurred, please try again later.")
CONTENT_BLOCKED = VendorAnswer(400, "DataInspectionFailed", "Input data may contain inappropriate content.")
DOWNLOAD_FAILED = VendorAnswer(400, "BadRequest.InputDownloadFailed", "Failed to download the input audio.")
UNSUPPORTED_FILE = VendorAnswer(400, "BadRequest.UnsupportedFileFormat", "File format unsupported.")
FILE_TOO_LARGE = VendorAnswer(400, "BadRequest.TooLarge", "Payload Too Large.")
UNDECODABLE = VendorAnswer(400, "Audio.DecoderError", "Audio decode error.")
LOW_RATE = VendorAnswer(400, "Audio.AudioRateError", "File sample rate unsupported.")
TOO_LONG = VendorAnswer(400, "Audio.DurationLimitError", "Audio duration exceeds the limit.")
TOO_SHORT = VendorAnswer(400, "Audio.PreprocessError", "No segments meet minimum duration requirement")
SILENT = VendorAnswer(400, "Audio.PreprocessError", "Audio preprocess error.")
TRANSCRIPT_MISMATCH = SILENT
"""The vendor does not tell the two apart (protocol reference 3.4)."""
