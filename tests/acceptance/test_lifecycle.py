"""`utter dev` as a process: how it starts, ends, dies and comes back."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from bench.stack import LOG, START_SECONDS, STOP_SECONDS, Stack, started
from bench.texts import english
from tests.acceptance.client import Client, Heard, until
from tests.support.stack import LIMITS

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[2]

SPEED = 4.0
"""Times playback: a text of some hundred characters is still being spoken while a test looks around."""


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Not pytest's own folder, which root's database account may not pass through."""
    with TemporaryDirectory(prefix="utter-lifecycle-") as folder:
        yield Path(folder)


@dataclass(frozen=True)
class Past:
    """A data directory that was used before, and what it was used for."""

    data_dir: Path
    stack: Stack
    voices: list[dict[str, Any]]
    bill: dict[str, int]
    heard: Heard
    start_seconds: float


@pytest.fixture(scope="module")
def past() -> Iterator[Past]:
    """One for all tests that need no first start of their own: a later one is quicker, and what everybody has."""
    with TemporaryDirectory(prefix="utter-lifecycle-") as folder:
        began = time.monotonic()
        with start(Path(folder)) as stack, client_of(stack) as client:
            seconds = time.monotonic() - began
            heard = client.stream("Remember me.")
            assert client.ended(heard.task_id)["status"] == "completed"
            past = Past(Path(folder), stack, stack.voices(), billing(stack), heard, seconds)
        yield past


def start(
    data_dir: Path, port: int = 0, environment: Mapping[str, str] = MappingProxyType({})
) -> AbstractContextManager[Stack]:
    return started(data_dir, port=port, speed=SPEED, environment={**LIMITS, **environment})


@contextmanager
def client_of(stack: Stack) -> Iterator[Client]:
    with closing(Client(stack)) as client:
        yield client


def log_of(stack: Stack) -> str:
    return (stack.data_dir / LOG).read_text()


def family(stack: Stack) -> list[psutil.Process]:
    """The process and everything below it: PostgreSQL's processes, the emulator and its speech worker."""
    process = psutil.Process(stack.pid)
    found = [process, *process.children(recursive=True)]
    commands = [" ".join(member.cmdline()) for member in found]
    for part in ("/bin/postgres", "bench emulate", "bench.emulator.speech_worker"):
        assert any(part in command for command in commands), f"no {part} in {commands}"
    return found


def sockets_of(processes: list[psutil.Process]) -> list[Path]:
    """The folder that PostgreSQL was told to make its socket in."""
    postmaster = next(command for process in processes if "-k" in (command := process.cmdline()))
    return [Path(postmaster[postmaster.index("-k") + 1])]


def ends(process: subprocess.Popen[bytes], status: int) -> None:
    assert process.wait(STOP_SECONDS) == status


def assert_nothing_is_left(stack: Stack, members: list[psutil.Process], sockets: list[Path]) -> None:
    _, alive = psutil.wait_procs(members, timeout=STOP_SECONDS)
    assert not alive
    assert sockets
    assert not [folder for folder in sockets if folder.exists()]
    assert not (stack.data_dir / "running.json").exists()
    assert not (stack.data_dir / "postgres" / "cluster" / "postmaster.pid").exists()
    for lock in (stack.data_dir / "lock", stack.data_dir / "postgres" / "lock"):
        with lock.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    address = urlsplit(stack.base_url)
    with pytest.raises(ConnectionRefusedError), socket.create_connection((address.hostname or "", address.port or 0)):
        pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_everything_in_order(data_dir: Path, number: signal.Signals) -> None:
    with start(data_dir) as stack:
        members = family(stack)
        sockets = sockets_of(members)
        os.killpg(stack.pid, number)  # as Ctrl-C in a terminal does
        ends(stack.process, 0)
        assert_nothing_is_left(stack, members, sockets)
        assert "Traceback" not in log_of(stack)


MOMENTS: dict[str, Callable[[Path], bool]] = {
    "before anything runs": lambda folder: "Starting PostgreSQL" in (folder / LOG).read_text(),
    "while the database is made": lambda folder: (folder / "postgres" / "cluster.new").exists(),
    "while the voices are made": lambda folder: "server.listening" in (folder / LOG).read_text(),
}


@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS)
def test_a_signal_during_the_start_ends_it_in_order(data_dir: Path, moment: Callable[[Path], bool]) -> None:
    with (data_dir / LOG).open("wb") as output:
        process = subprocess.Popen(dev_command(data_dir), stdout=output, stderr=output, start_new_session=True)
    until(lambda: moment(data_dir) or None)
    members = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    status = process.wait(STOP_SECONDS)
    assert status == 0, (data_dir / LOG).read_text()
    _, alive = psutil.wait_procs(members, timeout=STOP_SECONDS)
    assert not alive
    assert "Traceback" not in (data_dir / LOG).read_text()
    assert not (data_dir / "running.json").exists()
    assert processes_on(data_dir) == []


def test_a_second_start_keeps_what_was_made_and_is_quicker(past: Past) -> None:
    assert past.bill["clones"] == past.bill["designs"] == 1
    began = time.monotonic()
    with start(past.data_dir) as stack, client_of(stack) as client:
        assert time.monotonic() - began < past.start_seconds
        assert stack.voices() == past.voices
        assert billing(stack) == past.bill
        # A token from before: user and secrets are the same.
        client.http.headers.update(past.stack.headers)
        assert client.http.get("/api/me").json()["user"] == {"id": past.stack.demo_user}
        assert client.http.get(f"/api/generations/{past.heard.generation_id}/stream").content == past.heard.audio
        assert client.stream("And speak again.").audio


def test_a_demo_voice_that_its_user_deleted_stays_deleted(data_dir: Path) -> None:
    with start(data_dir) as first, client_of(first) as client:
        assert client.http.delete(f"/api/voices/{client.voice['id']}").status_code == 200
        bill = billing(first)
    with start(data_dir) as second:
        assert [voice["source"] for voice in second.voices()] == ["designed"]
        assert billing(second) == bill


def test_after_kill_9_the_next_start_comes_up_on_the_same_port(past: Past) -> None:
    with ExitStack() as first_life:
        first = first_life.enter_context(start(past.data_dir))
        client = first_life.enter_context(client_of(first))
        members = family(first)
        sockets = sockets_of(members)
        whole = client.stream("Stored before the crash.")
        client.ended(whole.task_id)
        v1 = client.http.post("/api/generate", json=client.body(english(600))).json()
        with client.streaming(english(600)) as response:
            next(response.iter_raw())
            v2 = response.headers["X-Utter-Task-Id"]
            first.process.kill()
            first.process.wait()
        secrets = (past.data_dir / "secrets.json").read_bytes()
        voices, port = client.voice["id"], urlsplit(first.base_url).port
    with start(past.data_dir, port=port or 0) as second, client_of(second) as client:
        assert urlsplit(second.base_url).port == port
        _, alive = psutil.wait_procs(members, timeout=STOP_SECONDS)
        assert not alive, "a child of the killed one still runs"
        assert not [folder for folder in sockets if folder.exists()]
        assert (past.data_dir / "secrets.json").read_bytes() == secrets
        assert client.voice["id"] == voices
        assert client.ended(v1["task_id"])["status"] == "completed", "a v1 task is spoken again"
        stream = client.ended(v2)
        assert (stream["status"], stream["provider_status"]) == ("failed", "failed"), "nobody waits for it any more"
        assert "restarted" in stream["error"]
        stored = client.http.get(f"/api/generations/{whole.generation_id}/stream")
        assert stored.content == whole.audio
        again = client.http.post("/api/generate", json=client.body("The guard is free."))
        assert again.status_code == 200, "the generation of the dead server still counts as active"
        assert client.ended(again.json()["task_id"])["status"] == "completed"


def test_a_data_directory_in_use_is_said_to_be(past: Past) -> None:
    with start(past.data_dir) as first, client_of(first) as client:
        record = (past.data_dir / "running.json").read_bytes()
        finished = run_dev(past.data_dir)
        assert finished.returncode == 1
        assert "in use by another" in words(finished)
        assert "--data-dir" in words(finished)
        assert "Traceback" not in finished.stderr
        assert (past.data_dir / "running.json").read_bytes() == record
        assert client.stream("Not disturbed.").audio


def test_a_port_in_use_is_said_to_be(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        finished = run_dev(data_dir, "--port", str(port))
    assert finished.returncode == 1
    assert f"port {port}: another program uses it" in words(finished)
    assert "--port" in words(finished)
    assert "Traceback" not in finished.stderr
    assert processes_on(data_dir) == []
    assert not (data_dir / "running.json").exists()


def test_settings_that_cannot_be_used_are_listed(data_dir: Path) -> None:
    finished = run_dev(data_dir, environment={"QWEN_MAX_TEXT_CHARS": "9999", "TTS_PROVIDER_MODE": "piano"})
    assert finished.returncode == 1
    assert "QWEN_MAX_TEXT_CHARS" in words(finished)
    assert "TTS_PROVIDER_MODE" in words(finished)
    assert "Traceback" not in finished.stderr
    assert processes_on(data_dir) == []


def test_a_running_stream_is_finished_and_new_work_refused(past: Past) -> None:
    with start(past.data_dir) as stack, client_of(stack) as client, client_of(stack) as other:
        with client.streaming(english(200)) as response:
            pieces = response.iter_raw()
            audio = next(pieces)
            assert other.http.get("/api/health").status_code == 200  # its connection is open before the drain begins
            stack.process.send_signal(signal.SIGTERM)
            until(lambda: "server.draining" in log_of(stack) or None)
            refused = other.http.post("/api/generate/stream", json=other.body("Too late."))
            audio += b"".join(pieces)  # raises when the end is not a clean one
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) > 0
        assert "restart" in refused.json()["detail"]
        ends(stack.process, 0)
    with start(past.data_dir) as stack, client_of(stack) as client:
        task = client.task(response.headers["X-Utter-Task-Id"])
        assert (task["status"], task["result"]["audio_bytes"]) == ("completed", len(audio))


def test_a_second_signal_ends_what_runs_with_honest_words(past: Past) -> None:
    with start(past.data_dir) as stack, client_of(stack) as client:
        members = family(stack)
        sockets = sockets_of(members)
        # A break either way: FIN without the last chunk, or RST where there is no time left to say so.
        broken = pytest.raises((httpx.RemoteProtocolError, httpx.ReadError))
        with client.streaming(english(1500)) as response, broken:
            for _ in response.iter_raw():
                if stack.process.poll() is None and "server.draining" not in log_of(stack):
                    stack.process.send_signal(signal.SIGTERM)
                    until(lambda: "server.draining" in log_of(stack) or None)
                    stack.process.send_signal(signal.SIGTERM)
        ends(stack.process, 0)
        assert_nothing_is_left(stack, members, sockets)
    with start(past.data_dir) as stack, client_of(stack) as client:
        task = client.task(response.headers["X-Utter-Task-Id"])
        assert task["status"] == "failed"
        assert "restarted" in task["error"]


@pytest.mark.parametrize(
    ("part", "said"), [("bench emulate", "emulated speech provider"), ("/bin/postgres", "PostgreSQL")]
)
def test_a_part_that_dies_is_noticed_in_words(past: Past, part: str, said: str) -> None:
    with start(past.data_dir) as stack:
        members = family(stack)
        sockets = sockets_of(members)
        next(process for process in members if part in " ".join(process.cmdline())).kill()
        ends(stack.process, 1)
        last = log_of(stack).split()
        assert said in " ".join(last)
        assert "ended by itself" in " ".join(last)
        assert "Traceback" not in log_of(stack)
        psutil.wait_procs(members, timeout=STOP_SECONDS)
        assert processes_on(past.data_dir) == []
        assert not (past.data_dir / "running.json").exists()
        assert not [folder for folder in sockets if folder.exists()]


def dev_command(data_dir: Path, *options: str) -> list[str]:
    command = [sys.executable, "-m", "gateway.cli", "dev", "--data-dir", str(data_dir), "--speed", str(SPEED)]
    return [*command, *(options or ("--port", "0"))]


def run_dev(
    data_dir: Path, *options: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """A start that is expected to fail."""
    return subprocess.run(
        dev_command(data_dir, *options),
        capture_output=True,
        text=True,
        check=False,
        timeout=START_SECONDS,
        env={**os.environ, **(environment or {})},
        cwd=ROOT,
    )


def words(finished: subprocess.CompletedProcess[str]) -> str:
    """What it said, however the terminal's width broke the lines."""
    return " ".join(finished.stderr.split())


def billing(stack: Stack) -> dict[str, int]:
    bill: dict[str, int] = httpx.get(f"{stack.emulator_rest_url}/_emulator/billing").json()
    return bill


def processes_on(data_dir: Path) -> list[str]:
    """Command lines that name the folder."""
    lines = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    return [line for line in lines if str(data_dir) in line]
