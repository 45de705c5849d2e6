"""What the database tells without being asked (LISTEN), over a connection of its own."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import asyncpg

from storage.database import CONNECT_SECONDS
from storage.errors import DatabaseUnavailable, translated

KEEPALIVE_SECONDS = 30.0
"""Between two questions whether the connection is still there: nothing else would tell that the other end is gone."""


async def listen(
    url: str, channel: str, heard: Callable[[str], None], *, begun: Callable[[], None] = lambda: None
) -> None:
    """Call `heard` with each payload sent to `channel`, for ever; `begun` first, from when on nothing is missed.

    `url` must be a direct connection: a transaction pooler passes no notifications on. What was sent while nobody
    listened is lost. Raises `DatabaseUnavailable` when the connection cannot be made, or is lost.
    """
    with translated():
        connection = await asyncpg.connect(
            url, timeout=CONNECT_SECONDS, server_settings={"application_name": "utter listener"}
        )
    lost = anyio.Event()

    def pass_on(_connection: object, _pid: int, _channel: str, payload: object) -> None:
        heard(str(payload))

    connection.add_termination_listener(lambda _connection: lost.set())
    try:
        with translated():
            await connection.add_listener(channel, pass_on)
        begun()
        while not lost.is_set():
            with anyio.move_on_after(KEEPALIVE_SECONDS):
                await lost.wait()
                break
            with translated():
                await connection.execute("select 1", timeout=CONNECT_SECONDS)
        raise DatabaseUnavailable("the connection that listens is gone")
    finally:
        connection.terminate()
