"""The emulated speech provider as a child process of `utter dev`."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from subprocess import PIPE

import anyio
import msgspec
import psutil
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream

START_SECONDS = 30.0
"""Longest wait for the emulator's ready line; it takes about a second, more on a cold disk."""

STOP_SECONDS = 5.0
"""How long it may take to end; it promises two seconds."""


class ChildDied(Exception):
    """A part of `utter dev` ended by itself, or never began. The message says which, and what to do."""


class EmulatorAddress(msgspec.Struct, frozen=True):
    """The emulator's ready line."""

    rest_url: str
    realtime_url: str
    modal_url: str
    """Of Modal's endpoints, as the deployed app answers; each is a path below it."""


class Emulator:
    """The running process and where it listens."""

    def __init__(self, process: Process, address: EmulatorAddress) -> None:
        self._process = process
        self.address = address

    @property
    def pid(self) -> int:
        return self._process.pid

    async def watch(self) -> None:
        """Never returns. Raises `ChildDied` when it ends."""
        status = await self._process.wait()
        raise ChildDied(f"The emulated speech provider ended by itself (status {status}). Start `utter dev` again.")


@asynccontextmanager
async def open_emulator(
    state: Path, api_key: str, *, speed: float, first_audio_delay: float, modal_seconds: float | None = None
) -> AsyncIterator[Emulator]:
    """Run it for the time of the body. It also ends when this process is killed: it watches its standard input.

    `modal_seconds` is how long a job at Modal takes, None for the emulator's own default.

    Raises `ChildDied` when it does not start.
    """
    command = [sys.executable, "-m", "bench", "emulate", "--exit-with-parent"]
    command += ["--state", str(state), f"--api-key={api_key}"]  # one word: a generated key may begin with a dash
    command += ["--speed", str(speed), "--first-audio-delay", str(first_audio_delay)]
    command += [] if modal_seconds is None else ["--modal-seconds", str(modal_seconds)]
    # A session of its own: Ctrl-C in the terminal is for this process, which drains before it ends its children.
    process = await anyio.open_process(command, stdin=PIPE, stdout=PIPE, stderr=None, start_new_session=True)
    try:
        yield Emulator(process, await _ready_line(process))
    finally:
        with anyio.CancelScope(shield=True):
            await _stop(process)


async def _ready_line(process: Process) -> EmulatorAddress:
    if process.stdout is None:
        raise RuntimeError("the emulator was started without a pipe")
    text = ""
    with anyio.move_on_after(START_SECONDS):
        async for part in TextReceiveStream(process.stdout):
            text += part
            if "\n" in text:
                return msgspec.json.decode(text.partition("\n")[0], type=EmulatorAddress)
        raise ChildDied("The emulated speech provider did not start; what it said is above.")
    raise ChildDied(f"The emulated speech provider was not ready within {START_SECONDS:.0f} s. Try again.")


async def _stop(process: Process) -> None:
    """Ask, then insist; its speech worker goes with it, as that watches its standard input too."""
    if process.returncode is None:
        workers = _children(process.pid)
        with suppress(ProcessLookupError):  # it ended a moment ago
            process.terminate()
        with anyio.move_on_after(STOP_SECONDS):
            await process.wait()
        if process.returncode is None:
            process.kill()
            for worker in workers:
                with suppress(psutil.NoSuchProcess):
                    worker.kill()
    await process.aclose()


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
