"""What the JSON of each answer must look like: every field that is there, and no other (v1 contract 1; appendix A).

A shape is a plain value that must be equal, a type, a function that says yes or no, a dict with exactly these keys, or
`[shape]`: a list that is not empty, each of whose items fits. `Made` stands for something the row's world made.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Shape = Any


@dataclass(frozen=True, slots=True)
class Made:
    """A text with the names of made things in braces: `Made("/api/generations/{generation}/audio")`."""

    template: str


_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")


def uuid(value: object) -> bool:
    """Lower case, as Postgres prints it."""
    return isinstance(value, str) and _UUID.fullmatch(value) is not None


def timestamp(value: object) -> bool:
    """ISO 8601 with microseconds and `+00:00` (1.0)."""
    if not isinstance(value, str) or not _TIMESTAMP.fullmatch(value):
        return False
    return datetime.fromisoformat(value).tzinfo is not None


def number(value: object) -> bool:
    """A JSON number: the SPA calls `.toFixed` on it (1.0)."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def words(value: object) -> bool:
    """Text for people."""
    return isinstance(value, str) and bool(value.strip())


def absolute_url(value: object) -> bool:
    """Usable without the API's origin, and without credentials in it."""
    return isinstance(value, str) and re.match(r"https?://[^/@]+/", value) is not None


def nullable(shape: Shape) -> Callable[[object], bool]:
    """null, or what fits `shape`."""
    return lambda value: value is None or complaint(value, shape) is None


def matching(pattern: str) -> Callable[[object], bool]:
    """A text that is all of `pattern`."""
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def listed(*values: str, by: str = "name") -> Callable[[object], bool]:
    """A list whose items have these values in their field `by`, in this order."""
    return lambda value: isinstance(value, list) and [item[by] for item in value] == list(values)


def complaint(value: object, shape: Shape, at: str = "body") -> str | None:
    """Where and how `value` does not fit, None when it does."""
    if isinstance(shape, Mapping):
        return _of_object(value, shape, at)
    if isinstance(shape, list):
        return _of_list(value, shape, at)
    if isinstance(shape, type):
        fits = isinstance(value, shape) and (shape is bool or not isinstance(value, bool))
    elif callable(shape):
        fits = bool(shape(value))
    else:
        fits = value == shape and isinstance(value, bool) == isinstance(shape, bool)
    return None if fits else f"{at} is {value!r}, not {getattr(shape, '__name__', None) or repr(shape)}"


def _of_object(value: object, shape: Mapping[str, Shape], at: str) -> str | None:
    if not isinstance(value, dict):
        return f"{at} is {value!r}, not an object"
    if value.keys() != shape.keys():
        return f"{at}: unexpected {sorted(value.keys() - shape.keys())}, missing {sorted(shape.keys() - value.keys())}"
    return next((found for key in shape if (found := complaint(value[key], shape[key], f"{at}.{key}"))), None)


def _of_list(value: object, shape: list[Shape], at: str) -> str | None:
    if not isinstance(value, list):
        return f"{at} is {value!r}, not a list"
    if bool(value) != bool(shape):
        return f"{at} has {len(value)} items"
    complaints = (complaint(item, shape[0], f"{at}[{index}]") for index, item in enumerate(value))
    return next((found for found in complaints if found), None)


OK = {"ok": True}

PROFILE = {
    "id": Made("{owner}"),
    "handle": nullable(str),
    "display_name": nullable(str),
    "avatar_url": nullable(str),
    "subscription_tier": str,
    "credits_remaining": int,
    "created_at": timestamp,
    "updated_at": timestamp,
}

SIGNED_OUT = {"signed_in": False, "user": None, "profile": None}

VOICE = {
    "id": uuid,
    "name": str,
    "reference_transcript": nullable(str),
    "language": str,
    "source": lambda value: value in {"uploaded", "designed"},
    "description": nullable(str),
    "created_at": timestamp,
    "tts_provider": lambda value: value in {"modal", "qwen"},
    "provider_voice_id": nullable(str),
    "provider_target_model": nullable(str),
    "provider_voice_kind": nullable(lambda value: value in {"vc", "vd"}),
}

DESIGNED = {
    "id": uuid,
    "name": str,
    "description": str,
    "language": str,
    "source": "designed",
    "preview_url": absolute_url,
}

UPLOAD = {
    "voice_id": uuid,
    "upload_url": absolute_url,
    "object_key": matching(f"{_UUID.pattern}/{_UUID.pattern}/reference\\.wav"),
}

ACCEPTED = {
    "task_id": uuid,
    "status": "processing",
    "is_long_running": True,
    "estimated_duration_minutes": number,
    "generation_id": uuid,
}

GENERATION = {
    "id": uuid,
    "voice_id": nullable(uuid),
    "voice_name": nullable(str),
    "text": str,
    "audio_path": matching(f"/api/generations/{_UUID.pattern}/audio"),
    "duration_seconds": nullable(number),
    "language": str,
    "status": lambda value: value in {"pending", "processing", "completed", "failed", "cancelled"},
    "generation_time_seconds": nullable(number),
    "error_message": nullable(str),
    "created_at": timestamp,
}

PROVIDER_STATUSES = {
    "queued",
    "ws_connecting",
    "session_updated",
    "streaming",
    "finalizing",
    "spooled",
    "completed",
    "failed",
    "cancelled",
}

TASK = {
    "id": uuid,
    "type": lambda value: value in {"generate", "generate_stream", "design_preview"},
    "status": lambda value: value in {"pending", "processing", "completed", "failed", "cancelled"},
    "error": nullable(str),
    "modal_status": nullable(str),
    "modal_elapsed_seconds": nullable(number),
    "modal_poll_count": int,
    "provider": lambda value: value in {"modal", "qwen"},
    "provider_status": nullable(str),
    "provider_poll_count": int,
}
"""Without `result` and `stream_url`, which are absent while there is nothing to name (1.0)."""

SHA256 = matching("[0-9a-f]{64}")


def pagination(page: Shape = 1, per_page: Shape = 20, total: Shape = int, pages: Shape = int) -> dict[str, Shape]:
    """The paging block, echoing the effective values (1.3)."""
    return {"page": page, "per_page": per_page, "total": total, "pages": pages}
