"""Which requests run, so that an end can wait for them, and can tell those that would go on for long."""

from __future__ import annotations

import anyio
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PARTING_KEY = "parting"
"""Where `scope["state"]` has the event of `parting_of`."""


class RequestTracker:
    """Counts the requests that run. While draining, every answer asks its client to come back on a new connection."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._running = 0
        self._became_idle = anyio.Event()
        self._parting = anyio.Event()

    @property
    def running(self) -> int:
        """Requests whose answer has not ended."""
        return self._running

    @property
    def draining(self) -> bool:
        return self._parting.is_set()

    def start_draining(self) -> None:
        """From now on clients are sent away with their answers."""
        self._parting.set()

    async def wait_idle(self) -> None:
        """Return when no request runs."""
        while self._running:
            await self._became_idle.wait()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_and_part(message: Message) -> None:
            if self.draining and message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        scope.setdefault("state", {})[PARTING_KEY] = self._parting
        if not self._running:
            self._became_idle = anyio.Event()
        self._running += 1
        try:
            await self._app(scope, receive, send_and_part)
        finally:
            self._running -= 1
            if not self._running:
                self._became_idle.set()


def parting_of(scope: Scope) -> anyio.Event:
    """Set once this process wants its clients to leave: an answer that only waits for news should end then."""
    found = scope.get("state", {}).get(PARTING_KEY)
    return found if found is not None else anyio.Event()
