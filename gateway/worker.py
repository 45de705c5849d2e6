"""One of the processes behind `utter serve --workers N`: a whole gateway on a socket that it inherits.

`python -m gateway.worker NUMBER DESCRIPTOR` is started by `gateway.workers` and by nobody else. Its standard input is a
pipe that its parent holds and never writes to: at its end the parent is gone. The first line of its standard output is
a `Report`. SIGTERM and SIGINT drain it as they do `utter serve`; SIGHUP says that another worker took its place.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

import anyio
import msgspec
import structlog

from gateway.app import create_app
from gateway.logs import configure_logging
from gateway.server import run, serve
from gateway.serving import CANNOT_START, advice, open_gateway
from gateway.settings import Settings, load_settings
from gateway.shutdown import Shutdown, stop_on_signals

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.worker")


class Report(msgspec.Struct, frozen=True):
    """What a worker tells its parent about its start. `failure` is "" when it is ready, else what a person reads."""

    failure: str = ""


def main(number: int, descriptor: int) -> int:
    """Serve until the end; the exit status."""
    listener = socket.socket(fileno=descriptor)
    try:
        run(partial(_run, load_settings(os.environ), number, listener))
    except CANNOT_START as error:
        _tell(Report(advice(error)))
        return 1
    return 0


async def _run(settings: Settings, number: int, listener: socket.socket) -> None:
    configure_logging(settings, on_every_line={"worker": number, "pid": os.getpid()})

    async def tell_ready(_base_url: str) -> None:
        _tell(Report())

    async with open_gateway(settings) as (services, internal), _stop_when_told() as stop:
        await serve(
            create_app(services),
            settings,
            services.supervisor,
            stop=stop,
            listener=listener,
            internal=internal,
            on_listening=tell_ready,
        )


@asynccontextmanager
async def _stop_when_told() -> AsyncIterator[Shutdown]:
    """By a signal, or by the end of the parent. Then nobody else accepts either, but the port must become free: the
    next `utter serve` may be waiting for it."""
    async with stop_on_signals(on_hangup=Shutdown.hand_over) as stop, anyio.create_task_group() as tasks:

        async def watch_parent() -> None:
            await anyio.wait_readable(sys.stdin.fileno())
            _log.warning("worker.parent_gone")
            stop.hand_over()

        tasks.start_soon(watch_parent)
        yield stop
        tasks.cancel_scope.cancel()


def _tell(report: Report) -> None:
    """Once; what else is printed belongs to the log."""
    with suppress(BrokenPipeError):  # the parent is gone, which the watch notices
        os.write(sys.stdout.fileno(), msgspec.json.encode(report) + b"\n")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main(*(int(word) for word in sys.argv[1:])))
