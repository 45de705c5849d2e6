"""The customization REST: cloning (enrollment) and design of voices, as messages. One endpoint, `POST
/api/v1/services/audio/tts/customization`, dispatches on `model` and `input.action` (protocol reference 3).

This is the asking half: structs for `encode_request`, and what goes into them. What comes back is read by
`protocol/customization_answers.py`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Final, TypeAlias
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

PREFERRED_NAME_CHARS: Final = 16
"""Longest `preferred_name`, of [A-Za-z0-9_] (protocol reference 3.1)."""

MAX_DATA_URL_BYTES: Final = 10_000_000
"""Longest Data URL of a recording: the vendor says "10 MB" of encoded size and not which kind of MB, so the smaller."""

MAX_VOICE_PROMPT_CHARS: Final = 2048
"""Longest description of a voice to design (protocol reference 3.2)."""

MAX_PREVIEW_TEXT_CHARS: Final = 1024
"""Longest preview text of a design (protocol reference 3.2)."""

PAGE_SIZE: Final = 100
"""Voices asked for per list call; clients of this API do the same (protocol reference 3.3)."""

MAX_PAGE_INDEX: Final = 200
"""Last page the vendor serves (protocol reference 3.3); 1000 voices per account need 10 pages of PAGE_SIZE."""

MIN_SAMPLE_RATE: Final = 24_000
"""Hz, the least that the vendor clones from (protocol reference 3.1)."""

MIN_RECORDING_SECONDS: Final = 3.0
"""Of continuous, clear speech (protocol reference 3.1)."""

MAX_RECORDING_SECONDS: Final = 60.0
"""Longest recording (protocol reference 3.1)."""

ADVISED_RECORDING_SECONDS: Final = (10.0, 20.0)
"""What the vendor advises, from and to (protocol reference 3.1)."""

MEDIA_TYPES: Final[Mapping[str, str]] = {
    "audio/wav": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/x-wav": "audio/wav",
    "audio/mpeg": "audio/mpeg",
    "audio/mp3": "audio/mpeg",
    "audio/mp4": "audio/mp4",
    "audio/m4a": "audio/mp4",
    "audio/x-m4a": "audio/mp4",
}
"""Media types of recordings, and the one of the three the vendor names for each (protocol reference 3.1)."""


class RecordingTooLarge(ValueError):
    """A recording does not fit a Data URL. `size` and `limit` are bytes of raw audio."""

    def __init__(self, size: int, limit: int) -> None:
        self.size = size
        self.limit = limit
        super().__init__(f"a recording of {size} bytes; at most {limit} fit a data URL")


class AudioSource(msgspec.Struct, frozen=True):
    """`data` is a Data URL (see `data_url`) or a public URL that the vendor fetches."""

    data: str


class CreateClone(msgspec.Struct, frozen=True, tag_field="action", tag="create", kw_only=True):
    """Clone a voice from a recording. `text` is its transcript, `language` a code (`protocol.languages`)."""

    target_model: str
    preferred_name: str
    audio: AudioSource
    text: str | UnsetType = UNSET
    language: str | UnsetType = UNSET


class CreateDesign(msgspec.Struct, frozen=True, tag_field="action", tag="create", kw_only=True):
    """Design a voice from a description. `language` is that of `preview_text`; the vendor's default is `zh`."""

    target_model: str
    voice_prompt: str
    preview_text: str
    preferred_name: str | UnsetType = UNSET
    language: str | UnsetType = UNSET


class ListVoices(msgspec.Struct, frozen=True, tag_field="action", tag="list", kw_only=True):
    """One page of the account's voices, counted from 0. A page shorter than `page_size` is the last: the vendor's
    total cannot be relied on."""

    page_index: int = 0
    page_size: int = PAGE_SIZE


class QueryVoice(msgspec.Struct, frozen=True, tag_field="action", tag="query", kw_only=True):
    """Look one designed voice up; enrollment has no such action."""

    voice: str


class DeleteVoice(msgspec.Struct, frozen=True, tag_field="action", tag="delete", kw_only=True):
    """Delete one voice."""

    voice: str


class PreviewFormat(msgspec.Struct, frozen=True, kw_only=True):
    """The `parameters` of a design: what the preview should be, `sample_rate` in Hz."""

    sample_rate: int = 24000
    response_format: str = "wav"


EnrollmentInput: TypeAlias = CreateClone | ListVoices | DeleteVoice
DesignInput: TypeAlias = CreateDesign | ListVoices | QueryVoice | DeleteVoice


class _Request(msgspec.Struct, frozen=True):
    model: str
    input: EnrollmentInput | CreateDesign | QueryVoice
    parameters: PreviewFormat | UnsetType = UNSET


def encode_request(model: str, action: EnrollmentInput | DesignInput, parameters: PreviewFormat | None = None) -> bytes:
    """The JSON body of a request to the customization model `model`."""
    return msgspec.json.encode(_Request(model, action, UNSET if parameters is None else parameters))


def preferred_name(owner: UUID) -> str:
    """The vendor-side name of the voice made for our voice or task `owner`: 16 characters of [a-z2-7].

    The same every time, and 80 bits of a hash: `match_created` finds our own voice and no other. User text must never
    come in here, or one user could have another's voice matched.
    """
    digest = hashlib.sha256(owner.bytes).digest()
    return base64.b32encode(digest[: PREFERRED_NAME_CHARS * 5 // 8]).decode().lower()


def data_url(media_type: str, recording: bytes) -> str:
    """The recording as a Data URL. Raises ValueError for a media type not in MEDIA_TYPES, RecordingTooLarge for one
    beyond `max_recording_bytes`."""
    if media_type not in MEDIA_TYPES:
        raise ValueError(f"not a recording the vendor takes: {media_type}")
    limit = max_recording_bytes(media_type)
    if len(recording) > limit:
        raise RecordingTooLarge(len(recording), limit)
    return _data_url_head(media_type) + base64.b64encode(recording).decode()


def max_recording_bytes(media_type: str) -> int:
    """How many raw bytes of this media type fit MAX_DATA_URL_BYTES."""
    return (MAX_DATA_URL_BYTES - len(_data_url_head(media_type))) // 4 * 3


def _data_url_head(media_type: str) -> str:
    return f"data:{MEDIA_TYPES[media_type]};base64,"
