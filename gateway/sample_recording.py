"""A recording of somebody reading, to clone a voice from where nobody is there to read."""

from __future__ import annotations

import subprocess
import sys

import anyio

TRANSCRIPT = (
    "I have read aloud to other people for as long as I can remember. On winter evenings we sat around the stove, and "
    "whoever had the book in their hands decided how the story sounded. That is why I like to lend my voice to others."
)
"""Some 15 seconds of speech: the vendor advises 10 to 20 (protocol reference 3.1)."""


class NoRecording(Exception):
    """It could not be made. The message says why."""


async def sample_recording(text: str = TRANSCRIPT, speaker: str = "speaker") -> bytes:
    """A WAV of `text`, made by a program of its own: the gateway synthesizes nothing. Raises `NoRecording`."""
    command = [sys.executable, "-m", "bench", "record", "--language", "en", "--speaker", speaker, "--text", text]
    command += ["-o", "-"]
    # A session of its own, or Ctrl-C would end it before us, and look like a recording that failed.
    finished = await anyio.run_process(command, stderr=subprocess.PIPE, check=False, start_new_session=True)
    if finished.returncode:
        raise NoRecording(f"A recording could not be made: {finished.stderr.decode(errors='replace').strip()}")
    return finished.stdout
