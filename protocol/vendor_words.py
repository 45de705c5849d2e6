"""What the vendor says when something failed, in every shape it was seen to say it. All of it is for `classify` and
the trace, none of it for users."""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from protocol import events
from protocol.errors import VendorError

MAX_VENDOR_CHARS: Final = 500
"""A vendor's code or message is cut to this: it is kept with the failure and logged."""


class Envelope(msgspec.Struct):
    """What the vendor's HTTP answers have in common (protocol reference 3.4)."""

    code: object = None
    message: object = None
    request_id: object = None


_E = TypeVar("_E", bound=Envelope)


def read_envelope(body: bytes, kind: type[_E]) -> _E | None:
    """None for whatever is not a JSON object: a proxy in between may answer in HTML."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (ValueError, RecursionError):
        return None


def refusal_error(status: int, envelope: Envelope | None, request_id: str = "") -> VendorError:
    """What an HTTP refusal says. `envelope` is None where the body was none, `request_id` that of a header."""
    said = envelope or Envelope()
    return VendorError(
        code=words(said.code),
        message=words(said.message),
        http_status=status,
        request_id=words(said.request_id) or request_id,
    )


def vendor_error(event: events.Error) -> VendorError:
    """What an `error` event says, in any of its forms (protocol reference 1.4 and 6)."""
    said = event.error if isinstance(event.error, dict) else {}
    return VendorError(
        code=words(said.get("code")) or words(event.code),
        message=words(said.get("message")) or words(event.message) or words(event.error),
        request_id=words(said.get("request_id")),
    )


def response_error(response: events.ResponseInfo) -> VendorError:
    """Why a response did not complete. `status_details` is not documented; an `error` in it is what sibling models
    send, and without one the status itself is the code."""
    details = response.status_details if isinstance(response.status_details, dict) else {}
    error = details.get("error")
    said = error if isinstance(error, dict) else {}
    return VendorError(
        code=words(said.get("code")) or words(response.status),
        message=words(said.get("message")),
    )


def words(value: object) -> str:
    """A code or message of unknown shape as bounded text; "" for what is no text."""
    return str(value)[:MAX_VENDOR_CHARS] if isinstance(value, str | int) else ""
