"""Owns the sockets of a provider, so that nobody waits for a goodbye.

When `session.finished` has arrived the audio is whole, and listeners should hear so at once; the closing handshake
is a round trip more. A socket is therefore held by a task of the provider's own task group, which outlives the
session by up to `CLOSE_HANDSHAKE_SECONDS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import anyio
import structlog
from anyio.abc import TaskGroup, TaskStatus

from gateway.transports import NORMAL_CLOSURE, Connect, Keepalive, Transport

_log = structlog.get_logger("utter")


@dataclass(frozen=True, slots=True)
class _Hold:
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    released: anyio.Event = field(default_factory=anyio.Event)


class Socket:
    """An open transport and the two ways to be done with it; one of them must be called, neither waits."""

    def __init__(self, transport: Transport, hold: _Hold) -> None:
        self.transport = transport
        self._hold = hold

    def drop(self) -> None:
        """Close without a handshake, in the next turn of the event loop."""
        self._hold.scope.cancel()

    def close_politely(self) -> None:
        """Close with code 1000 in the background."""
        self._hold.released.set()


class SocketKeeper:
    """Opens sockets in `tasks`. Leaving that group waits for goodbyes under way, cancelling it drops every socket."""

    def __init__(self, tasks: TaskGroup, connect: Connect, keepalive: Keepalive) -> None:
        self._tasks = tasks
        self._connect = connect
        self._keepalive = keepalive

    async def open(self, url: str, headers: Mapping[str, str]) -> Socket:
        """Raises what `Connect` raises. Cancelling it leaves no socket behind."""
        hold = _Hold()
        try:
            transport = await self._tasks.start(self._keep, hold, url, headers)
        except BaseException:
            hold.scope.cancel()
            raise
        return Socket(transport, hold)

    async def _keep(
        self, hold: _Hold, url: str, headers: Mapping[str, str], *, task_status: TaskStatus[Transport]
    ) -> None:
        with hold.scope:
            async with self._connect(url, headers, self._keepalive) as transport:
                task_status.started(transport)
                await hold.released.wait()
                await _close(transport)


async def _close(transport: Transport) -> None:
    try:
        await transport.aclose(NORMAL_CLOSURE)
    except Exception:  # a defect, but of one socket: raising it here would end the sessions of everybody
        _log.exception("provider.close_failed")
