"""`python -m bench source`: the source as a process. Its own endpoint, which the vendor does not have, takes a plan and
tells what was sent when."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import signal
import string
import sys
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs, urlsplit

import msgspec
import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

from bench.emulator.realtime import REALTIME_PATH
from bench.source.audio import Recording
from bench.source.clock import Clock
from bench.source.session import Plan, Sent, Session

CONTROL_PATH = "/_source"

BACKLOG = 1024
"""Connections waiting to be accepted: a benchmark opens hundreds at once."""

_ID_ALPHABET = string.ascii_letters + string.digits


class Order(msgspec.Struct):
    """To the control endpoint: a `plan` for sessions to come, which also forgets those before; without one, the
    answer is what was sent since."""

    plan: Plan | None = None


class Source:
    """What the sessions of one process share."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.plan = Plan()
        self.recording = Recording()
        self.clock = Clock(loop)
        self._sessions: list[Sent] = []

    def begun(self, sent: Sent) -> None:
        """Remember a session that speaks."""
        self._sessions.append(sent)

    def obey(self, order: Order) -> list[Sent]:
        """What the control endpoint answers."""
        if order.plan is not None:
            self.plan, self._sessions = order.plan, []
        return self._sessions

    def listener(self, request: WSUpgradeRequest) -> WSListener | None:
        """Who serves this connection; None refuses it."""
        address = urlsplit(request.path.decode())
        if address.path == REALTIME_PATH:
            return Session(self, parse_qs(address.query).get("model", [""])[0], _new_id)
        return Control(self) if address.path == CONTROL_PATH else None


class Control(WSListener):
    """A connection of the bench's own."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source = source

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Answer one order."""
        if frame.msg_type is WSMsgType.TEXT:
            order = msgspec.json.decode(frame.get_payload_as_bytes(), type=Order)
            transport.send(WSMsgType.TEXT, msgspec.json.encode(self._source.obey(order)))
        elif frame.msg_type is WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()


def main(argv: list[str]) -> int:
    """Run until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m bench source", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="port, 0 for a free one")
    options = parser.parse_args(argv)
    uvloop.run(_run(options.host, options.port))
    return 0


async def _run(host: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)
    source = Source(loop)
    serve: Callable[..., Awaitable[asyncio.Server]] = ws_create_server
    server = await serve(source.listener, host, port, backlog=BACKLOG)
    address = f"ws://{host}:{server.sockets[0].getsockname()[1]}"
    ready = {"realtime_url": address + REALTIME_PATH, "control_url": address + CONTROL_PATH, "pid": os.getpid()}
    print(json.dumps(ready), flush=True)
    await over.wait()
    server.close()


def _new_id(prefix: str) -> str:
    return prefix + "".join(secrets.choice(_ID_ALPHABET) for _ in range(21))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
