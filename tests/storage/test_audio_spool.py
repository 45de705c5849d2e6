"""The spool on disk: whole entries or none, and folders that belong to the living."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from storage.audio_spool import SpooledAudio, SpoolFolder, SpoolUnavailable
from tests.support.rows import completion, new_generation

AUDIO = b"\xff\xfb sound" * 100


def note(spooled_at: float = 1.0) -> SpooledAudio:
    owner = uuid4()
    return SpooledAudio(owner=owner, epoch=2, spooled_at=spooled_at, done=completion(new_generation(owner, uuid4())))


def test_what_is_put_is_found_the_oldest_first(tmp_path: Path) -> None:
    folder = SpoolFolder.create(tmp_path / "spool", uuid4())
    late, early = note(2.0), note(1.0)
    for each in (late, early):
        folder.put(each, memoryview(AUDIO))
    entries = folder.entries()
    assert [entry.note for entry in entries] == [early, late]
    assert [entry.audio.read_bytes() for entry in entries] == [AUDIO, AUDIO]
    folder.remove(entries[0])
    assert [entry.note for entry in folder.entries()] == [late]
    folder.close()


def test_a_folder_in_use_is_nobody_elses(tmp_path: Path) -> None:
    folder = SpoolFolder.create(tmp_path, uuid4())
    folder.put(note(), AUDIO)
    assert SpoolFolder.abandoned(tmp_path) == []
    folder.close()
    (left,) = SpoolFolder.abandoned(tmp_path)
    assert SpoolFolder.abandoned(tmp_path) == [], "two cannot have it"
    mine = SpoolFolder.create(tmp_path, uuid4())
    (entry,) = left.entries()
    assert mine.take(entry).audio.read_bytes() == AUDIO
    left.close()
    assert [path.name for path in tmp_path.iterdir()] == [mine._path.name], "an empty one is removed"
    mine.close()


def test_what_a_killed_process_left_can_be_had(tmp_path: Path) -> None:
    """The lock goes with the process, whatever ended it."""
    encoded = msgspec.json.encode(note()).decode()
    program = (
        "import os, sys, uuid, msgspec\n"
        "from pathlib import Path\n"
        "from storage.audio_spool import *\n"
        "folder = SpoolFolder.create(Path(sys.argv[1]), uuid.uuid4())\n"
        "folder.put(msgspec.json.decode(sys.argv[2], type=SpooledAudio), b'left')\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path), encoded], check=False, timeout=60)
    (left,) = SpoolFolder.abandoned(tmp_path)
    assert [entry.audio.read_bytes() for entry in left.entries()] == [b"left"]
    left.close()


def test_audio_without_its_note_is_no_entry(tmp_path: Path) -> None:
    folder = SpoolFolder.create(tmp_path, uuid4())
    (folder._path / f"{uuid4()}.mp3").write_bytes(b"cut off in the middle")
    assert folder.entries() == []
    folder.close()


def test_a_spool_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert SpoolFolder.abandoned(tmp_path / "nowhere") == []


@pytest.mark.parametrize("broken", ["full", "not a folder"])
def test_a_disk_that_takes_nothing_says_so(tmp_path: Path, broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if broken == "not a folder":
        (tmp_path / "spool").write_text("a file")
        with pytest.raises(SpoolUnavailable, match="spool failed"):
            SpoolFolder.create(tmp_path / "spool", uuid4())
        return
    folder = SpoolFolder.create(tmp_path / "spool", uuid4())

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SpoolUnavailable, match="No space left"):
        folder.put(note(), AUDIO)
    assert folder.entries() == []
    folder.close()


def test_a_note_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    folder = SpoolFolder.create(tmp_path, uuid4())
    (folder._path / "odd.json").write_text("{}")
    with pytest.raises(SpoolUnavailable, match=r"odd\.json"):
        folder.entries()
    folder.close()
