"""The product as a process to measure: `utter dev` on a scratch data directory, started and stopped from outside.

The bench never imports the gateway. It finds the addresses where any other program would: in the data directory's
`running.json`, and through `utter token`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import httpx
import msgspec
import psutil

LOGIN = "utter"
"""The gateway's role in the database of `utter dev`, beside the owner's that `admin_url` names."""

LOG = "dev.log"
"""What `utter dev` prints, in its data directory."""

START_SECONDS = 60.0
"""Longest wait for `utter dev`: the first start makes a database, which takes a few seconds on a small machine."""

STOP_SECONDS = 20.0
"""Longest wait for a clean stop before everything is killed and the caller told."""

POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Stack:
    """A running product. `pid` is the gateway's process; `headers` carry the demo user's token."""

    base_url: str
    emulator_rest_url: str
    emulator_realtime_url: str
    emulator_key: str
    admin_url: str
    demo_user: str
    token: str
    pid: int
    data_dir: Path
    process: subprocess.Popen[bytes]

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def voices(self) -> list[dict[str, Any]]:
        """The demo user's voices as the API lists them: a cloned and a designed one."""
        response = httpx.get(f"{self.base_url}/api/voices", headers=self.headers)
        response.raise_for_status()
        voices: list[dict[str, Any]] = response.json()["voices"]
        return voices

    def sessions(self) -> list[dict[str, Any]]:
        """What the emulator says about every session it served."""
        sessions: list[dict[str, Any]] = httpx.get(f"{self.emulator_rest_url}/_emulator/sessions").json()
        return sessions


@contextmanager
def running_stack(
    *, speed: float = 1.0, first_audio_delay: float = 0.1, environment: Mapping[str, str] | None = None
) -> Iterator[Stack]:
    """`utter dev` in a scratch directory for the length of the body. Raises RuntimeError when it does not start."""
    with (
        TemporaryDirectory(prefix="utter-stack-") as folder,
        started(Path(folder), speed=speed, first_audio_delay=first_audio_delay, environment=environment) as stack,
    ):
        yield stack


@contextmanager
def started(
    data_dir: Path,
    *,
    port: int = 0,
    speed: float = 1.0,
    first_audio_delay: float = 0.1,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Stack]:
    """`utter dev` on a given data directory. What it prints goes to `dev.log` there."""
    command = [sys.executable, "-m", "gateway.cli", "dev", "--port", str(port), "--data-dir", str(data_dir)]
    command += ["--speed", str(speed), "--first-audio-delay", str(first_audio_delay)]
    log = data_dir / LOG
    with log.open("wb") as output:
        # A process group of its own, as a terminal gives it: Ctrl-C for the caller is not Ctrl-C for the product.
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    try:
        yield _wait_until_ready(process, data_dir, log)
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End it as a person would, with SIGTERM. Raises RuntimeError when it and its children had to be killed."""
    if process.poll() is not None:
        return
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        raise RuntimeError(f"utter dev did not stop within {STOP_SECONDS} s of SIGTERM") from None


def access_token(data_dir: Path, user: UUID | None = None) -> str:
    """A token for this user, who is made when missing; for the demo user by default."""
    command = [sys.executable, "-m", "gateway.cli", "token", "--data-dir", str(data_dir)]
    command += ["--user", str(user)] if user else []
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]


def _wait_until_ready(process: subprocess.Popen[bytes], data_dir: Path, log: Path) -> Stack:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        record = _record_of(process, data_dir)
        if record is not None and _is_ready(record["base_url"]):
            return _stack(record, process, data_dir)
        time.sleep(POLL_SECONDS)
    raise RuntimeError(f"utter dev did not become ready; it said:\n{log.read_text()[-4000:]}")


def _record_of(process: subprocess.Popen[bytes], data_dir: Path) -> dict[str, Any] | None:
    """The record of this very process: an older one may lie there still."""
    file = data_dir / "running.json"
    if not file.exists():
        return None
    record: dict[str, Any] = msgspec.json.decode(file.read_bytes())
    return record if record["pid"] == process.pid else None


def _is_ready(base_url: str) -> bool:
    try:
        return httpx.get(f"{base_url}/api/ready").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _stack(record: dict[str, Any], process: subprocess.Popen[bytes], data_dir: Path) -> Stack:
    secrets = msgspec.json.decode((data_dir / "secrets.json").read_bytes())
    return Stack(
        base_url=record["base_url"],
        emulator_rest_url=record["emulator_rest_url"],
        emulator_realtime_url=record["emulator_realtime_url"],
        emulator_key=secrets["emulator_key"],
        admin_url=record["admin_url"],
        demo_user=record["demo_user"],
        token=access_token(data_dir),
        pid=process.pid,
        data_dir=data_dir,
        process=process,
    )
