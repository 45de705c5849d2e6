"""Bodies of the routes that make voices, read as v1 reads them: see `schema.body`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from schema.body import BodyError, read_object, text_field
from schema.http_voices import DESIGN_UNITS, NAME_UNITS, CloneRequest, FinalizeRequest, PreviewRequest
from schema.javascript import is_uuid, utf16_length

_TRANSCRIPT = "Please type the words that are said in the recording."
"""v1's page stops asking for it in Modal mode, where it is needed all the same (product section 4)."""


def read_clone_request(body: bytes) -> CloneRequest:
    """The body of `clone/upload-url`. Raises BodyError for the first field that cannot be used."""
    return _clone_request(read_object(body))


def read_finalize_request(body: bytes) -> FinalizeRequest:
    """The body of `clone/finalize`. Raises BodyError; a `voice_id` that is no id was never given out."""
    fields = read_object(body)
    voice_id = required(fields, "voice_id")
    if not is_uuid(voice_id):
        raise BodyError("voice_id is not a valid id.")
    clone = _clone_request(fields)
    return FinalizeRequest(
        voice_id=UUID(voice_id),
        name=clone.name,
        language=clone.language,
        transcript=clone.transcript,
        description=clone.description,
    )


def read_preview_request(body: bytes) -> PreviewRequest:
    """The body of `voices/design/preview`. Raises BodyError: text, then instruct, then language (v1 contract 1.5)."""
    fields = read_object(body)
    return PreviewRequest(
        text=_short(fields, "text", DESIGN_UNITS),
        instruct=_short(fields, "instruct", DESIGN_UNITS),
        language=required(fields, "language"),
    )


def required(fields: Mapping[str, Any], name: str, why: str = "") -> str:
    """A trimmed text that is not empty. Raises BodyError, with `why` as its second sentence."""
    value = text_field(fields, name)
    if value is None:
        raise BodyError(f"{name} is required.{why and f' {why}'}")
    return value


def voice_name(fields: Mapping[str, Any]) -> str:
    """The name of a new voice. Raises BodyError."""
    return _short(fields, "name", NAME_UNITS)


def _clone_request(fields: Mapping[str, Any]) -> CloneRequest:
    return CloneRequest(
        name=voice_name(fields),
        language=required(fields, "language"),
        transcript=required(fields, "transcript", _TRANSCRIPT),
        description=text_field(fields, "description"),
    )


def _short(fields: Mapping[str, Any], name: str, units: int) -> str:
    value = required(fields, name)
    if utf16_length(value) > units:
        raise BodyError(f"{name} cannot exceed {units} characters.")
    return value
