"""`python -m bench.hostile_clients`: connections that want to cost a server more than they cost their owner.

A process of its own, so that its work is not measured as somebody else's. Every connection that the server ends is
opened again, so the number that is asked for is held, or tried for, all the time. A line of JSON on standard output
says when all have been opened once; closing standard input ends the process, after a last line with the counts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import resource
import socket
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

DRIP_SECONDS = 3.0
"""Between two bytes of a connection that drips. Slow enough for ten thousand of them not to be a flood."""

REOPEN_SECONDS = 1.0
"""Between a connection's end and its next opening."""

OPENINGS_AT_ONCE = 200
"""Connections being opened at a time: below the backlog of any server, whose queue is not what is tried here."""

SOURCES = 32
"""Loopback addresses that connections come from in turn. One has 28,000 ports, and a closed one rests for a minute."""

SPARE_DESCRIPTORS = 100
"""Descriptors of this process beside its connections."""

UNREAD_RECEIVE_BYTES = 4096
"""The receive buffer of a connection that reads nothing."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to be a nuisance. `share` is its part of all connections; `drip` is sent every `DRIP_SECONDS`."""

    share: float
    opening: bytes = b""
    drip: bytes = b""
    half_closes: bool = False
    reads: bool = True


_GET = b"GET /api/health HTTP/1.1\r\nHost: x\r\n"
_POST = b"POST /api/generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"

KINDS = {
    "silent": Kind(0.15),
    "slow head": Kind(0.25, _GET + b"X-Slow: ", b"a"),
    "slow body": Kind(0.2, _POST + b"Content-Length: 1000\r\n\r\n{", b" "),
    "slow chunks": Kind(0.1, _POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "idle": Kind(0.15, _GET + b"\r\n"),
    "oversized head": Kind(0.03, _GET + b"X-Filler: " + b"a" * 40_000),
    "many headers": Kind(0.02, _GET + b"a: b\r\n" * 2000 + b"\r\n"),
    "half-open": Kind(0.03, _GET + b"\r\n", half_closes=True),
    "unread": Kind(0.04, b"GET /api/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 20, reads=False),
    "garbage": Kind(0.03, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
}


class Nuisance(asyncio.Protocol):
    """One connection of one kind; `ended` is called with it when the server has had enough."""

    def __init__(self, crowd: Crowd, name: str, source: int) -> None:
        self._crowd = crowd
        self.name = name
        self.source = source
        self.kind = KINDS[name]
        self._transport: asyncio.Transport | None = None
        self._answered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._crowd.open.add(self)
        if not self.kind.reads:
            self._transport.pause_reading()
        self._transport.write(self.kind.opening)
        if self.kind.half_closes:
            self._transport.write_eof()

    def data_received(self, data: bytes) -> None:
        if not self._answered and data.startswith(b"HTTP/1.1 "):
            self._answered = True
            self._crowd.answers[self.name, data[9:12].decode()] += 1

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._crowd.open.discard(self)
        self._crowd.ended[self.name] += 1
        asyncio.get_running_loop().call_later(REOPEN_SECONDS, self._crowd.reopen, self.name)

    def drip(self) -> None:
        """Send the next little piece."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(self.kind.drip)


class Crowd:
    """All connections of one run, and what became of them."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._opening: asyncio.Queue[str] = asyncio.Queue()
        self._source = 0
        self.open: set[Nuisance] = set()
        self.opened: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.answers: Counter[tuple[str, str]] = Counter()

    def reopen(self, name: str) -> None:
        """Have one more connection of this kind opened."""
        self._opening.put_nowait(name)

    async def keep_opening(self) -> None:
        """Open what waits, one after the other. Never returns."""
        while True:
            name = await self._opening.get()
            try:
                await self._open(name)
            except OSError as error:
                self.failed[type(error).__name__] += 1
                asyncio.get_running_loop().call_later(REOPEN_SECONDS, self.reopen, name)
            else:
                self.opened[name] += 1

    async def keep_dripping(self) -> None:
        """Let every open connection drip, evenly over the time between two bytes. Never returns."""
        while True:
            for source in range(SOURCES):
                await asyncio.sleep(DRIP_SECONDS / SOURCES)
                for nuisance in [it for it in self.open if it.kind.drip and it.source == source]:
                    nuisance.drip()

    async def _open(self, name: str) -> None:
        self._source = source = (self._source + 1) % SOURCES
        plain = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            plain.setblocking(False)
            if not KINDS[name].reads:
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UNREAD_RECEIVE_BYTES)
            if self._address[0] == "127.0.0.1" and sys.platform == "linux":
                plain.bind((f"127.0.0.{2 + source}", 0))
            loop = asyncio.get_running_loop()
            await loop.sock_connect(plain, self._address)
            await loop.create_connection(lambda: Nuisance(self, name, source), sock=plain)
        except BaseException:
            plain.close()
            raise

    def report(self) -> dict[str, Any]:
        """What to print: how many are open now, and what has happened so far."""
        answers: dict[str, dict[str, int]] = {}
        for (name, status), count in sorted(self.answers.items()):
            answers.setdefault(name, {})[status] = count
        return {
            "open": Counter(it.name for it in self.open),
            "opened": self.opened,
            "ended": self.ended,
            "failed": self.failed,
            "answers": answers,
        }


def shares(connections: int) -> list[str]:
    """The kinds of `connections` connections, well mixed: each as often as its share, the first the rest."""
    names = [name for name, kind in KINDS.items() for _ in range(int(connections * kind.share))]
    names += [next(iter(KINDS))] * (connections - len(names))
    random.Random(connections).shuffle(names)
    return names


async def attack(host: str, port: int, connections: int) -> None:
    """Hold `connections` until standard input ends."""
    crowd = Crowd(host, port)
    names = shares(connections)
    for name in names:
        crowd.reopen(name)
    tasks = [asyncio.create_task(crowd.keep_opening()) for _ in range(min(OPENINGS_AT_ONCE, connections))]
    tasks.append(asyncio.create_task(crowd.keep_dripping()))
    while sum(crowd.opened.values()) < connections:  # noqa: ASYNC110 - the count is all there is to wait for
        await asyncio.sleep(0.1)
    print(json.dumps(crowd.report()), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    print(json.dumps(crowd.report()), flush=True)
    for task in tasks:
        task.cancel()


def main(argv: Sequence[str]) -> int:
    """Exit status 0 when standard input has ended."""
    parser = argparse.ArgumentParser(prog="python -m bench.hostile_clients", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, required=True)
    options = parser.parse_args(argv)
    raise_descriptor_limit(options.connections + SPARE_DESCRIPTORS)
    asyncio.run(attack(options.host, options.port, options.connections))
    return 0


def raise_descriptor_limit(wanted: int) -> None:
    """Raises SystemExit in words where this machine does not allow so many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise SystemExit(f"{wanted} descriptors are needed, but the hard limit is {hard}: see ulimit -Hn.")
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
