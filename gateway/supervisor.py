"""Owns every running generation of this process, and is the one place that starts them.

A generation belongs to the server, not to the request that asked for it: a client may leave, the audio still goes to
its history.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self
from uuid import UUID

import anyio
from anyio.abc import TaskGroup

from gateway.errors import ApiError
from gateway.persister import Persister
from gateway.pipeline import run_generation
from gateway.providers.base import SpeechProvider
from gateway.running import EndReason, GenerationOrder, RunningGeneration
from gateway.tracing import Trace


class Supervisor:
    """Use as an async context manager; leaving it stops what still runs and waits for the rows to say so."""

    def __init__(self, provider: SpeechProvider, persister: Persister, *, max_running: int) -> None:
        self._provider = provider
        self._persister = persister
        self._max_running = max_running
        self._running: dict[UUID, RunningGeneration] = {}
        self._became_idle = anyio.Event()
        self._tasks: TaskGroup | None = None
        self._draining = False

    async def __aenter__(self) -> Self:
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        for running in self._running.values():
            running.stop(EndReason.SHUTDOWN)
        if self._tasks is None:
            raise RuntimeError("the supervisor was never entered")
        return await self._tasks.__aexit__(kind, error, traceback)

    @property
    def active(self) -> int:
        """Generations that run in this process now."""
        return len(self._running)

    @property
    def draining(self) -> bool:
        return self._draining

    def start(self, order: GenerationOrder, trace: Trace) -> RunningGeneration:
        """Begin a generation. Raises `ApiError` 503 while draining or when `max_running` already run."""
        if self._tasks is None:
            raise RuntimeError("the supervisor was never entered")
        if self._draining:
            raise ApiError(503, "The server is restarting. Please try again in a moment.")
        if len(self._running) >= self._max_running:
            raise ApiError(503, "The server is busy. Please try again in a moment.")
        trace.bind(generation_id=str(order.generation_id), task_id=str(order.task_id))
        if not self._running:
            self._became_idle = anyio.Event()
        running = RunningGeneration(order, trace)
        self._running[order.generation_id] = running
        self._tasks.start_soon(self._run, running, name=f"generation {order.generation_id}")
        return running

    def get(self, generation_id: UUID) -> RunningGeneration | None:
        """The generation, if it runs in this process. Check that it is the caller's (`order.owner`) before using it."""
        return self._running.get(generation_id)

    async def cancel(self, generation_id: UUID) -> bool:
        """Stop it and wait until its rows are terminal. False when it does not run in this process."""
        running = self._running.get(generation_id)
        if running is None:
            return False
        running.stop(EndReason.CANCELLED)
        await running.ended.wait()
        return True

    def start_draining(self) -> None:
        """Refuse new work from now on; what runs goes on."""
        self._draining = True

    async def wait_idle(self) -> None:
        """Return when nothing runs."""
        while self._running:
            await self._became_idle.wait()

    async def _run(self, running: RunningGeneration) -> None:
        try:
            await run_generation(running, self._provider, self._persister)
        finally:
            del self._running[running.generation_id]
            if not self._running:
                self._became_idle.set()
