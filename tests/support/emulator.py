"""The provider emulator as a real process, for tests of the emulator itself and of whatever talks to a provider."""

from __future__ import annotations

import base64
import io
import json
import os
import select
import subprocess
import sys
import time
import wave
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

VC_MODEL = "qwen3-tts-vc-realtime-2026-01-15"
VD_MODEL = "qwen3-tts-vd-realtime-2026-01-15"

API_KEY = "sk-test-emulator"

START_SECONDS = 30.0
"""Longest wait for the ready line. It takes one second; a loaded machine compiles bytecode first."""

STOP_SECONDS = 10.0
"""Longest wait for the process to end; the emulator promises two seconds on an idle machine."""

FAST = ("--speed", "50", "--first-audio-delay", "0")
"""Options for tests that ask what is said and not when."""


@dataclass(frozen=True)
class Emulator:
    """A running emulator. The methods raise httpx.HTTPStatusError for an answer that is no success."""

    process: subprocess.Popen[str]
    rest_url: str
    realtime_url: str
    modal_url: str
    state: Path
    api_key: str = API_KEY

    def sessions(self) -> list[dict[str, Any]]:
        """What each realtime session did, oldest first."""
        found: list[dict[str, Any]] = self._control("GET", "sessions").json()
        return found

    def speaking(self) -> int:
        """How many realtime sessions have begun to speak and not ended."""
        return sum(
            one["outcome"] == "running" and one["first_delta_monotonic_ns"] is not None for one in self.sessions()
        )

    def billing(self) -> dict[str, int]:
        """Characters, clones and designs billed; jobs and designs at Modal."""
        bill: dict[str, int] = self._control("GET", "billing").json()
        return bill

    def creates(self) -> list[dict[str, str]]:
        """The billed creations: preferred_name, kind, voice; also of voices that were deleted since."""
        created: list[dict[str, str]] = self._control("GET", "creates").json()
        return created

    def modal_jobs(self) -> list[dict[str, Any]]:
        """Every job at Modal, oldest first, without its text."""
        jobs: list[dict[str, Any]] = self._control("GET", "modal").json()
        return jobs

    def modal_endpoints(self, flavour: str = "modal") -> dict[str, str]:
        """The gateway's settings for this Modal; the other flavour is "modal-lenient"."""
        base = f"{self.rest_url}/{flavour}"
        jobs = {f"MODAL_JOB_{name.upper()}": f"{base}/{name}" for name in ("submit", "status", "result", "cancel")}
        return {**jobs, "MODAL_ENDPOINT_VOICE_DESIGN": f"{base}/design"}

    def order_faults(self, voice: str, *faults: str, times: int | None = None) -> None:
        """Make the next sessions of `voice` ("*": any) go wrong, or the next REST calls of "customization", "modal",
        or one endpoint: "customization:create", "modal:result"."""
        self._control("PUT", "faults", {"voice": voice, "faults": faults, "times": times})

    def play_script(self, *steps: dict[str, Any], times: int = 1) -> httpx.Response:
        """Let the next `times` connections follow these steps instead of the protocol (`bench/emulator/script.py`)."""
        return httpx.put(f"{self.rest_url}/_emulator/script", json={"steps": steps, "times": times}, trust_env=False)

    def clear_script(self) -> None:
        """Serve by the protocol again."""
        self._control("DELETE", "script")

    def clear_faults(self) -> None:
        """Behave again."""
        self._control("DELETE", "faults")

    def customize(self, body: dict[str, Any], *, key: str | None = None) -> httpx.Response:
        """POST a body to the customization endpoint, with the right key unless another is given."""
        return self.post(json.dumps(body).encode(), key=key)

    def post(self, body: bytes, *, key: str | None = None) -> httpx.Response:
        """As `customize`, for a body that is encoded already."""
        headers = {
            "Authorization": f"Bearer {self.api_key if key is None else key}",
            "Content-Type": "application/json",
        }
        url = f"{self.rest_url}/api/v1/services/audio/tts/customization"
        return httpx.post(url, content=body, headers=headers, timeout=30, trust_env=False)

    def clone(self, name: str = "test", target_model: str = VC_MODEL) -> str:
        """The id of a new cloned voice."""
        asked = {
            "action": "create",
            "target_model": target_model,
            "preferred_name": name,
            "audio": {"data": data_url(wav_recording())},
        }
        answer = self.customize({"model": "qwen-voice-enrollment", "input": asked}).raise_for_status()
        return str(answer.json()["output"]["voice"])

    def design(self, name: str = "test", target_model: str = VD_MODEL) -> str:
        """The id of a new designed voice."""
        asked = {
            "action": "create",
            "target_model": target_model,
            "preferred_name": name,
            "voice_prompt": "A calm narrator.",
            "preview_text": "Hello, this is how I sound.",
            "language": "en",
        }
        answer = self.customize({"model": "qwen-voice-design", "input": asked}).raise_for_status()
        return str(answer.json()["output"]["voice"])

    def _control(self, method: str, name: str, body: object = None) -> httpx.Response:
        url = f"{self.rest_url}/_emulator/{name}"
        answer = httpx.request(method, url, json=body, timeout=30, trust_env=False)
        return answer.raise_for_status()


@contextmanager
def start_emulator(state: Path, options: Sequence[str] = FAST) -> Iterator[Emulator]:
    """Run an emulator for the body and end it by SIGTERM; one that does not end in time fails the test."""
    command = [sys.executable, "-m", "bench", "emulate", "--state", str(state), "--api-key", API_KEY, *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            ready = _ready_line(process)
            yield Emulator(process, ready["rest_url"], ready["realtime_url"], ready["modal_url"], state)
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One emulator for all tests of a module, fast and without first-audio delay."""
    with start_emulator(tmp_path_factory.mktemp("emulator")) as running:
        yield running


def wav_recording(seconds: float = 4.0, rate: int = 24000, amplitude: float = 0.3) -> bytes:
    """A WAV file of a tone: the emulator's checks ask for length, rate and loudness, not for a voice."""
    times = np.arange(round(seconds * rate)) / rate
    samples = (amplitude * 32767 * np.sin(2 * np.pi * 220 * times)).astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as recording:
        recording.setnchannels(1)
        recording.setsampwidth(2)
        recording.setframerate(rate)
        recording.writeframes(samples.tobytes())
    return file.getvalue()


def data_url(recording: bytes) -> str:
    """A WAV file as customization takes it."""
    return "data:audio/wav;base64," + base64.b64encode(recording).decode()


def _ready_line(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for the line that says everything listens. Raises RuntimeError when the process ends or takes too long."""
    if process.stdout is None:
        raise RuntimeError("the emulator was started without a pipe for its ready line")
    deadline = time.monotonic() + START_SECONDS
    line = ""
    while not line.endswith("\n"):
        readable, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        piece = os.read(process.stdout.fileno(), 4096).decode() if readable else ""
        if not piece:
            raise RuntimeError(f"no ready line from the emulator, exit status {process.poll()}")
        line += piece
    ready: dict[str, Any] = json.loads(line)
    return ready
