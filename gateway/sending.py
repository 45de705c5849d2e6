"""How every body leaves: each write bounded, the client watched, and an end that says what it was.

Returning without the last body message makes Hypercorn close the socket by FIN without the last chunk, so a cut
transfer cannot pass for a whole one. A reader past its stall limit is reset instead: an orderly close would wait for
it to read.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import structlog
from starlette.types import Message, Receive, Scope, Send

from gateway.connection import connection_of

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.sending")


async def send_while_connected(
    write: Callable[[Send], Awaitable[None]],
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    stall_seconds: float,
    cut_by: tuple[type[Exception], ...],
) -> None:
    """Run `write` with a bounded `send` until it is done or the client leaves.

    `cut_by` are the failures after which the answer must not look complete; they end here, in the log. `stall_seconds`
    bounds every single write.
    """

    async def bounded(message: Message) -> None:
        try:
            with anyio.fail_after(stall_seconds):
                await send(message)
        except TimeoutError as error:
            raise _Stalled from error

    async with cancelled_on_disconnect(receive):
        try:
            await write(bounded)
        except _Stalled:
            _log.info("sending.stalled", limit_seconds=stall_seconds)
            connection = connection_of(scope)
            if connection is not None:
                connection.reset()
        except cut_by as error:
            _log.info("sending.cut", error=type(error).__name__)


@asynccontextmanager
async def cancelled_on_disconnect(receive: Receive) -> AsyncIterator[None]:
    """Cancel the body when the client leaves; the block then ends as if it had come to its end.

    Hypercorn accepts sends to a client that left for ever: only `receive` tells (style notes 7.2).
    """
    watching = anyio.CancelScope()

    async def watch() -> None:
        with watching:
            while (await receive())["type"] != "http.disconnect":
                pass
            tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        yield
        # Not the group's scope: anyio (4.16, `task_done`) keeps the exception of a cancelled child in a reference
        # cycle, thirty objects for each answer, and the more listeners there are the longer the collector takes.
        watching.cancel()


class _Stalled(Exception):
    """The client took nothing for as long as it may."""
