"""`utter dev`: the whole product on one machine, from one process, in a few seconds.

PostgreSQL and the emulator are child processes; the gateway itself runs here. Whatever happens to this process, the
next start on the same data directory finds what is left over, ends it and goes on with the same users, secrets and
voices.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import psutil

from gateway.app import create_app
from gateway.data_dir import Child, DataDir, RunRecord, Secrets
from gateway.demo import DEMO_USER, DemoFailed, create_user, prepare_voices
from gateway.emulator_process import ChildDied, Emulator, EmulatorAddress, open_emulator
from gateway.greeting import greeting
from gateway.logs import configure_logging
from gateway.server import serve
from gateway.services import open_services
from gateway.settings import Settings, load_settings
from gateway.shutdown import Shutdown, stop_on_signals
from gateway.task_groups import open_task_group
from storage.embedded import EmbeddedPostgres
from storage.migrate import migrate

LEFTOVER_SECONDS = 5.0
"""How long a left-over process may take to end before it is killed."""

SIGNAL_SECONDS = 0.5
"""A signal to the whole group of processes has reached all of them by then."""

WATCH_SECONDS = 1.0
"""Between two looks at whether PostgreSQL is still there."""

NOT_READY = "The demo voices are being made."


@dataclass(frozen=True, slots=True)
class DevOptions:
    """What `utter dev` can be told. `speed` is the emulator's, 1.0 being real pace; port 0 takes a free one."""

    data_dir: Path
    port: int
    speed: float = 1.0
    first_audio_delay: float = 0.1


@dataclass(frozen=True, slots=True)
class Parts:
    """What runs beside the gateway, and the settings that point it there."""

    settings: Settings
    emulator: Emulator
    postgres: EmbeddedPostgres


async def run_dev(options: DevOptions, say: Callable[[str], None]) -> None:
    """Run until a signal stops it, also one that comes before everything is up.

    Raises `AlreadyRunning`, `CannotListen`, `SettingsError`, `ChildDied`, `DemoFailed` and `StorageError`, perhaps
    inside exception groups.
    """
    home = DataDir(options.data_dir)
    with home.locked():
        async with stop_on_signals() as stop, AsyncExitStack() as stack:
            say("Starting PostgreSQL and the emulated speech provider ...")
            parts: Parts | None = None
            async with _given_up_at(stop):
                parts = await _start(home, options, stack)
            if parts is not None:
                stack.callback(home.forget_record)
                await _serve(home, parts, stop, say)


@asynccontextmanager
async def _given_up_at(stop: Shutdown) -> AsyncIterator[None]:
    """Cancel the body when a stop is asked for."""
    async with open_task_group() as tasks:

        async def give_up() -> None:
            await stop.requested()
            tasks.cancel_scope.cancel()

        tasks.start_soon(give_up)
        yield
        tasks.cancel_scope.cancel()


async def _start(home: DataDir, options: DevOptions, stack: AsyncExitStack) -> Parts:
    """Bring up the parts; `stack` ends them. A signal that comes meanwhile waits for a step of PostgreSQL to end."""
    await end_leftovers(home.read_record())
    secrets = home.secrets()
    emulator = await stack.enter_async_context(
        open_emulator(
            home.emulator, secrets.emulator_key, speed=options.speed, first_audio_delay=options.first_audio_delay
        )
    )
    postgres = EmbeddedPostgres(home.postgres)
    stack.push_async_callback(_stop, postgres)
    admin_url = await anyio.to_thread.run_sync(postgres.start)
    await anyio.to_thread.run_sync(migrate, admin_url)
    gateway_url = await anyio.to_thread.run_sync(postgres.create_login_role)
    settings = load_settings(environment(os.environ, home, secrets, options.port, emulator.address, gateway_url))
    return Parts(settings, emulator, postgres)


async def _stop(postgres: EmbeddedPostgres) -> None:
    """Also while everything is being cancelled; it bounds itself."""
    with anyio.CancelScope(shield=True):
        await anyio.to_thread.run_sync(postgres.stop)


async def _serve(home: DataDir, parts: Parts, stop: Shutdown, say: Callable[[str], None]) -> None:
    configure_logging(parts.settings)
    waiting: list[str] = [NOT_READY]
    async with open_services(parts.settings, not_ready_reason=lambda: waiting[0] if waiting else None) as services:
        await create_user(parts.postgres.admin_url, DEMO_USER)

        async def listening(base_url: str) -> None:
            home.write_record(_record(base_url, parts))
            try:
                await prepare_voices(services)
            except DemoFailed:
                if await _is_stopping(stop):
                    return
                raise
            waiting.clear()
            say(greeting(base_url, home.path, services.settings.provider_mode))

        async with open_task_group() as tasks:
            tasks.start_soon(parts.emulator.watch)
            tasks.start_soon(_watch, parts.postgres)
            await serve(create_app(services), parts.settings, services.supervisor, stop=stop, on_listening=listening)
            tasks.cancel_scope.cancel()


async def _is_stopping(stop: Shutdown) -> bool:
    """Whether what failed was part of being stopped: Ctrl-C reaches a new child too, until it has a session of its own,
    and the child's end may be noticed before our own signal."""
    with anyio.move_on_after(SIGNAL_SECONDS):
        await stop.requested()
        return True
    return False


async def _watch(postgres: EmbeddedPostgres) -> None:
    while postgres.running:  # noqa: ASYNC110 - nothing tells us
        await anyio.sleep(WATCH_SECONDS)
    raise ChildDied("The embedded PostgreSQL ended by itself; its log is in the data directory. Start it again.")


async def end_leftovers(record: RunRecord | None) -> None:
    """End the children of an `utter dev` that was killed. A process is ours only if its start time agrees too."""
    for child in record.children if record else []:
        try:
            process = psutil.Process(child.pid)
            if process.create_time() != child.started:
                continue
            process.terminate()
            await anyio.to_thread.run_sync(process.wait, LEFTOVER_SECONDS)
        except psutil.NoSuchProcess:
            continue
        except psutil.TimeoutExpired:
            process.kill()


def _record(base_url: str, parts: Parts) -> RunRecord:
    address = parts.emulator.address
    return RunRecord(
        pid=os.getpid(),
        started=psutil.Process().create_time(),
        base_url=base_url,
        demo_user=str(DEMO_USER),
        admin_url=parts.postgres.admin_url,
        emulator_rest_url=address.rest_url,
        emulator_realtime_url=address.realtime_url,
        emulator_modal_url=address.modal_url,
        children=[Child(parts.emulator.pid, psutil.Process(parts.emulator.pid).create_time())],
    )


def environment(
    surroundings: Mapping[str, str],
    home: DataDir,
    secrets: Secrets,
    port: int,
    address: EmulatorAddress,
    database_url: str,
) -> dict[str, str]:
    """The demo's settings below, what the shell says above, and on top what only the demo can know.

    Qwen is always the emulator here: a real key in the shell must never pay for a demo. Nor may the demo reach for a
    database that the shell names. Modal is the emulator unless the shell names an endpoint of it: such an address is
    no account's default, somebody chose it.
    """
    chosen = {name: value for name, value in surroundings.items() if value.strip()}  # a blank one counts as unset
    modal = modal_endpoints(address)
    return {
        "TTS_PROVIDER_MODE": "qwen",
        # All or none: a job of one server must not be asked for at the other.
        **({} if modal.keys() & chosen.keys() else modal),
        **chosen,
        "UTTER_ENV": "local",
        "UTTER_BIND_HOST": "127.0.0.1",
        "UTTER_BIND_PORT": str(port),
        "UTTER_DATA_DIR": str(home.path),
        "UTTER_TOKEN_SECRET": secrets.token_secret,
        "UTTER_SIGNING_SECRET": secrets.signing_secret,
        "DATABASE_URL": database_url,
        "DATABASE_LISTEN_URL": database_url,
        "OBJECTS_URL": str(home.objects),
        "DASHSCOPE_API_KEY": secrets.emulator_key,
        "DASHSCOPE_BASE_URL": address.rest_url,
        "DASHSCOPE_REALTIME_URL": address.realtime_url,
    }


def modal_endpoints(address: EmulatorAddress) -> dict[str, str]:
    """The settings that name Modal's endpoints, each a complete address (v1 contract 4.1)."""
    return {
        "MODAL_JOB_SUBMIT": f"{address.modal_url}/submit",
        "MODAL_JOB_STATUS": f"{address.modal_url}/status",
        "MODAL_JOB_RESULT": f"{address.modal_url}/result",
        "MODAL_JOB_CANCEL": f"{address.modal_url}/cancel",
        "MODAL_ENDPOINT_VOICE_DESIGN": f"{address.modal_url}/design",
    }
