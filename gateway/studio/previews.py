"""The audio of a designed voice's preview: what the create brought, what is in the store, or spoken once more."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial

import anyio.lowlevel

from gateway.media import MP3, SNIFF_BYTES, WAV, sniff
from gateway.persister import until_it_lands
from gateway.providers import SpeechProvider
from gateway.providers.base import Utterance
from gateway.studio.recordings import preview_key
from gateway.tracing import Trace
from protocol.customization_answers import CreatedVoice
from schema.records import CreateRow
from storage.objects import REFERENCES, ObjectStore


class _Heard:
    def __init__(self) -> None:
        self.audio = bytearray()

    def append(self, frames: bytes) -> None:
        self.audio += frames


@dataclass(frozen=True, slots=True)
class Previews:
    """Reads and writes one object for each design."""

    objects: ObjectStore
    provider: SpeechProvider

    async def keep(self, create: CreateRow, made: CreatedVoice) -> tuple[str, str]:
        """Store the preview that came with `made`. A voice that was found instead of made has none: then what its maker
        stored before it died is taken, or its text is spoken. The object's key and SHA-256 in hex.

        Raises `ProviderFailure` and `ObjectStoreUnavailable`.
        """
        key = preview_key(create.user_id, create.id)
        if made.preview:
            audio, kind = made.preview, sniff(made.preview[:SNIFF_BYTES]) or WAV
        elif stored := await self._stored(key):
            return key, hashlib.sha256(stored).hexdigest()
        else:
            audio, kind = await self._speak(create, made), MP3
        await until_it_lands(partial(self.objects.put, REFERENCES, key, audio, kind))
        return key, hashlib.sha256(audio).hexdigest()

    async def _stored(self, key: str) -> bytes | None:
        if await self.objects.head(REFERENCES, key) is None:
            return None
        return b"".join([piece async for piece in self.objects.read(REFERENCES, key)])

    async def _speak(self, create: CreateRow, made: CreatedVoice) -> bytes:
        """Costs the text's characters, but no second voice."""
        heard = _Heard()
        utterance = Utterance(
            text=create.request["text"],
            voice=made.voice,
            model=made.target_model or create.target_model,
            language=create.request["language"],
        )
        trace = Trace(create_id=str(create.id))
        await self.provider.speak(
            utterance, heard, trace, clearance=anyio.lowlevel.checkpoint, on_status=lambda _status: None
        )
        return bytes(heard.audio)
