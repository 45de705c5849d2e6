"""Request bodies, read the way v1 reads them (v1 contract 1.0, "JSON parsing" and "string fields").

A field of the wrong type is a missing field, unknown fields are ignored, the content type is not looked at. Every
complaint is a sentence for the person who sent the body.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from schema.http import GenerateRequest
from schema.http_account import DISPLAY_NAME_UNITS, HANDLE_PATTERN, ProfileChanges
from schema.javascript import is_uuid, trim, utf16_length
from schema.urls import is_absolute_url

DEFAULT_LANGUAGE = "Auto"

_HANDLE = re.compile(HANDLE_PATTERN)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class BodyError(ValueError):
    """The body cannot be used; the message says why, without quoting it."""


def read_object(body: bytes) -> Mapping[str, Any]:
    """The fields of a JSON body. An array, string or number has none.

    Raises BodyError when it is not JSON, or a value that JavaScript calls false: null, 0, false, "".
    """
    try:
        value = msgspec.json.decode(body.removeprefix(_BYTE_ORDER_MARK))
    except UnicodeDecodeError as error:
        raise BodyError("The request body is not valid UTF-8.") from error
    except RecursionError as error:
        raise BodyError("The request body is nested too deeply.") from error
    except msgspec.DecodeError as error:
        raise BodyError(_why_not_json(body)) from error
    if value in (None, 0, False, ""):
        raise BodyError("The request body is empty. Send a JSON object.")
    return value if isinstance(value, dict) else {}


def text_field(fields: Mapping[str, Any], name: str) -> str | None:
    """A trimmed string, None when missing, blank or not a string. Raises BodyError when it holds a NUL character."""
    value = fields.get(name)
    if not isinstance(value, str):
        return None
    refuse_nul(value, name)
    return trim(value) or None


def refuse_nul(value: str, name: str) -> None:
    """Raises BodyError when `value` holds U+0000, which Postgres cannot store (product section 4)."""
    if "\0" in value:
        raise BodyError(f"{name} contains a NUL character, which is not allowed.")


def read_generate_request(body: bytes) -> GenerateRequest:
    """The body of a generate route. Raises BodyError, first for `voice_id`, then `text` (v1 contract 1.6, row 1)."""
    fields = read_object(body)
    voice_id = text_field(fields, "voice_id")
    if voice_id is None:
        raise BodyError("voice_id is required.")
    if not is_uuid(voice_id):
        raise BodyError("voice_id is not a valid id.")
    text = text_field(fields, "text")
    if text is None:
        raise BodyError("text is required.")
    language = text_field(fields, "language") or DEFAULT_LANGUAGE
    on_disconnect = fields.get("on_disconnect", "finish")
    if on_disconnect not in ("finish", "cancel"):
        raise BodyError("on_disconnect must be finish or cancel.")
    return GenerateRequest(voice_id=UUID(voice_id), text=text, language=language, on_disconnect=on_disconnect)


def read_profile_changes(body: bytes) -> ProfileChanges:
    """The body of `PATCH /profile`. Raises BodyError for the first field that cannot be used (v1 contract 1.2)."""
    fields = read_object(body)
    changes = ProfileChanges(
        handle=_change(fields, "handle"),
        display_name=_change(fields, "display_name"),
        avatar_url=_change(fields, "avatar_url"),
    )
    if changes == ProfileChanges():
        raise BodyError("Nothing to change. Send handle, display_name or avatar_url.")
    # `$` also matches before a line break, but the value was trimmed.
    if isinstance(changes.handle, str) and not _HANDLE.search(changes.handle):
        raise BodyError("handle must be 3 to 30 letters, digits or underscores.")
    if isinstance(changes.display_name, str) and utf16_length(changes.display_name) > DISPLAY_NAME_UNITS:
        raise BodyError(f"display_name cannot exceed {DISPLAY_NAME_UNITS} characters.")
    if isinstance(changes.avatar_url, str) and not is_absolute_url(changes.avatar_url):
        raise BodyError("avatar_url must be a whole address, such as https://example.com/me.png.")
    return changes


def _change(fields: Mapping[str, Any], name: str) -> str | UnsetType | None:
    """What a field is to become. Unlike elsewhere a wrong type is no missing field here: it would clear it."""
    if name not in fields:
        return UNSET
    if fields[name] is not None and not isinstance(fields[name], str):
        raise BodyError(f"{name} must be a text, or null to clear it.")
    return text_field(fields, name)


def _why_not_json(body: bytes) -> str:
    """The standard library reads what msgspec refuses, half a surrogate pair, so it can tell the two mistakes apart."""
    try:
        json.dumps(json.loads(body), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return "The text contains half of a surrogate pair, which is not a character."
    except (ValueError, RecursionError):
        pass
    return "The request body is not valid JSON."
