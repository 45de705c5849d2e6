"""What a deployment's database is really like, for `utter doctor`: why it cannot be reached, who we are there, how far
its schema is, and whether what passes between us and the server leaves sessions alone.

Nothing is changed.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import AsyncExitStack, suppress
from datetime import datetime
from enum import Enum
from secrets import token_hex

import anyio
import asyncpg

from schema.queries import Query, load
from schema.records import Login
from storage.database import CONNECT_SECONDS, Database, Transaction
from storage.errors import DatabaseUnavailable, translated
from storage.notifications import listen

POOLED_CONNECTIONS = 3
"""Connections held open at once to find a pooler. One that hands each of them a server connection of its own, round
after round, does no harm."""

POOLED_ROUNDS = 2
"""How often each of them is asked which server connection it has."""

HEAR_SECONDS = 3.0
"""Longest wait for a notification, which takes a millisecond: a loaded pooler is slower, a deaf one says nothing."""

_APPLIED: Query[str] = load("operators.applied_migrations", str)
_LOGIN: Query[Login] = load("operators.login", Login)
_CLOCK: Query[datetime] = load("operators.clock", datetime)
_SERVER_PROCESS: Query[int] = load("operators.server_process", int)
_TELL: Query[bool] = load("operators.tell", bool)


class Trouble(Enum):
    """Why a database cannot be reached, as far as an operator would act differently."""

    UNKNOWN_HOST = "its host is not known"
    NOBODY_THERE = "nothing answers at its address"
    SILENT = "it did not answer in time"
    LOGIN_REFUSED = "it refuses the login"
    NO_DATABASE = "the server has no such database"
    NOT_ENCRYPTED = "no encrypted connection could be made"
    FULL = "it has no connection left for this login"
    NOT_SERVING = "it is starting, stopping or under maintenance"
    OTHER = "the connection failed"


_TROUBLES: tuple[tuple[type[BaseException], Trouble], ...] = (
    (asyncpg.InvalidAuthorizationSpecificationError, Trouble.LOGIN_REFUSED),
    (asyncpg.InvalidCatalogNameError, Trouble.NO_DATABASE),
    (asyncpg.TooManyConnectionsError, Trouble.FULL),
    (asyncpg.CannotConnectNowError, Trouble.NOT_SERVING),
    (asyncpg.ObjectNotInPrerequisiteStateError, Trouble.NOT_SERVING),
    (ssl.SSLError, Trouble.NOT_ENCRYPTED),
    (TimeoutError, Trouble.SILENT),
    (socket.gaierror, Trouble.UNKNOWN_HOST),
    (OSError, Trouble.NOBODY_THERE),
)
"""The first that fits: TLS errors, timeouts and unknown hosts are OSErrors too."""


def trouble_of(error: DatabaseUnavailable) -> Trouble:
    """What is behind an attempt to connect that failed."""
    return next((trouble for kind, trouble in _TROUBLES if isinstance(error.__cause__, kind)), Trouble.OTHER)


async def read_login(tx: Transaction) -> Login:
    """Who we are there."""
    return await tx.fetch_value(_LOGIN)


async def applied_migrations(tx: Transaction) -> list[str]:
    """Their numbers, oldest first. Raises `NotMigrated` where the schema is too old to tell, or is not there."""
    return await tx.fetch(_APPLIED)


async def read_clock(tx: Transaction) -> datetime:
    """The server's clock, aware."""
    return await tx.fetch_value(_CLOCK)


async def shares_connections(url: str) -> bool:
    """Whether a transaction pooler is on the way: several clients at a time are given the same server connection, or
    one client another one for every transaction. Raises `DatabaseUnavailable`."""
    async with AsyncExitStack() as stack:
        clients = []
        for _ in range(POOLED_CONNECTIONS):
            with translated():
                # Without prepared statements, which are not there the next time behind the very thing looked for.
                client = await asyncpg.connect(url, timeout=CONNECT_SECONDS, statement_cache_size=0)
            stack.callback(client.terminate)
            clients.append(client)
        with translated():
            rounds = [tuple([await _server_process(client) for client in clients]) for _ in range(POOLED_ROUNDS)]
    return len(set(rounds)) > 1 or len(set(rounds[0])) < POOLED_CONNECTIONS


async def _server_process(client: asyncpg.Connection[asyncpg.Record]) -> int:
    """Who serves this client. In a transaction, because a pooler may change it after the statement was prepared."""
    async with client.transaction():
        return int(await client.fetchval(_SERVER_PROCESS.sql))


async def hears(listen_url: str, url: str) -> bool:
    """Whether who listens at `listen_url` is told what is said at `url`. Raises `DatabaseUnavailable`."""
    channel = f"utter_doctor_{token_hex(8)}"
    heard, listening = anyio.Event(), anyio.Event()
    async with (
        Database.open(url, max_connections=1, statement_cache_size=0) as database,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(_listen, listen_url, channel, heard, listening)
        with anyio.move_on_after(HEAR_SECONDS):
            await listening.wait()
            await _tell(database, channel)
            await heard.wait()
        tasks.cancel_scope.cancel()
    return heard.is_set()


async def _tell(database: Database, channel: str) -> None:
    with suppress(DatabaseUnavailable):  # then nothing is heard either
        async with database.as_service() as transaction:
            await transaction.fetch_value(_TELL, channel=channel, message="heard")


async def _listen(url: str, channel: str, heard: anyio.Event, listening: anyio.Event) -> None:
    with suppress(DatabaseUnavailable):  # as above
        await listen(url, channel, lambda _: heard.set(), begun=listening.set)
