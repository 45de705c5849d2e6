"""The folder that `utter dev` keeps everything in: database, objects, secrets, and who runs on it now.

lock           held (flock) by the running `utter dev`; the kernel frees it when the process dies, however it dies
secrets.json   generated once, readable by its owner only
running.json   addresses and processes of the running, or killed, `utter dev`
postgres/ objects/ emulator/
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import psutil

DEFAULT_DATA_DIR = Path(".utter")
"""Below the current directory, so that every checkout has a demo of its own."""

SECRET_BYTES = 32
"""HS256 wants a key at least as long as its digest (RFC 7518, 3.2)."""


class AlreadyRunning(Exception):
    """Another `utter dev` holds this folder."""


class Secrets(msgspec.Struct, frozen=True):
    """What is generated on the first start and kept: users, sessions and signed URLs survive a restart."""

    token_secret: str
    signing_secret: str
    emulator_key: str


class Child(msgspec.Struct, frozen=True):
    """A process started by `utter dev`. `started` (epoch seconds) tells it from a stranger with a reused id."""

    pid: int
    started: float


class RunRecord(msgspec.Struct, frozen=True):
    """What other commands need to find the running one. URLs carry no secret."""

    pid: int
    base_url: str
    demo_user: str
    admin_url: str
    emulator_rest_url: str
    emulator_realtime_url: str
    children: list[Child]
    started: float = 0.0
    """When `pid` started, epoch seconds."""
    emulator_modal_url: str = ""
    """"" in the record of a version that had no Modal."""

    @property
    def alive(self) -> bool:
        """Whether the process that wrote it still runs; after a kill -9 the record outlives it."""
        try:
            return psutil.Process(self.pid).create_time() == self.started
        except psutil.NoSuchProcess:
            return False


class DataDir:
    """Paths and files below one data directory; `path` is created when missing."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()

    @property
    def postgres(self) -> Path:
        return self.path / "postgres"

    @property
    def objects(self) -> Path:
        return self.path / "objects"

    @property
    def emulator(self) -> Path:
        return self.path / "emulator"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder. Raises `AlreadyRunning`."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise AlreadyRunning(f"{self.path} is in use by another `utter dev`") from None
            yield

    def secrets(self) -> Secrets:
        """The folder's secrets, generated on first use."""
        file = self.path / "secrets.json"
        if not file.exists():
            fresh = Secrets(*(secrets.token_urlsafe(SECRET_BYTES) for _ in Secrets.__struct_fields__))
            self._write(file, fresh)
        return msgspec.json.decode(file.read_bytes(), type=Secrets)

    def read_record(self) -> RunRecord | None:
        """Who runs on this folder, or was killed on it; None when the last one ended in order."""
        try:
            return msgspec.json.decode((self.path / "running.json").read_bytes(), type=RunRecord)
        except FileNotFoundError:
            return None

    def running_record(self) -> RunRecord | None:
        """Who runs on this folder now."""
        record = self.read_record()
        return record if record is not None and record.alive else None

    def write_record(self, record: RunRecord) -> None:
        """Replace the record."""
        self._write(self.path / "running.json", record)

    def forget_record(self) -> None:
        """Nobody runs any more."""
        (self.path / "running.json").unlink(missing_ok=True)

    def _write(self, file: Path, value: msgspec.Struct) -> None:
        """Write whole or not at all, readable by the owner only: a kill in the middle must not cost the secrets."""
        self.path.mkdir(parents=True, exist_ok=True)
        draft = file.with_suffix(".new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(msgspec.json.encode(value))
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(file)
