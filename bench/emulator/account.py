"""The vendor's memory of one customer: voices and the bill. Survives kill -9, as the vendor's does.

Two small JSON files in the state directory, each replaced as a whole: written beside, synced, renamed, directory
synced. A change is acknowledged only after that.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import trio

_T = TypeVar("_T")

MAX_VOICES = 1000
"""The vendor's quota per account (protocol reference 3.3)."""


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


class Bill(msgspec.Struct):
    """What the vendor would charge for: weighted characters spoken, voices cloned, voices designed."""

    characters: int = 0
    clones: int = 0
    designs: int = 0


class StateUnreadable(Exception):
    """A file in the state directory is not ours."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is not an emulator's state; choose another --state folder or remove it")


class VoiceQuotaExceeded(Exception):
    """The account has MAX_VOICES voices."""


class Account:
    """Voices by id and the bill, loaded from `directory` (created when missing).

    Raises `StateUnreadable`.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        voices_file, bill_file = directory / "voices.json", directory / "bill.json"
        self._voices = {voice.voice: voice for voice in _load(voices_file, list[StoredVoice], [])}
        self.bill = _load(bill_file, Bill, Bill())
        self._voices_saved = _Saver(voices_file, lambda: msgspec.json.encode(list(self._voices.values())))
        self._bill_saved = _Saver(bill_file, lambda: msgspec.json.encode(self.bill))

    def find(self, voice: str) -> StoredVoice | None:
        """The voice with this id, cloned or designed."""
        return self._voices.get(voice)

    def voices(self, kind: str) -> list[StoredVoice]:
        """All voices of a kind, newest first."""
        return [voice for voice in reversed(self._voices.values()) if voice.kind == kind]

    async def add(self, voice: StoredVoice) -> None:
        """Keep a new voice and bill its creation. Raises `VoiceQuotaExceeded`."""
        if len(self._voices) >= MAX_VOICES:
            raise VoiceQuotaExceeded
        self._voices[voice.voice] = voice
        if voice.kind == "vc":
            self.bill.clones += 1
        else:
            self.bill.designs += 1
        await self._voices_saved.save()
        await self._bill_saved.save()

    async def remove(self, voice: str) -> bool:
        """Forget a voice; False when there was none."""
        if self._voices.pop(voice, None) is None:
            return False
        await self._voices_saved.save()
        return True

    async def charge(self, characters: int) -> None:
        """Bill spoken text. On the disk when this returns."""
        self.bill.characters += characters
        await self._bill_saved.save()


class _Saver:
    """Writes one file durably. Callers that come while a write runs share the next one: fsync is slow."""

    def __init__(self, path: Path, content: Callable[[], bytes]) -> None:
        self._path = path
        self._content = content
        self._asked = 0
        self._saved = 0
        self._turn = trio.Lock()

    async def save(self) -> None:
        """Return when the state at the time of the call is on the disk."""
        self._asked += 1
        mine = self._asked
        async with self._turn:
            if self._saved >= mine:
                return
            covered = self._asked
            await trio.to_thread.run_sync(_replace, self._path, self._content())
            self._saved = covered


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_suffix(".new")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _load(path: Path, kind: type[_T], empty: _T) -> _T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return empty
    except msgspec.DecodeError as error:
        raise StateUnreadable(path) from error
