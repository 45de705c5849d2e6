"""Making voices, as routes see it; which provider makes them is decided once, by the mode (product decision 1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from schema.http_voices import FinalizeRequest, PreviewRequest
from schema.records import VoiceRow

FALLBACK = "fallback_mode"
"""The word for a degraded voice in `voice_creates.warnings` and in the `warnings` of a voice's metadata."""

FALLBACK_WARNING = (
    "Your voice was made, but the recording was not good enough for a faithful copy. Record 10 to 20 seconds of clear "
    "speech that matches the transcript and clone it again."
)
"""What `fallback_mode` in the provider's answer means for its user (protocol reference 3.1)."""


@dataclass(frozen=True, slots=True)
class MadeVoice:
    """A voice of ours that can be used now."""

    voice: VoiceRow

    @property
    def warning(self) -> str:
        """For its user, "" when all is well."""
        return FALLBACK_WARNING if FALLBACK in self.voice.provider_metadata.get("warnings", ()) else ""


@dataclass(frozen=True, slots=True)
class SavedDesign:
    """The form of a design save, whose texts are trimmed and not empty.

    `audio` is what the client played and `audio_type` what it calls that, either may be empty; `task_id` is as it was
    sent. Which of them it takes depends on the provider.
    """

    name: str
    text: str = field(repr=False)
    language: str
    instruct: str = field(repr=False)
    audio: bytes = field(repr=False, default=b"")
    audio_type: str = ""
    task_id: str | None = None


class Studio(Protocol):
    """All methods raise `ApiError`, and the storage errors (`gateway.errors` has an answer for each)."""

    def check_language(self, language: str) -> None:
        """`ApiError` 400 for a language in which the provider makes no voice, naming those it does."""

    async def finalize_clone(self, owner: UUID, wanted: FinalizeRequest) -> MadeVoice:
        """Make a voice of an uploaded recording. 400 without a usable one, 409 when the voice exists."""

    async def start_preview(self, owner: UUID, wanted: PreviewRequest) -> UUID:
        """Begin a preview; the id of its task."""

    async def save_design(self, owner: UUID, design: SavedDesign) -> MadeVoice:
        """Make a voice of a preview. Never pays for anything."""

    async def reclone(self, owner: UUID, voice_id: UUID) -> MadeVoice:
        """A voice for the active provider, from the recording of another's. 404, 400 without recording, 409."""

    async def recover_stale(self) -> None:
        """Finish, or end honestly, what a process that died was making."""
