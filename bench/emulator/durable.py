"""Small JSON files that survive kill -9: written beside, synced, renamed, directory synced."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import trio

_T = TypeVar("_T")


class StateUnreadable(Exception):
    """A file in the state directory is not ours."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is not an emulator's state; choose another --state folder or remove it")


class DurableFile:
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


def load(path: Path, kind: type[_T], empty: _T) -> _T:
    """What the file holds, `empty` when there is none. Raises `StateUnreadable`."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return empty
    except msgspec.DecodeError as error:
        raise StateUnreadable(path) from error


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
