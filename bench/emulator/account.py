"""The vendor's memory of one customer: voices, what was created, and the bill. Survives kill -9, as the vendor's does.

A change is acknowledged only when it is on the disk.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from bench.emulator.durable import DurableFile, load

MAX_VOICES = 1000
"""The vendor's quota per account (protocol reference 3.3)."""

MAX_CREATES = 5000
"""Creations remembered, oldest forgotten: more than a fuzzing night makes, half a MB of JSON."""


class StoredVoice(msgspec.Struct, frozen=True, kw_only=True):
    """A cloned ("vc") or designed ("vd") voice. `gmt_*` are "YYYY-MM-DD HH:MM:SS", Beijing time (reference 3.3)."""

    voice: str
    kind: str
    target_model: str
    language: str
    gmt_create: str
    gmt_modified: str
    voice_prompt: str = ""
    preview_text: str = ""


class BilledCreate(msgspec.Struct, frozen=True):
    """One billed creation. It outlives its voice: deleting one returns no money."""

    preferred_name: str
    kind: str
    voice: str


class Bill(msgspec.Struct):
    """What the providers would charge for. Qwen: weighted characters spoken, voices cloned, voices designed. Modal:
    jobs and designs that took GPU time."""

    characters: int = 0
    clones: int = 0
    designs: int = 0
    modal_jobs: int = 0
    modal_designs: int = 0


class VoiceQuotaExceeded(Exception):
    """The account is full."""


class Account:
    """Voices by id and the bill, loaded from `directory` (created when missing).

    Raises `StateUnreadable`.
    """

    def __init__(self, directory: Path, max_voices: int = MAX_VOICES) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._max_voices = max_voices
        voices, bill, creates = (directory / name for name in ("voices.json", "bill.json", "creates.json"))
        self._voices = {voice.voice: voice for voice in load(voices, list[StoredVoice], [])}
        self.bill = load(bill, Bill, Bill())
        self._creates = load(creates, list[BilledCreate], [])
        self._voices_file = DurableFile(voices, lambda: msgspec.json.encode(list(self._voices.values())))
        self._bill_file = DurableFile(bill, lambda: msgspec.json.encode(self.bill))
        self._creates_file = DurableFile(creates, lambda: msgspec.json.encode(self._creates))

    def find(self, voice: str) -> StoredVoice | None:
        """The voice with this id, cloned or designed."""
        return self._voices.get(voice)

    def voices(self, kind: str) -> list[StoredVoice]:
        """All voices of a kind, newest first."""
        return [voice for voice in reversed(self._voices.values()) if voice.kind == kind]

    def creates(self) -> list[BilledCreate]:
        """The newest MAX_CREATES billed creations, oldest first."""
        return list(self._creates)

    async def add(self, voice: StoredVoice, preferred_name: str) -> None:
        """Keep a new voice and bill its creation. Raises `VoiceQuotaExceeded`."""
        if len(self._voices) >= self._max_voices:
            raise VoiceQuotaExceeded
        self._voices[voice.voice] = voice
        self._creates.append(BilledCreate(preferred_name, voice.kind, voice.voice))
        del self._creates[:-MAX_CREATES]
        if voice.kind == "vc":
            self.bill.clones += 1
        else:
            self.bill.designs += 1
        await self._voices_file.save()
        await self._creates_file.save()
        await self._bill_file.save()

    async def remove(self, voice: str) -> bool:
        """Forget a voice; False when there was none."""
        if self._voices.pop(voice, None) is None:
            return False
        await self._voices_file.save()
        return True

    async def charge(self, characters: int) -> None:
        """Bill spoken text. On the disk when this returns."""
        self.bill.characters += characters
        await self._bill_file.save()

    async def charge_modal(self, kind: str) -> None:
        """Bill a Modal "job" or "design". On the disk when this returns."""
        if kind == "job":
            self.bill.modal_jobs += 1
        else:
            self.bill.modal_designs += 1
        await self._bill_file.save()
