"""A worker as its parent sees it: how it is started, told things, and ended."""

from __future__ import annotations

import signal
import socket
import sys
from contextlib import suppress
from subprocess import PIPE

import anyio
import msgspec
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from gateway.worker import Report

START_SECONDS = 60.0
"""Longest wait for a worker to be ready. It takes about a second; a database that is away is given up after some."""

MAX_REPORT_BYTES = 64 * 1024
"""Longest first line: every problem of a bad environment, in sentences."""


class WorkerFailed(Exception):
    """A worker did not become ready. The message says why, as a person reads it."""


class Worker:
    """A process that was started, ready or not. `number` is that of its place, which its successor gets too."""

    def __init__(self, number: int, process: Process) -> None:
        self.number = number
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ready(self) -> None:
        """Return when it accepts connections. Raises `WorkerFailed`."""
        with anyio.move_on_after(START_SECONDS):
            report = await self._report()
            if report.failure:
                raise WorkerFailed(report.failure)
            return
        raise WorkerFailed(f"Worker {self.number} was not ready within {START_SECONDS:.0f} s. Try again.")

    async def _report(self) -> Report:
        if self._process.stdout is None:
            raise RuntimeError("the worker was started without a pipe")
        try:
            line = await BufferedByteReceiveStream(self._process.stdout).receive_until(b"\n", MAX_REPORT_BYTES)
            return msgspec.json.decode(line, type=Report)
        except (anyio.IncompleteRead, anyio.DelimiterNotFound, msgspec.DecodeError) as error:
            raise WorkerFailed(f"Worker {self.number} did not start; what it said is above.") from error

    async def ended(self) -> int:
        """Its exit status, once it has one; minus the number of the signal that killed it."""
        status = await self._process.wait()
        await self._process.aclose()  # the pipes to it
        return status

    def drain(self) -> None:
        """First call: finish what runs. Second: end at once."""
        self._send(signal.SIGTERM)

    def hand_over(self) -> None:
        """Take no more connections, finish what runs."""
        self._send(signal.SIGHUP)

    def kill(self) -> None:
        """End it without its help."""
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # it ended a moment ago
            self._process.send_signal(number)


async def start_worker(number: int, listener: socket.socket) -> Worker:
    """Start the process; it is not `ready` yet. Raises `WorkerFailed`."""
    command = [sys.executable, "-m", "gateway.worker", str(number), str(listener.fileno())]
    # A session of its own: Ctrl-C in the terminal is for the parent, and would be a second signal with the parent's.
    try:
        process = await anyio.open_process(
            command, stdin=PIPE, stdout=PIPE, stderr=None, pass_fds=(listener.fileno(),), start_new_session=True
        )
    except OSError as error:
        raise WorkerFailed(f"Worker {number} could not be started: {error.strerror or error}.") from error
    return Worker(number, process)
