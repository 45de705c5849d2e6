"""Where audio is kept: the object store, by a round trip in each bucket, and this machine's spool."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from uuid import UUID, uuid4

import anyio.to_thread

from gateway.doctor.checkup import Check, Result, failed, ok, warning
from gateway.settings import Settings
from storage.objects import GENERATIONS, REFERENCES, ObjectMissing, ObjectStore, ObjectStoreRefused
from storage.objects import ObjectStoreUnavailable as Unavailable

NOBODY = UUID(int=0)
"""Whose folder the probes are written to: no user has this id."""

STORE_SECONDS = 10.0
"""Of one call: somebody waits at a terminal, and a store that needs longer is no good for playing from."""

PROBE_BYTES = bytes(range(256)) * 16
"""4 KiB in which every byte occurs: what a text-minded store would change."""

LITTLE_SPACE_BYTES = 1 << 30
"""Free space worth a warning: an hour without the store at ten generations a minute is 300 MB of audio."""

_CHECK = "Check OBJECTS_URL, and AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY where it is an S3."


async def references(settings: Settings) -> Result:
    """Recordings: can they be written, read and removed?"""
    return await _round_trip(settings, REFERENCES, "wav", "audio/wav")


async def generations(settings: Settings) -> Result:
    """Speech: can it be written, read and removed?"""
    return await _round_trip(settings, GENERATIONS, "mp3", "audio/mpeg")


async def spool(settings: Settings) -> Result:
    """Is there a disk for audio that cannot be stored now?"""
    folder = settings.spool_dir
    try:
        free = await anyio.to_thread.run_sync(_write_and_measure, folder)
    except OSError as error:
        return failed(
            f"Nothing can be written to the spool {folder}: {os.strerror(error.errno or 0)}.",
            "Set UTTER_SPOOL_DIR to a folder of a disk that outlives the process, and let the gateway's account "
            "write there.",
        )
    if free < LITTLE_SPACE_BYTES:
        return warning(
            f"The disk of the spool {folder} has {free // 2**20} MB left.",
            "Free some space, or set UTTER_SPOOL_DIR to a larger disk: audio waits there while the store is away.",
        )
    return ok(f"Audio can wait in {folder}.")


async def _round_trip(settings: Settings, bucket: str, suffix: str, kind: str) -> Result:
    key = f"{NOBODY}/doctor-{uuid4().hex}.{suffix}"
    step = "opened"
    try:
        objects = ObjectStore.open(settings.objects_url, read_seconds=STORE_SECONDS, write_seconds=STORE_SECONDS)
        step = "looked into"
        await objects.check()
        step = "written to"
        await objects.put(bucket, key, PROBE_BYTES, kind, overwrite=False)
        step = "read from"
        found = b"".join([piece async for piece in objects.read(bucket, key)])
        step = "cleaned"
        await objects.delete(bucket, key)
    except ObjectStoreRefused as error:
        return failed(f"The store turns us away: {error}.", _CHECK)
    except (Unavailable, ObjectMissing) as error:
        return failed(f"The store for {bucket} cannot be {step}: {error}.", _CHECK)
    if found != PROBE_BYTES:
        return failed(f"The store for {bucket} gives back other bytes than it was given.", _CHECK)
    return ok(f"An object for {bucket} was written, read and removed.")


def _write_and_measure(folder: Path) -> int:
    """Bytes that are free. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(PROBE_BYTES)
        file.flush()
        os.fsync(file.fileno())
    return shutil.disk_usage(folder).free


CHECKS = (
    Check("objects.references", references),
    Check("objects.generations", generations, needs="objects.references"),
    Check("spool", spool),
)
