"""`python -m bench.crowd`: a process full of listeners of one generation, good ones and bad ones.

Reads its plan as JSON from stdin, a `Plan`, and prints what each guest got as JSON, a list of `Visit`. A process of its
own, so that reading does not delay those who measure.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from contextlib import suppress
from enum import StrEnum

import msgspec
import uvloop

from bench.http_reader import Reader, request_bytes

STALLED_WINDOW_BYTES = 4096
"""Receive buffer of a guest that reads nothing: a quarter of a second of speech, so that the gateway soon notices."""

DRAIN_BYTES = 65_536


class Role(StrEnum):
    """What a guest does."""

    LISTEN = "listens to the end"
    LEAVE = "leaves half-way"
    HALF_CLOSE = "half-closes"
    STALL = "reads nothing"


class Guest(msgspec.Struct, frozen=True):
    """One of the crowd. Joins `joins` seconds after the start, at `offset` bytes; does what its role says `stays`
    seconds later (not of LISTEN). `by_link`: with the signed URL, a paused player's, instead of the user's token."""

    role: Role
    joins: float
    offset: int = 0
    stays: float = 0.0
    by_link: bool = False


class Plan(msgspec.Struct, frozen=True):
    """`target` is the stream's path, `link` its signed form. Who has not left is taken home when all have heard the end
    who wait for it, or after `ends` seconds."""

    host: str
    port: int
    target: str
    link: str
    authorization: str
    guests: list[Guest]
    ends: float


class Visit(msgspec.Struct, frozen=True):
    """What a guest got: `size` bytes from `offset` on with this digest. `complete` as HTTP says it; `dropped` when the
    gateway closed first."""

    role: Role
    offset: int
    status: int
    size: int
    sha256: str
    complete: bool
    dropped: bool


async def _visit(plan: Plan, guest: Guest, over: asyncio.Event) -> Visit:
    await asyncio.sleep(guest.joins)
    return await (_stall(plan, guest, over) if guest.role is Role.STALL else _read(plan, guest, over))


async def _read(plan: Plan, guest: Guest, over: asyncio.Event) -> Visit:
    reader = Reader(_request(plan, guest))
    await asyncio.get_running_loop().create_connection(lambda: reader, plan.host, plan.port)
    if guest.role is not Role.LISTEN:
        await asyncio.wait([reader.over], timeout=guest.stays)
        if guest.role is Role.LEAVE:
            reader.leave()
        else:
            reader.half_close()
    taken_home = asyncio.create_task(over.wait())
    reader.over.add_done_callback(lambda _: taken_home.cancel())
    await asyncio.wait([taken_home])
    dropped = reader.over.done() and not reader.complete and guest.role is not Role.LEAVE
    reader.leave()
    return Visit(guest.role, guest.offset, reader.status, reader.size, reader.sha256, reader.complete, dropped)


async def _stall(plan: Plan, guest: Guest, over: asyncio.Event) -> Visit:
    loop = asyncio.get_running_loop()
    with socket.socket() as connection:
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, STALLED_WINDOW_BYTES)
        await loop.sock_connect(connection, (plan.host, plan.port))
        await loop.sock_sendall(connection, _request(plan, guest))
        await over.wait()
        dropped = False
        with suppress(BlockingIOError):
            try:
                while connection.recv(DRAIN_BYTES):
                    pass
            except ConnectionResetError:
                dropped = True
    return Visit(guest.role, guest.offset, 0, 0, "", complete=False, dropped=dropped)


def _request(plan: Plan, guest: Guest) -> bytes:
    if guest.by_link:
        return request_bytes("GET", plan.link, {})
    return request_bytes("GET", f"{plan.target}?offset={guest.offset}", {"Authorization": plan.authorization})


async def _run(plan: Plan) -> list[Visit]:
    over = asyncio.Event()
    visits = [asyncio.create_task(_visit(plan, guest, over)) for guest in plan.guests]
    listening = [visit for guest, visit in zip(plan.guests, visits, strict=True) if guest.role is Role.LISTEN]
    await asyncio.wait(listening, timeout=plan.ends)
    over.set()
    return await asyncio.gather(*visits)


def main() -> None:
    """Let the guests of the plan on stdin come and go."""
    os.nice(10)  # after what is measured, with which it shares a core
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(_run(plan))))


if __name__ == "__main__":
    main()
