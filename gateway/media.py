"""Media types of stored objects, by the ending of their key."""

from __future__ import annotations

UNKNOWN_TYPE = "application/octet-stream"

_BY_SUFFIX = {"mp3": "audio/mpeg", "wav": "audio/wav", "m4a": "audio/mp4"}


def media_type(key: str) -> str:
    """What to call the object in an answer.

    Only audio is named: an upload that calls itself HTML must never become a page of this origin. v1 keeps every
    recording under `.wav`, whatever it is; players look at the bytes.
    """
    return _BY_SUFFIX.get(key.rpartition(".")[2].lower(), UNKNOWN_TYPE)
