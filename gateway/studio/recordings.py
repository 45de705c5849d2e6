"""Recordings in the store: is there a usable one, and how the provider gets it."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from gateway.errors import ApiError
from gateway.media import SNIFF_BYTES, media_type, recording_type, sniff
from gateway.recordings import provider_url
from gateway.settings import Settings
from gateway.signing import Signer
from gateway.studio.base import SavedDesign
from protocol.customization import MEDIA_TYPES, AudioSource, RecordingTooLarge, data_url, max_recording_bytes
from schema.http_voices import SAVED_AUDIO_BYTES
from storage.objects import REFERENCES, ObjectMissing, ObjectStore

MAX_RECORDING_BYTES = 10 * 1024 * 1024
"""Largest recording of the bucket (v1 contract 3.5)."""

_MISSING = "There is no recording for this voice. Please upload one first."
_NO_RECORDING = "The recording of this voice is missing, so it cannot be made again. Please clone or design it anew."
_NOT_AUDIO = "This recording is not WAV, MP3 or M4A. Please upload another one."
_NO_SAVED_AUDIO = "audio is required."
_NOT_SAVED_AUDIO = "audio must be a WAV, MP3 or M4A file."
_SAVED_TOO_LARGE = f"audio cannot exceed {SAVED_AUDIO_BYTES} bytes. Please make a shorter preview."


def reference_key(owner: UUID, voice_id: UUID) -> str:
    """Where a voice's recording lies; it ends in .wav whatever it is (v1 contract 1.4)."""
    return f"{owner}/{voice_id}/reference.wav"


def preview_key(owner: UUID, task_id: UUID) -> str:
    """Where a preview's audio lies (v1 contract 2.2)."""
    return f"{owner}/preview_{task_id}.wav"


def check_saved_audio(design: SavedDesign) -> str:
    """The media type of the form's audio. Raises `ApiError` 400 for none, too much or something else (v1 contract
    1.5)."""
    if not design.audio:
        raise ApiError(400, _NO_SAVED_AUDIO)
    if len(design.audio) > SAVED_AUDIO_BYTES:
        raise ApiError(400, _SAVED_TOO_LARGE)
    kind = recording_type(design.audio_type or "audio/wav")
    if kind is None:
        raise ApiError(400, _NOT_SAVED_AUDIO)
    return kind


@dataclass(frozen=True, slots=True)
class Recordings:
    """Reads recordings of one owner at a time; keys outside their folder are never touched."""

    objects: ObjectStore
    settings: Settings
    signer: Signer

    async def require_uploaded(self, key: str) -> None:
        """Raise `ApiError` 400 unless a recording within the limit lies there."""
        info = await self.objects.head(REFERENCES, key)
        if info is None:
            raise ApiError(400, _MISSING)
        if info.size > MAX_RECORDING_BYTES:
            raise ApiError(400, "This recording is larger than 10 MB. Please upload a shorter one.")

    async def copy(self, owner: UUID, source: str | None, target: str) -> None:
        """A voice that is made of another's recording gets its own copy: the other may be purged.

        Raises `ApiError` 400 when there is no recording. A copy that is there already stays.
        """
        if source is None or not source.startswith(f"{owner}/"):
            raise ApiError(400, _NO_RECORDING)
        if await self.objects.head(REFERENCES, target) is not None:
            return
        content = await self._read(source, _NO_RECORDING)
        await self.objects.put(REFERENCES, target, content, sniff(content[:SNIFF_BYTES]) or media_type(source))

    async def for_provider(self, owner: UUID, key: str) -> AudioSource:
        """The recording as the provider takes it: a link where it can follow one, else the bytes in a data URL.

        Raises `ApiError` 400 for what is no audio, or too large to travel inside the request.
        """
        url = provider_url(self.settings, self.signer, owner, key)
        if url is not None:
            return AudioSource(data=url)
        content = await self._read(key, _MISSING)
        kind = sniff(content[:SNIFF_BYTES])
        if kind is None or kind not in MEDIA_TYPES:
            raise ApiError(400, _NOT_AUDIO)
        try:
            return AudioSource(data=data_url(kind, content))
        except RecordingTooLarge as error:
            limit = max_recording_bytes(kind) / 1_000_000
            raise ApiError(
                400, f"This recording is larger than {limit:.1f} MB. Please upload a shorter one."
            ) from error

    async def _read(self, key: str, missing: str) -> bytes:
        try:
            return b"".join([piece async for piece in self.objects.read(REFERENCES, key)])
        except ObjectMissing as error:
            raise ApiError(400, missing) from error
