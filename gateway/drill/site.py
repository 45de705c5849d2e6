"""A deployment of its own for a drill: database, object store, both providers emulated, and gateways as processes.

Everything is on free ports and below one scratch folder, and gone afterwards. Nothing of the shell's settings reaches
it: who drills with a production's environment at hand must not touch that production.
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE
from tempfile import TemporaryDirectory
from uuid import UUID, uuid4

import anyio
import anyio.to_thread
import httpx
import msgspec
from anyio.abc import Process

from gateway.auth import mint_token
from gateway.dev import modal_endpoints
from gateway.emulator_process import ChildDied, Emulator, open_emulator
from gateway.settings import ProviderMode
from gateway.visitor import Visitor, open_http
from storage.database import Database
from storage.embedded import EmbeddedPostgres
from storage.migrate import migrate
from storage.objects import ObjectStore
from storage.profiles import create_local_user

SPEED = 20.0
"""Pace of the emulated speech, times playback: a long text takes seconds, and is still under way when it has to be."""

FIRST_AUDIO_SECONDS = 0.1

MODAL_SECONDS = 3.5
"""How long a job at Modal takes: longer than the drain, so that a flip always leaves some behind."""

DRAIN_SECONDS = 3.0
"""Time for running work to finish at a flip; short, so that some of it does not."""

LEASE_SECONDS = 2.0
"""After so long the others take over what a process left: as short, for the same reason."""

READY_SECONDS = 30.0
"""Longest wait for a gateway; it takes two seconds on an idle machine."""

STOP_SECONDS = DRAIN_SECONDS + 10.0
"""Longest wait for its end."""

POLL_SECONDS = 0.05
"""Between two looks at its log."""

SECRET_BYTES = 32

EMULATOR_KEY = "sk-drill"
"""The key of the emulated account."""

_SERVE = """
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start()  # ends with the drill
from gateway.cli import main
main(["serve"])
"""
"""`utter serve`, as a process that does not outlive the drill, not even its kill -9."""

_PASSED_ON = ("PATH", "PYTHONPATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "VIRTUAL_ENV")
"""All that a gateway of the drill gets of the shell's environment."""


class DrillBroken(Exception):
    """The drill could not be held; it says nothing about the restoration. The message says why."""


@dataclass(frozen=True, slots=True)
class Instance:
    """A gateway process that is ready, and the mode it is in."""

    mode: ProviderMode
    base_url: str
    process: Process

    async def stop(self) -> int:
        """Ask it to end, as an orchestrator does, and wait. Its exit status. Raises `DrillBroken` when it hangs."""
        with suppress(ProcessLookupError):  # it ended a moment ago
            self.process.send_signal(signal.SIGTERM)
        with anyio.move_on_after(STOP_SECONDS):
            return await self.process.wait()
        raise DrillBroken(f"The gateway in {self.mode} mode did not end within {STOP_SECONDS:.0f} s of SIGTERM.")


class Site:
    """What stays the same through all flips. `front` is where users come in; a flip moves it."""

    def __init__(
        self, folder: Path, emulator: Emulator, database_urls: tuple[str, str], http: httpx.AsyncClient
    ) -> None:
        self.folder = folder
        self.emulator = emulator
        self.http = http
        self.objects = ObjectStore.open(folder / "objects")
        self.spool = folder / "spool"
        self.front = ""
        self.admin_url, self.gateway_url = database_urls
        self._secret = secrets.token_urlsafe(SECRET_BYTES)
        self._started = 0

    @asynccontextmanager
    async def database(self) -> AsyncIterator[Database]:
        """As the gateway's own login."""
        async with Database.open(self.gateway_url, max_connections=1) as database:
            yield database

    async def add_user(self) -> User:
        """Somebody new."""
        user_id = uuid4()
        async with Database.open(self.admin_url, max_connections=1) as database, database.as_service() as transaction:
            await create_local_user(transaction, user_id)
        return User(self, user_id, mint_token(self._secret, user_id))

    async def bill(self) -> Mapping[str, int]:
        """What both providers would charge for until now."""
        return await self._emulator("GET", "billing")

    async def order_faults(self, key: str, *faults: str, times: int | None = 1) -> None:
        """Make the next calls of an emulated REST service go another way, or all from now on (None)."""
        await self._emulator("PUT", "faults", {"voice": key, "faults": faults, "times": times})

    async def _emulator(self, method: str, name: str, body: object = None) -> Mapping[str, int]:
        answer = await self.http.request(method, f"{self.emulator.address.rest_url}/_emulator/{name}", json=body)
        answer.raise_for_status()
        return msgspec.json.decode(answer.content or b"{}", type=dict[str, int])

    @asynccontextmanager
    async def gateway(self, mode: ProviderMode) -> AsyncIterator[Instance]:
        """A gateway in this mode, ready; ended with the block at the latest. Raises `DrillBroken`."""
        self._started += 1
        log = self.folder / f"gateway-{self._started}.log"
        with log.open("wb") as output:
            process = await anyio.open_process(
                [sys.executable, "-c", _SERVE],
                stdin=PIPE,
                stdout=output,
                stderr=output,
                env=self._environment(mode),
                start_new_session=True,  # Ctrl-C is for the drill, which ends what it started
            )
        try:
            yield Instance(mode, await self._ready(process, log), process)
        finally:
            with anyio.CancelScope(shield=True):
                if process.returncode is None:
                    process.kill()
                await process.wait()
                await process.aclose()

    def _environment(self, mode: ProviderMode) -> dict[str, str]:
        address = self.emulator.address
        return {
            **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
            "UTTER_ENV": "staging",
            "TTS_PROVIDER_MODE": mode.value,
            "DATABASE_URL": self.gateway_url,
            "OBJECTS_URL": str(self.folder / "objects"),
            "UTTER_DATA_DIR": str(self.folder / "data"),
            "UTTER_SPOOL_DIR": str(self.spool),
            "SUPABASE_JWT_SECRET": self._secret,
            "UTTER_SIGNING_SECRET": self._secret,
            "DASHSCOPE_API_KEY": EMULATOR_KEY,
            "DASHSCOPE_BASE_URL": address.rest_url,
            "DASHSCOPE_REALTIME_URL": address.realtime_url,
            **modal_endpoints(address),
            "QWEN_STARTS_PER_SECOND": "1000",  # nobody's account
            "QWEN_STARTS_PER_MINUTE": "60000",
            "UTTER_BIND_PORT": "0",
            "UTTER_DRAIN_SECONDS": str(DRAIN_SECONDS),
            "UTTER_LEASE_SECONDS": str(LEASE_SECONDS),
            "UTTER_SWEEP_SECONDS": "0.5",
            "UTTER_LOG_LEVEL": "info",
        }

    async def _ready(self, process: Process, log: Path) -> str:
        """Its address, once it takes work."""
        with anyio.move_on_after(READY_SECONDS):
            while process.returncode is None:
                url = _address(log)
                if url is not None and (await self.http.get(f"{url}/api/ready")).status_code == httpx.codes.OK:
                    return url
                await anyio.sleep(POLL_SECONDS)
        raise DrillBroken(f"A gateway did not become ready. It said: {_last_words(log)}")


@dataclass(frozen=True, slots=True)
class User:
    """Somebody of the drill, wherever the front is at the time."""

    site: Site
    id: UUID
    token: str

    @property
    def now(self) -> Visitor:
        """At the front as it is now."""
        return self.at(self.site.front)

    def at(self, base_url: str) -> Visitor:
        """At one gateway."""
        return Visitor(self.site.http, base_url, self.token)


@asynccontextmanager
async def open_site() -> AsyncIterator[Site]:
    """Everything but gateways, up; all of it is gone afterwards. Raises `DrillBroken` and `StorageError`."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="utter-drill-")))
        try:
            emulator = await stack.enter_async_context(
                open_emulator(
                    folder / "emulator",
                    EMULATOR_KEY,
                    speed=SPEED,
                    first_audio_delay=FIRST_AUDIO_SECONDS,
                    modal_seconds=MODAL_SECONDS,
                )
            )
        except ChildDied as error:
            raise DrillBroken(str(error)) from error
        postgres = EmbeddedPostgres(folder / "postgres", durable=False)
        stack.push_async_callback(_stop, postgres)
        urls = await anyio.to_thread.run_sync(_start, postgres)
        yield Site(folder, emulator, urls, await stack.enter_async_context(open_http()))


def _start(postgres: EmbeddedPostgres) -> tuple[str, str]:
    """The URLs of the schema's owner and of the gateway."""
    admin_url = postgres.start()
    migrate(admin_url)
    return admin_url, postgres.create_login_role()


async def _stop(postgres: EmbeddedPostgres) -> None:
    """Also while everything is being cancelled; it bounds itself."""
    with anyio.CancelScope(shield=True):
        await anyio.to_thread.run_sync(postgres.stop)


def _last_words(log: Path) -> str:
    return " / ".join(log.read_text(errors="replace").strip().splitlines()[-3:])


def _address(log: Path) -> str | None:
    for line in log.read_bytes().splitlines():
        if b'"server.listening"' in line:
            with suppress(msgspec.DecodeError):  # it is being written
                return str(msgspec.json.decode(line, type=dict[str, object])["url"])
    return None
