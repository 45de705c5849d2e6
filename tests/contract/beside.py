"""Another gateway beside a world's own, on the same database and provider, that a test may starve, cut off or stop."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import httpx
import msgspec

from bench.stack import START_SECONDS, STOP_SECONDS
from gateway.data_dir import Secrets
from tests.contract.world import READ_SECONDS, User, World

LOOK_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Beside:
    """`utter serve` as a process. Its database login is its own, so that only it can be locked out."""

    world: World
    process: subprocess.Popen[bytes]
    http: httpx.Client
    login: str

    def ask(self, user: User, method: str, path: str, **how: Any) -> httpx.Response:
        return self.http.request(method, path, headers=user.headers, **how)

    @contextmanager
    def without_database(self) -> Iterator[None]:
        """Its login gets no connection in the body, and loses those it has."""
        self.world.sql.run(f'alter role "{self.login}" nologin')
        self.world.sql.run("select pg_terminate_backend(pid) from pg_stat_activity where usename = $1", self.login)
        try:
            yield
        finally:
            self.world.sql.run(f'alter role "{self.login}" login')

    def drain(self) -> None:
        """Ask it to stop; what runs may finish meanwhile."""
        self.process.send_signal(signal.SIGTERM)


@contextmanager
def beside(world: World, **environment: str) -> Iterator[Beside]:
    """Start one in the world's mode; `environment` says what is different. Raises AssertionError when it does not."""
    login = f"beside_{uuid4().hex}"
    world.sql.run(f'create role "{login}" login in role utter_gateway')
    with TemporaryDirectory(prefix="utter-beside-") as folder, _free_port() as port:
        process = _start(world, login, port, Path(folder), environment)
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=READ_SECONDS, trust_env=False) as http:
                _wait_until_ready(http, process, Path(folder) / "log")
                yield Beside(world, process, http, login)
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise
            world.sql.run(f'drop owned by "{login}"')
            world.sql.run(f'drop role "{login}"')


def modal_endpoints(world: World, flavour: str = "modal") -> dict[str, str]:
    """The settings that name Modal's endpoints at the emulator, in one of its two flavours (v1 contract 4.4)."""
    base = f"{world.stack.emulator_rest_url}/{flavour}"
    jobs = {f"MODAL_JOB_{call.upper()}": f"{base}/{call}" for call in ("submit", "status", "result", "cancel")}
    return {**jobs, "MODAL_ENDPOINT_VOICE_DESIGN": f"{base}/design"}


def _start(world: World, login: str, port: int, folder: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    stack = world.stack
    secrets = msgspec.json.decode((stack.data_dir / "secrets.json").read_bytes(), type=Secrets)
    database = stack.admin_url.replace("postgresql://postgres@", f"postgresql://{login}@")
    settings = {
        "UTTER_ENV": "local",
        "TTS_PROVIDER_MODE": world.mode,
        "UTTER_BIND_PORT": str(port),
        "UTTER_DATA_DIR": str(folder),
        "UTTER_TOKEN_SECRET": secrets.token_secret,
        "UTTER_SIGNING_SECRET": secrets.signing_secret,
        "UTTER_DRAIN_SECONDS": "1",
        "DATABASE_URL": database,
        "OBJECTS_URL": str(world.objects),
        "DASHSCOPE_API_KEY": stack.emulator_key,
        "DASHSCOPE_BASE_URL": stack.emulator_rest_url,
        "DASHSCOPE_REALTIME_URL": stack.emulator_realtime_url,
        **modal_endpoints(world),
        **environment,
    }
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "gateway.cli", "serve"],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **settings},
            start_new_session=True,
        )


def _wait_until_ready(http: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if http.get("/api/ready").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(LOOK_SECONDS)
    raise AssertionError(f"utter serve did not become ready; it said:\n{log.read_text()[-4000:]}")


@contextmanager
def _free_port() -> Iterator[int]:
    """A port that nobody else listens on. Bound and not listening, so that it stays free until ours takes it."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
    yield port
