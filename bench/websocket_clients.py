"""`python -m bench websockets`: what a delta costs the receiving side, per WebSocket client library.

A server process on trio-websocket (a third implementation, so neither side is at home) sends messages of the size of
a real delta; this process receives and decodes them, on uvloop, once with `websockets` and once with `picows`, in
turn. CPU time is this process's own, so the server's speed does not matter.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import picows
import trio
import trio_websocket
import uvloop
from rich.console import Console
from websockets.asyncio.client import connect

from bench.statistics import summarize, summary_table

DELTA_BYTES = 14_900
"""0.31 s of 24 kHz PCM, the largest usual delta (protocol reference 1.9): about 20 kB as base64."""

STREAM_FINISHED = "session.finished"


class Delta(msgspec.Struct):
    """As the gateway decodes it: msgspec turns base64 into bytes while parsing."""

    type: str
    delta: bytes = b""


_decode = msgspec.json.Decoder(Delta).decode


def main(argv: list[str]) -> int:
    """Print CPU microseconds per message for each library. `--serve` is the server's side of this program."""
    parser = argparse.ArgumentParser(prog="python -m bench websockets", description=__doc__)
    parser.add_argument("--runs", type=int, default=15, help="runs of each library, in turn (default 15)")
    parser.add_argument("--messages", type=int, default=2000, help="messages a run (default 2000)")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.serve:
        trio.run(_serve, options.messages)
        return 0
    command = [sys.executable, "-m", "bench", "websockets", "--serve", "--messages", str(options.messages)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            url = server.stdout.readline().strip() if server.stdout else ""
            costs = uvloop.run(_compare(url, options))
        finally:
            server.terminate()
    if options.json:
        options.json.write_text(json.dumps(costs, indent=2))
    return 0


async def _compare(url: str, options: argparse.Namespace) -> dict[str, list[float]]:
    clients: dict[str, Callable[[str], Awaitable[int]]] = {"websockets": _websockets, "picows": _picows}
    costs: dict[str, list[float]] = {name: [] for name in clients}
    for number in range(options.runs + 1):
        for name in sorted(clients, reverse=bool(number % 2)):
            began = time.process_time()
            received = await clients[name](url)
            cost = (time.process_time() - began) / received * 1e6
            if number:  # the first round warms up
                costs[name].append(cost)
    ratios = [left / right for left, right in zip(costs["websockets"], costs["picows"], strict=True)]
    console = Console()
    rows = {name: summarize(values) for name, values in costs.items()}
    console.print(summary_table("receive and decode one delta of 20 kB", "CPU microseconds", rows))
    console.print(summary_table("websockets / picows, run by run", "ratio", {"ratio": summarize(ratios)}))
    return costs


async def _websockets(url: str) -> int:
    received = 0
    async with connect(url, compression=None, max_size=4 * 1024 * 1024) as socket:
        while True:
            event = _decode(await socket.recv(decode=False))
            if event.type == STREAM_FINISHED:
                return received
            received += 1


class _Listener(picows.WSListener):
    def __init__(self) -> None:
        super().__init__()
        self.received = 0
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type != picows.WSMsgType.TEXT:
            return
        event = _decode(frame.get_payload_as_memoryview())
        if event.type == STREAM_FINISHED:
            transport.send_close(picows.WSCloseCode.OK)
            self.finished.set_result(None)
        else:
            self.received += 1


async def _picows(url: str) -> int:
    listener = _Listener()
    await picows.ws_connect(lambda: listener, url)
    await listener.finished
    return listener.received


async def _serve(messages: int) -> None:
    payload = base64.b64encode(bytes(DELTA_BYTES)).decode()
    delta = json.dumps({"type": "response.audio.delta", "event_id": "event_" + "0" * 21, "delta": payload})

    async def speak(request: trio_websocket.WebSocketRequest) -> None:
        socket = await request.accept()
        try:
            for _ in range(messages):
                await socket.send_message(delta)
            await socket.send_message(json.dumps({"type": STREAM_FINISHED}))
            await socket.get_message()
        except trio_websocket.ConnectionClosed:
            return

    async with trio.open_nursery() as nursery:
        server = await nursery.start(trio_websocket.serve_websocket, speak, "127.0.0.1", 0, None)
        print(f"ws://127.0.0.1:{server.port}/", flush=True)
