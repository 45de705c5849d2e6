"""A client of the running product, and the decoders that judge what it hears."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import av
import httpx
import miniaudio

from bench.stack import Stack
from gateway.middleware.cors import EXPOSED_HEADERS

READ_SECONDS = 60.0
"""Longest silence before a test gives up; the gateway's own limits are shorter."""

POLL_SECONDS = 0.05

T = TypeVar("T")


@dataclass(frozen=True)
class Heard:
    """One whole stream as its client got it."""

    audio: bytes
    generation_id: str
    task_id: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.audio).hexdigest()


class Client:
    """The demo user at the HTTP API."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.http = httpx.Client(base_url=stack.base_url, headers=stack.headers, timeout=READ_SECONDS)
        provider = self.http.get("/api/languages").json()["provider"]
        mine = (row for row in stack.voices() if row["tts_provider"] == provider)
        self.voice = next(row for row in mine if row["source"] == "uploaded")

    def close(self) -> None:
        self.http.close()

    def body(self, text: str, language: str = "Auto") -> dict[str, str]:
        return {"voice_id": self.voice["id"], "text": text, "language": language}

    @contextmanager
    def streaming(self, text: str, language: str = "Auto") -> Iterator[httpx.Response]:
        """An open v2 answer, 200 or not."""
        with self.http.stream("POST", "/api/generate/stream", json=self.body(text, language)) as response:
            yield response

    def stream(self, text: str, language: str = "Auto") -> Heard:
        """A v2 stream to its clean end."""
        with self.streaming(text, language) as response:
            response.raise_for_status()
            audio = b"".join(response.iter_raw())
        return Heard(audio, response.headers["X-Utter-Generation-Id"], response.headers["X-Utter-Task-Id"])

    def task(self, task_id: str) -> dict[str, Any]:
        response = self.http.get(f"/api/tasks/{task_id}")
        response.raise_for_status()
        task: dict[str, Any] = response.json()
        return task

    def ended(self, task_id: str) -> dict[str, Any]:
        """The task in its terminal state."""
        return until(lambda: task if (task := self.task(task_id))["status"] not in ("pending", "processing") else None)

    def session_of(self, heard_after: int) -> dict[str, Any]:
        """What the emulator says about the newest session that began at or after a monotonic time, in ns."""
        rows = [row for row in self.stack.sessions() if (row["first_delta_monotonic_ns"] or 0) >= heard_after]
        return max(rows, key=lambda row: row["first_delta_monotonic_ns"])

    def order_faults(self, *faults: str, times: int | None = 1, voice: str = "") -> None:
        """Make the next sessions of `voice` (the demo's cloned one) go wrong; "*" is any, and upgrades too."""
        order = {"voice": voice or self.voice["provider_voice_id"], "faults": faults, "times": times}
        httpx.put(f"{self.stack.emulator_rest_url}/_emulator/faults", json=order).raise_for_status()

    def clear_faults(self) -> None:
        httpx.delete(f"{self.stack.emulator_rest_url}/_emulator/faults").raise_for_status()


def until(look: Callable[[], T | None]) -> T:
    """The first thing `look` finds. Raises AssertionError after `READ_SECONDS`."""
    deadline = time.monotonic() + READ_SECONDS
    while time.monotonic() < deadline:
        found = look()
        if found is not None:
            return found
        time.sleep(POLL_SECONDS)
    raise AssertionError(f"it did not happen within {READ_SECONDS} s")


def assert_error(answer: httpx.Response, status: int, about: object = "") -> None:
    """The one shape of every error."""
    assert answer.status_code == status, (about, answer.status_code, answer.text)
    assert answer.headers["Content-Type"] == "application/json", about
    assert set(answer.json()) == {"detail"}, about
    assert isinstance(answer.json()["detail"], str), about
    assert answer.headers["X-Request-Id"], about
    assert answer.headers["Access-Control-Allow-Origin"] == "*", about
    assert answer.headers["Access-Control-Expose-Headers"] == EXPOSED_HEADERS, about


def seconds_by_dr_mp3(audio: bytes) -> float:
    """dr_mp3, through miniaudio."""
    decoded = miniaudio.decode(audio, output_format=miniaudio.SampleFormat.SIGNED16)
    return float(decoded.num_frames / decoded.sample_rate)


def seconds_by_ffmpeg(audio: bytes) -> float:
    """FFmpeg's decoder in process; an error in any frame is raised, not concealed."""
    samples = 0
    with av.open(io.BytesIO(audio), "r", format="mp3", options={"err_detect": "explode"}) as container:
        rate = container.streams.audio[0].rate
        for frame in container.decode(audio=0):
            samples += frame.samples
    return samples / rate


def seconds_by_mpg123(audio: bytes, folder: Path) -> float:
    """mpg123 as a program. It conceals what it dislikes and says so, so any word on stderr is an error."""
    source = folder / "heard.mp3"
    source.write_bytes(audio)
    program = shutil.which("mpg123")
    if program is None:
        raise FileNotFoundError("mpg123")
    finished = subprocess.run(
        [program, "-q", "--no-gapless", "-r", "24000", "-m", "-s", str(source)], check=True, capture_output=True
    )
    assert finished.stderr == b"", finished.stderr.decode()
    return len(finished.stdout) / 2 / 24000
