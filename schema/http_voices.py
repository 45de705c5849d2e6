"""Making voices: cloning a recording, designing from a description (v1 contract 1.4 and 1.5, product section 6)."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from schema.http import FilePart, Voice

NAME_UNITS = 100
"""Longest name of a voice, in UTF-16 units after trimming (v1 contract 1.4)."""

DESIGN_UNITS = 500
"""Longest preview text and description of a design, in UTF-16 units after trimming (v1 contract 1.5)."""

SAVED_AUDIO_BYTES = 1_000_000
"""Largest audio of a design save, decimal (v1 contract 1.5): some 20 seconds as WAV."""

VoiceName = Annotated[str, Meta(min_length=1, max_length=NAME_UNITS)]
Required = Annotated[str, Meta(min_length=1)]
DesignText = Annotated[str, Meta(min_length=1, max_length=DESIGN_UNITS)]


class CloneRequest(Struct, frozen=True, kw_only=True):
    """`POST /clone/upload-url`: what the voice will be. Nothing of it is kept until `finalize`."""

    name: VoiceName
    language: Required
    transcript: Required
    description: str | None = None


class FinalizeRequest(CloneRequest, frozen=True, kw_only=True):
    """`POST /clone/finalize`. `voice_id` is that of the upload."""

    voice_id: UUID


class UploadLink(Struct, frozen=True):
    """Where to PUT the recording, with its own Content-Type and no sign-in, within two hours."""

    voice_id: UUID
    upload_url: str
    object_key: str


class ClonedVoice(Struct, frozen=True):
    """The voice exists. `warning` is there when it may not sound as hoped, and says what to do."""

    id: UUID
    name: str
    warning: str | UnsetType = UNSET


class RemadeVoice(Voice, frozen=True):
    """`POST /voices/:id/reclone`: the voice that can be used; `warning` as in `ClonedVoice`."""

    warning: str | UnsetType = UNSET


class PreviewRequest(Struct, frozen=True, kw_only=True):
    """`POST /voices/design/preview`: a voice by `instruct`, heard by `text`."""

    text: DesignText
    instruct: DesignText
    language: Required


class PreviewStarted(Struct, frozen=True):
    """The preview is made; poll its task."""

    task_id: UUID
    status: Literal["pending"] = "pending"


class DesignForm(Struct, frozen=True, kw_only=True):
    """`POST /voices/design`, `multipart/form-data`. Without `task_id` the preview is found by the sound of `audio`."""

    name: VoiceName
    text: Required
    language: Required
    instruct: Required
    audio: FilePart | UnsetType = UNSET
    task_id: UUID | UnsetType = UNSET


class DesignedVoice(Struct, frozen=True):
    """The saved voice. `preview_url` reads its recording without a sign-in, until it expires."""

    id: UUID
    name: str
    description: str | None
    language: str
    source: Literal["designed"]
    preview_url: str
