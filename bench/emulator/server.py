"""The emulator process: listeners, signals, the ready line."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
from functools import partial

import trio
from hypercorn.config import Config
from hypercorn.trio import serve

from bench.emulator.account import Account
from bench.emulator.durable import StateUnreadable
from bench.emulator.faults import FaultBook
from bench.emulator.ledger import Ledger
from bench.emulator.modal import MODAL_PATH
from bench.emulator.modal_jobs import ModalJobs
from bench.emulator.options import Options, parse
from bench.emulator.realtime import REALTIME_PATH, serve_connection
from bench.emulator.rest import make_app
from bench.emulator.script import ScriptBook
from bench.emulator.speech import SpeechFailed, open_speech_worker
from bench.emulator.studio import Studio

REST_GRACE_SECONDS = 0.5
"""How long REST requests may still run after a signal; the whole emulator is to be gone within two seconds."""

BACKLOG = 512
"""Connections waiting to be accepted: a benchmark opens hundreds at once."""


def main(argv: list[str]) -> int:
    """Run the emulator until SIGTERM, SIGINT or, if asked for, the end of stdin."""
    options = parse(argv)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="emulator %(levelname)s %(message)s")
    status = 0
    try:
        trio.run(_run, options)
    except* (SpeechFailed, StateUnreadable) as failed:
        print(f"emulator: {failed.exceptions[0]}", file=sys.stderr)
        status = 1
    except* OSError as failed:
        print(f"emulator: cannot listen or write: {failed.exceptions[0]}", file=sys.stderr)
        status = 1
    return status


async def _run(options: Options) -> None:
    realtime = (await trio.open_tcp_listeners(options.port, host=options.host, backlog=BACKLOG))[0]
    rest = socket.create_server((options.host, options.rest_port), backlog=BACKLOG)
    account = Account(options.state, options.max_voices)
    async with open_speech_worker() as worker, trio.open_nursery() as nursery:
        studio = Studio(options, account, ModalJobs(options.state), worker, Ledger(), FaultBook(), ScriptBook())
        await nursery.start(_end_on_signal, nursery.cancel_scope)
        if options.exit_with_parent:
            nursery.start_soon(_end_with_stdin, nursery.cancel_scope)
        nursery.start_soon(trio.serve_listeners, partial(serve_connection, studio), [realtime])
        await nursery.start(_serve_rest, studio, rest)
        _announce(options.host, realtime.socket.getsockname()[1], rest.getsockname()[1])


async def _serve_rest(
    studio: Studio, listener: socket.socket, task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED
) -> None:
    config = Config()
    config.bind = [f"fd://{listener.fileno()}"]
    config.graceful_timeout = REST_GRACE_SECONDS
    config.loglevel = "WARNING"
    await serve(make_app(studio), config, shutdown_trigger=trio.sleep_forever, task_status=task_status)  # type: ignore[arg-type]  # Hypercorn's ASGI types and Starlette's are two spellings of one thing


async def _end_on_signal(
    scope: trio.CancelScope, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()
            return


async def _end_with_stdin(scope: trio.CancelScope) -> None:
    """A parent that dies, even by kill -9, closes its end of the pipe."""
    while await trio.to_thread.run_sync(os.read, 0, 4096, abandon_on_cancel=True):
        pass
    scope.cancel()


def _announce(host: str, realtime_port: int, rest_port: int) -> None:
    """One line that a parent process waits for: everything listens from here on."""
    address = f"[{host}]" if ":" in host else host
    rest_url = f"http://{address}:{rest_port}"
    ready = {
        "event": "ready",
        "rest_url": rest_url,
        "modal_url": rest_url + MODAL_PATH,
        "realtime_url": f"ws://{address}:{realtime_port}{REALTIME_PATH}",
        "pid": os.getpid(),
    }
    print(json.dumps(ready), flush=True)
