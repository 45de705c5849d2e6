"""All that can break, as real processes: gateways, emulator, PostgreSQL and an S3 server, with proxies between."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import anyio
import anyio.to_thread
import httpx
import msgspec
import psutil

from gateway.auth import mint_token
from storage import voices
from storage.database import Database
from storage.embedded import LOGIN, EmbeddedPostgres
from storage.migrate import migrate
from storage.object_keys import BUCKETS
from tests.chaos.proxy import Proxy, open_proxy, tcp, unix
from tests.support.cli import command
from tests.support.emulator import API_KEY, Emulator, start_emulator
from tests.support.rows import new_voice
from tests.support.s3 import REGION, start_s3

SECRET = "a secret of at least thirty-two bytes, for chaos"

S3_KEY = {"AWS_ACCESS_KEY_ID": "key-of-nobody", "AWS_SECRET_ACCESS_KEY": "secret-of-nobody"}

LEASE_SECONDS = 2.0
"""Short, so that a run sees many of them run out."""

READY_SECONDS = 60.0
"""Longest wait for a gateway; it takes 2 s on an idle machine."""

SPEED = 8.0
"""Times playback: many generations a minute, each long enough to be killed in the middle."""

FIRST_AUDIO_DELAY_SECONDS = 0.1


@dataclass
class Gateway:
    """One place for a gateway process, which dies and is started again on the same port and spool."""

    name: str
    port: int
    environment: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        self.starts += 1
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                command("serve"), env=self.environment, stdout=output, stderr=output, start_new_session=True
            )

    def signal(self, number: signal.Signals) -> None:
        if self.process is not None and self.running:
            self.process.send_signal(number)

    def kill(self) -> None:
        """As the kernel does it when memory is short: no time for anything."""
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    async def over(self) -> None:
        """Wait for its end."""
        if self.process is not None:
            await anyio.to_thread.run_sync(self.process.wait)

    async def ready(self) -> None:
        async with httpx.AsyncClient(trust_env=False) as http:
            deadline = time.monotonic() + READY_SECONDS
            while time.monotonic() < deadline:
                try:
                    if (await http.get(f"{self.url}/api/health")).status_code == 200:
                        return
                except httpx.HTTPError:
                    pass
                if not self.running:
                    raise RuntimeError(f"gateway {self.name} ended at its start; see {self.log}")
                await anyio.sleep(0.05)
        raise RuntimeError(f"gateway {self.name} did not become ready; see {self.log}")

    def descriptors(self) -> int:
        return psutil.Process(self.process.pid).num_fds() if self.process is not None and self.running else 0


@dataclass(frozen=True)
class User:
    """Somebody with a voice."""

    id: UUID
    voice_id: UUID

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {mint_token(SECRET, self.id)}"}


@dataclass
class World:
    """What a scenario breaks, and who uses it meanwhile."""

    folder: Path
    postgres: EmbeddedPostgres
    emulator: Emulator
    objects_url: str
    database_proxy: Proxy
    store_proxy: Proxy
    provider_proxy: Proxy
    gateways: list[Gateway] = field(default_factory=list)
    users: list[User] = field(default_factory=list)

    @property
    def spools(self) -> list[Path]:
        return [Path(gateway.environment["UTTER_SPOOL_DIR"]) for gateway in self.gateways]

    @property
    def login_url(self) -> str:
        """Past the proxy, for whoever judges."""
        return self.postgres.url(LOGIN)

    def restart_postgres(self) -> None:
        """Blocks until it is back."""
        self.postgres.stop()
        self.postgres.start()


@asynccontextmanager
async def open_world(folder: Path, *, gateways: int, users: int, speed: float = SPEED) -> AsyncIterator[World]:
    """Up and ready; all of it is gone afterwards. The provider speaks at `speed` times playback."""
    options = ("--speed", str(speed), "--first-audio-delay", str(FIRST_AUDIO_DELAY_SECONDS))
    async with AsyncExitStack() as stack:
        emulator = stack.enter_context(start_emulator(folder / "emulator", options))
        s3 = stack.enter_context(start_s3(folder))
        postgres = EmbeddedPostgres(folder / "postgres")
        stack.enter_context(postgres)
        await anyio.to_thread.run_sync(migrate, postgres.admin_url)
        await anyio.to_thread.run_sync(postgres.create_login_role)
        async with httpx.AsyncClient(base_url=s3.url, timeout=30, trust_env=False) as http:
            for bucket in BUCKETS:
                (await http.put(f"/{bucket}")).raise_for_status()
        s3_port, provider = urlsplit(s3.url).port, urlsplit(emulator.realtime_url)
        database_proxy = await stack.enter_async_context(open_proxy(unix(lambda: _socket_of(postgres))))
        store_proxy = await stack.enter_async_context(open_proxy(tcp("127.0.0.1", s3_port or 80)))
        provider_proxy = await stack.enter_async_context(open_proxy(tcp("127.0.0.1", provider.port or 80)))
        world = World(
            folder,
            postgres,
            emulator,
            f"s3://{{bucket}}?region={REGION}&endpoint={s3.url}",
            database_proxy,
            store_proxy,
            provider_proxy,
        )
        world.users = [await _add_user(world) for _ in range(users)]
        world.gateways = [_place(world, number) for number in range(gateways)]
        stack.enter_context(_ended(world))
        for gateway in world.gateways:
            gateway.start()
            await gateway.ready()
        yield world


@contextmanager
def _ended(world: World) -> Iterator[None]:
    try:
        yield
    finally:
        for gateway in world.gateways:
            gateway.kill()


def _place(world: World, number: int) -> Gateway:
    home = world.folder / f"gateway-{number}"
    home.mkdir()
    port = _free_port()
    provider = urlsplit(world.emulator.realtime_url)
    return Gateway(
        name=str(number),
        port=port,
        log=home / "log",
        environment={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "HOME": str(home),
            "UTTER_ENV": "staging",
            "TTS_PROVIDER_MODE": "qwen",
            "DATABASE_URL": f"postgresql://{LOGIN}@127.0.0.1:{world.database_proxy.port}/utter",
            "DATABASE_MAX_CONNECTIONS": "5",
            "OBJECTS_URL": f"s3://{{bucket}}?region={REGION}&endpoint=http://127.0.0.1:{world.store_proxy.port}",
            **S3_KEY,
            "UTTER_DATA_DIR": str(home),
            "UTTER_SPOOL_DIR": str(home / "spool"),
            "SUPABASE_JWT_SECRET": SECRET,
            "UTTER_SIGNING_SECRET": SECRET,
            "DASHSCOPE_API_KEY": API_KEY,
            "DASHSCOPE_BASE_URL": world.emulator.rest_url,
            "DASHSCOPE_REALTIME_URL": f"ws://127.0.0.1:{world.provider_proxy.port}{provider.path}",
            "QWEN_STARTS_PER_SECOND": "1000",
            "QWEN_STARTS_PER_MINUTE": "60000",
            "UTTER_CIRCUIT_FAILURES": "10000",
            "UTTER_BIND_PORT": str(port),
            "UTTER_LEASE_SECONDS": str(LEASE_SECONDS),
            "UTTER_TASK_ATTEMPTS": "10",
            "UTTER_SWEEP_SECONDS": "1",
            "UTTER_DRAIN_SECONDS": "20",
            "UTTER_LOG_LEVEL": "info",
        },
    )


async def _add_user(world: World) -> User:
    user_id = uuid4()
    world.postgres.run_script("insert into auth.users (id) values (:'id')", id=str(user_id))
    provider_voice = await anyio.to_thread.run_sync(world.emulator.clone, f"chaos{user_id.hex[:8]}")
    voice = msgspec.structs.replace(new_voice(user_id), provider_voice_id=provider_voice, reference_object_key=None)
    async with Database.open(world.login_url, max_connections=1) as database, database.as_user(user_id) as transaction:
        await voices.insert_voice(transaction, voice)
    return User(user_id, voice.id)


def _socket_of(postgres: EmbeddedPostgres) -> str:
    (folder,) = parse_qs(urlsplit(postgres.admin_url).query)["host"]
    return f"{folder}/.s.PGSQL.5432"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
