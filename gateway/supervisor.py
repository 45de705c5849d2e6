"""Owns every running generation and background job of this process, and is the one place that starts them.

A generation belongs to the server, not to the request that asked for it: a client may leave, the audio still goes to
its history.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self
from uuid import UUID

import anyio
import structlog
from anyio.abc import TaskGroup

from gateway.audio_log import AudioLog
from gateway.audio_memory import AudioMemory
from gateway.errors import ApiError
from gateway.persister import Persister
from gateway.pipeline import run_generation
from gateway.providers.base import SpeechProvider
from gateway.running import EndReason, GenerationOrder, RunningGeneration
from gateway.tracing import Trace

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.supervisor")


class Supervisor:
    """Use as an async context manager; leaving it stops what still runs and waits for the rows to say so."""

    def __init__(
        self,
        provider: SpeechProvider,
        persister: Persister,
        *,
        max_running: int,
        audio_memory: AudioMemory | None = None,
    ) -> None:
        self._provider = provider
        self._persister = persister
        self._max_running = max_running
        self._audio_memory = audio_memory or AudioMemory()
        self._running: dict[UUID, RunningGeneration] = {}
        self._jobs: set[anyio.CancelScope] = set()
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
        for job in self._jobs:
            job.cancel()
        if self._tasks is None:
            raise RuntimeError("the supervisor was never entered")
        return await self._tasks.__aexit__(kind, error, traceback)

    @property
    def active(self) -> int:
        """Generations and jobs that run in this process now."""
        return len(self._running) + len(self._jobs)

    @property
    def draining(self) -> bool:
        return self._draining

    def start(self, order: GenerationOrder, trace: Trace) -> RunningGeneration:
        """Begin a generation. Raises `ApiError` 503 while draining or when `max_running` already run."""
        tasks = self._ready_for_work()
        trace.bind(generation_id=str(order.generation_id), task_id=str(order.task_id))
        running = RunningGeneration(order, trace, AudioLog(self._audio_memory))
        self._running[order.generation_id] = running
        tasks.start_soon(self._run, running, name=f"generation {order.generation_id}")
        return running

    def start_job(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Begin work that outlives its request, such as making a voice. Raises as `start`; what `work` raises is
        logged and ends nothing else. `work` must leave its rows in order when it is cancelled."""
        tasks = self._ready_for_work()
        scope = anyio.CancelScope()
        self._jobs.add(scope)
        tasks.start_soon(self._run_job, scope, name, work, name=name)

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
        while self.active:
            await self._became_idle.wait()

    def _ready_for_work(self) -> TaskGroup:
        if self._tasks is None:
            raise RuntimeError("the supervisor was never entered")
        if self._draining:
            raise ApiError(503, "The server is restarting. Please try again in a moment.")
        if self.active >= self._max_running:
            raise ApiError(503, "The server is busy. Please try again in a moment.")
        if not self.active:
            self._became_idle = anyio.Event()
        return self._tasks

    async def _run(self, running: RunningGeneration) -> None:
        try:
            await run_generation(running, self._provider, self._persister)
        finally:
            del self._running[running.generation_id]
            self._tell_when_idle()

    async def _run_job(self, scope: anyio.CancelScope, name: str, work: Callable[[], Awaitable[None]]) -> None:
        try:
            with scope:
                await work()
        except Exception:  # a defect, but of one job: raised further it would end all that run in this process
            _log.exception("job.crashed", job=name)
        finally:
            self._jobs.discard(scope)
            self._tell_when_idle()

    def _tell_when_idle(self) -> None:
        if not self.active:
            self._became_idle.set()
