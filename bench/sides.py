"""What is compared: the gateway as staging runs it, its peers, and no gateway at all, all fed by one source."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import psutil
from websockets.sync.client import connect

from bench.cores import BESIDE, UNDER_TEST, family, pinned
from bench.http_reader import request_bytes
from bench.peers.options import HOST
from bench.source.session import Plan, Sent
from bench.stack import LOGIN, Stack, running_stack

GATEWAY, DIRECT = "gateway", "direct"

PEERS = {
    "uvicorn + websockets": "bench.peers.uvicorn_websockets",
    "fastapi + dashscope": "bench.peers.fastapi_sdk",
    "granian + picows": "bench.peers.granian_picows",
}
"""By the name in reports; each a module to run."""

COMMON, SDK, FLOOR = PEERS

START_SECONDS = 30.0
"""Longest wait for a process to listen."""

STOP_SECONDS = 10.0

POLL_SECONDS = 0.05

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""What the source may tell at once: 20 bytes for each of a million deltas fit well."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the compared. `request(text)` are the bytes of its request; `pid` is None for the provider itself."""

    name: str
    address: tuple[str, int]
    request: Callable[[str], bytes]
    pid: int | None

    @property
    def pids(self) -> list[int]:
        """Its processes."""
        return [] if self.pid is None else family(self.pid)


@dataclass(frozen=True, slots=True)
class Source:
    """The running source."""

    realtime_url: str
    control_url: str

    def plan(self, plan: Plan) -> None:
        """How sessions speak from now on; what was sent before is forgotten."""
        self._tell({"plan": msgspec.to_builtins(plan)})

    def sent(self) -> dict[str, Sent]:
        """The sessions since the last plan, by the SHA-256 of their texts."""
        sessions = msgspec.json.decode(self._tell({}), type=list[Sent])
        return {session.text_sha256: session for session in sessions}

    def _tell(self, order: Mapping[str, Any]) -> str | bytes:
        with connect(self.control_url, max_size=MAX_ANSWER_BYTES, compression=None) as socket:
            socket.send(json.dumps(order))
            return socket.recv()


@dataclass(frozen=True, slots=True)
class Arena:
    """Everything that runs. `sides` by name; `database` are PostgreSQL's processes."""

    source: Source
    sides: dict[str, Side]
    stack: Stack

    @property
    def database(self) -> list[int]:
        return family(int(next(self.stack.data_dir.glob("postgres/**/postmaster.pid")).read_text().split()[0]))


@contextmanager
def running_arena(names: Sequence[str], *, streams: int) -> Iterator[Arena]:
    """The named sides, ready, each on the core under test; all else on the other. Raises RuntimeError when one does
    not start."""
    environment = {"QWEN_STARTS_PER_SECOND": "1000", "QWEN_STARTS_PER_MINUTE": "60000"}
    with ExitStack() as parts:
        folder = Path(parts.enter_context(TemporaryDirectory(prefix="utter-arena-")))
        with pinned(BESIDE):
            stack = parts.enter_context(running_stack(environment=environment))
            source = parts.enter_context(running_source())
        sides = {name: parts.enter_context(_side(name, stack, source, folder, streams)) for name in names}
        yield Arena(source, sides, stack)


@contextmanager
def running_source() -> Iterator[Source]:
    """A source of its own process."""
    with _process([sys.executable, "-m", "bench.source.server"], {}, stdout=subprocess.PIPE) as process:
        line = process.stdout.readline() if process.stdout else b""
        if not line:
            raise RuntimeError("the source did not start")
        ready = json.loads(line)
        yield Source(ready["realtime_url"], ready["control_url"])


@contextmanager
def _side(name: str, stack: Stack, source: Source, folder: Path, streams: int) -> Iterator[Side]:
    voice = stack.voices()[0]
    if name == GATEWAY:
        with _gateway(stack, source, folder, streams) as side:
            yield side
        return
    peer_body = {"voice_id": voice["provider_voice_id"], "language": "English"}
    if name == DIRECT:
        yield Side(name, ("", 0), lambda text: text.encode(), None)
        return
    port = _free_port()
    settings = {"DASHSCOPE_REALTIME_URL": source.realtime_url, "DASHSCOPE_API_KEY": stack.emulator_key}
    with (
        pinned(UNDER_TEST),
        _process([sys.executable, "-m", PEERS[name], "--port", str(port)], settings) as process,
    ):
        _wait_for_port(process, port)
        yield Side(name, (HOST, port), lambda text: _post("/stream", {}, {**peer_body, "text": text}), process.pid)


@contextmanager
def _gateway(stack: Stack, source: Source, folder: Path, streams: int) -> Iterator[Side]:
    """`utter serve` with everything on: JSON logs at their level, metrics, database, object store."""
    secrets = json.loads((stack.data_dir / "secrets.json").read_bytes())
    port = _free_port()
    settings = {
        "UTTER_ENV": "staging",
        "TTS_PROVIDER_MODE": "qwen",
        "DATABASE_URL": stack.admin_url.replace("//postgres@", f"//{LOGIN}@"),
        "OBJECTS_URL": str(stack.data_dir / "objects"),
        "UTTER_DATA_DIR": str(folder),
        "SUPABASE_JWT_SECRET": secrets["token_secret"],
        "UTTER_SIGNING_SECRET": secrets["signing_secret"],
        "DASHSCOPE_API_KEY": stack.emulator_key,
        "DASHSCOPE_BASE_URL": stack.emulator_rest_url,
        "DASHSCOPE_REALTIME_URL": source.realtime_url,
        "QWEN_STARTS_PER_SECOND": "1000",
        "QWEN_STARTS_PER_MINUTE": "60000",
        "UTTER_MAX_CONCURRENT_GENERATIONS": str(max(64, streams)),
        "UTTER_BIND_PORT": str(port),
        "UTTER_METRICS_BIND": f"{HOST}:{_free_port()}",
    }
    body = {"voice_id": stack.voices()[0]["id"], "language": "English"}

    def request(text: str) -> bytes:
        return _post("/api/generate/stream", stack.headers, {**body, "text": text})

    with (
        (folder / "serve.log").open("wb") as log,
        pinned(UNDER_TEST),
        _process([sys.executable, "-m", "gateway.cli", "serve"], settings, stderr=log) as process,
    ):
        _wait_for_port(process, port)
        yield Side(GATEWAY, (HOST, port), request, process.pid)


def _post(target: str, headers: dict[str, str], body: dict[str, str]) -> bytes:
    return request_bytes("POST", target, headers, json.dumps(body).encode())


@contextmanager
def _process(command: list[str], settings: Mapping[str, str], **streams: Any) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, env={**os.environ, **settings}, start_new_session=True, **streams)
    try:
        yield process
    finally:
        _end(process)
        if process.stdout:
            process.stdout.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it and all below it."""
    if process.poll() is not None:
        return
    all_of_it = [psutil.Process(pid) for pid in family(process.pid)]
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for left in psutil.wait_procs(all_of_it, timeout=1.0)[1]:
        left.kill()


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def _wait_for_port(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection((HOST, port)).close()
        except OSError:
            time.sleep(POLL_SECONDS)
        else:
            return
    raise RuntimeError(f"{process.args!r} does not listen")
