"""`python -m bench v1`: how fast `GET /api/tasks/:id` answers, against a bare Starlette handler (`bench.bare_tasks`).

The gateway and the peers, on Hypercorn and on uvicorn, read the same finished task from the same PostgreSQL with the
same token. They take turns, a slice of time each. Servers share one core, the clients and the database the other.
Besides the rate, the processor time of the server's own process for a request is told: that is what a server adds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import httpx
import msgspec
import psutil
from rich.console import Console
from rich.progress import track

from bench.bare_tasks import SERVERS
from bench.http_reader import request_bytes
from bench.live_streams import address_of
from bench.stack import Stack, running_stack
from bench.statistics import summarize, summary_table

START_SECONDS = 20.0
"""Longest wait for a peer to listen, and for the task to be finished."""

POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Side:
    """One server: where it listens, and whose processor time counts."""

    address: tuple[str, int]
    pid: int


@dataclass(frozen=True, slots=True)
class Slice:
    """Answers a second, and microseconds of the server's processor time for each."""

    rate: float
    cpu_us: float


class Poller(asyncio.Protocol):
    """A keep-alive client that asks again as soon as it is answered. `failed` is the first answer other than 200."""

    def __init__(self, request: bytes) -> None:
        self.answers = 0
        self.failed = b""
        self.stopped = False
        self._request = request
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        if len(body) < length:
            return
        if b" 200 " not in head[:16]:
            self.failed = self.failed or head
        self.answers += 1
        self._buffer = b""
        if self._transport is not None and not (self.stopped or self.failed):
            self._transport.write(self._request)

    def leave(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.abort()


def main(argv: list[str]) -> int:
    """Print the tables, write JSON when asked to. Exit status 0."""
    parser = argparse.ArgumentParser(prog="python -m bench v1", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="slices of each server (default 15)")
    parser.add_argument("--slice", type=float, default=1.0, help="seconds of a slice (default 1)")
    parser.add_argument("--clients", type=int, default=8, help="polling connections (default 8)")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args(argv)
    with running_stack(speed=8.0) as stack, ExitStack() as peers:
        sides = {"gateway": Side(address_of(stack), stack.pid)}
        for server in SERVERS:
            sides[f"bare on {server}"] = peers.enter_context(_bare(stack, server))
        _pin(stack, sides)
        figures = asyncio.run(_measure(stack, sides, options))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))
    return 0


async def _measure(stack: Stack, sides: dict[str, Side], options: argparse.Namespace) -> dict[str, Any]:
    console = Console()
    request = request_bytes("GET", f"/api/tasks/{await _finished_task(stack)}", stack.headers)
    for side in sides.values():
        await _slice(side, request, options)  # warm-up: connections to the database, prepared statements
    found: dict[str, list[Slice]] = {name: [] for name in sides}
    for number in track(range(options.rounds), "measuring", console=Console(stderr=True)):
        for name in sorted(sides, reverse=bool(number % 2)):
            found[name].append(await _slice(sides[name], request, options))
    rates = {name: summarize([row.rate for row in rows]) for name, rows in found.items()}
    cpu = {name: summarize([row.cpu_us for row in rows]) for name, rows in found.items()}
    ratios = {
        f"gateway / {name}": summarize([a.rate / b.rate for a, b in zip(found["gateway"], rows, strict=True)])
        for name, rows in found.items()
        if name != "gateway"
    }
    console.print(summary_table(f"GET /api/tasks/:id, {options.clients} clients", "answers a second", rates))
    console.print(summary_table("processor time of the server for an answer", "us", cpu))
    console.print(summary_table("rate, of paired slices", "ratio", ratios))
    groups = {"rates": rates, "cpu_us": cpu, "ratios": ratios}
    return {group: {name: asdict(row) for name, row in rows.items()} for group, rows in groups.items()}


async def _slice(side: Side, request: bytes, options: argparse.Namespace) -> Slice:
    """Raises RuntimeError when an answer was not 200."""
    loop = asyncio.get_running_loop()
    process = psutil.Process(side.pid)
    cpu, began = _cpu(process), time.monotonic()
    pollers = [
        (await loop.create_connection(lambda: Poller(request), *side.address))[1] for _ in range(options.clients)
    ]
    await asyncio.sleep(options.slice)
    seconds, cpu = time.monotonic() - began, _cpu(process) - cpu
    answers = sum(poller.answers for poller in pollers)
    for poller in pollers:
        poller.stopped = True
        poller.leave()
    refusal = next((poller.failed for poller in pollers if poller.failed), b"")
    if refusal or not answers:
        raise RuntimeError(f"not an answer to measure: {refusal[:80]!r}")
    return Slice(answers / seconds, cpu * 1e6 / answers)


async def _finished_task(stack: Stack) -> str:
    async with httpx.AsyncClient(base_url=stack.base_url, headers=stack.headers) as client:
        body = {"voice_id": stack.voices()[0]["id"], "text": "A short text.", "language": "English"}
        response = await client.post("/api/generate", json=body)
        response.raise_for_status()
        task = str(response.json()["task_id"])
        async with asyncio.timeout(START_SECONDS):
            while (await client.get(f"/api/tasks/{task}")).json()["status"] != "completed":  # noqa: ASYNC110 - polls
                await asyncio.sleep(POLL_SECONDS)
    return task


@contextmanager
def _bare(stack: Stack, server: str) -> Iterator[Side]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address: tuple[str, int] = free.getsockname()
    secret = msgspec.json.decode((stack.data_dir / "secrets.json").read_bytes())["token_secret"]
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.bare_tasks", server, str(address[1])],
        env={**os.environ, "BARE_DATABASE_URL": stack.admin_url, "BARE_TOKEN_SECRET": secret},
    )
    try:
        _wait_until_listening(process, address)
        yield Side(address, process.pid)
    finally:
        process.terminate()
        process.wait()


def _wait_until_listening(process: subprocess.Popen[bytes], address: tuple[str, int]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(address).close()
        except ConnectionRefusedError:
            time.sleep(POLL_SECONDS)
        else:
            return
    raise RuntimeError("the peer does not listen")


def _pin(stack: Stack, sides: dict[str, Side]) -> None:
    """Servers on the first core we may use, all the rest on the second; nothing where there is but one."""
    cores = psutil.Process().cpu_affinity()
    if len(cores) < 2:
        return
    servers = {side.pid for side in sides.values()}
    for pid in servers:
        psutil.Process(pid).cpu_affinity(cores[:1])
    rest = [psutil.Process(), *psutil.Process(stack.pid).children(recursive=True)]
    for process in rest:
        if process.pid not in servers:
            process.cpu_affinity(cores[1:2])


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
