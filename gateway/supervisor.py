"""Owns every running generation and background job of this process, and is the one place that starts them.

A generation belongs to the server, not to the request that asked for it: a client may leave, the audio still goes to
its history.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Self
from uuid import UUID

import anyio
import structlog
from anyio.abc import TaskGroup

from gateway.audio_log import AudioLog
from gateway.audio_memory import AudioMemory
from gateway.errors import ApiError
from gateway.leases import Holding, LeaseKeeper
from gateway.metrics import IN_LINE
from gateway.persister import Persister
from gateway.pipeline import run_generation
from gateway.providers.base import SpeechProvider
from gateway.running import EndReason, GenerationOrder, RunningGeneration
from gateway.tracing import Trace
from protocol.errors import Fault, ProviderFailure

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.supervisor")


BUSY = "The server is busy. Please try again in a moment."


@dataclass(frozen=True, slots=True)
class Room:
    """How much runs at once in this process, how many v1 tasks may wait for a place, for how many seconds, and how much
    memory the audio may take."""

    places: int
    waiting: int
    wait_seconds: float
    memory: AudioMemory = field(default_factory=AudioMemory)


class Supervisor:
    """Use as an async context manager; leaving it stops what still runs and waits for the rows to say so."""

    def __init__(self, provider: SpeechProvider, persister: Persister, keeper: LeaseKeeper, room: Room) -> None:
        self._provider = provider
        self._persister = persister
        self._keeper = keeper
        self._room = room
        self._places = anyio.CapacityLimiter(room.places)
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
        """Generations, waiting ones too, and jobs of this process now."""
        return len(self._running) + len(self._jobs)

    @property
    def waiting(self) -> int:
        """Tasks in line for a place."""
        return self._places.statistics().tasks_waiting

    @property
    def draining(self) -> bool:
        return self._draining

    @property
    def has_room(self) -> bool:
        """Whether one more would begin at once."""
        return not self._draining and self._places.available_tokens > 0

    def start(self, order: GenerationOrder, trace: Trace) -> RunningGeneration:
        """Begin a generation, or let it stand in line when it is a task.

        Raises `ApiError` 503 while draining, for a stream when there is no place, for a task when the line is full.
        """
        return self._start(self._generation(order, trace))

    def resume(self, order: GenerationOrder, trace: Trace) -> RunningGeneration:
        """As `start`, for the next attempt of a generation whose rows exist and whose lease is this process's."""
        running = self._generation(order, trace)
        running.rows_written()
        return self._start(running)

    def start_job(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Begin work that outlives its request, such as making a voice. Raises `ApiError` 503 while draining and when
        there is no place; what `work` raises is logged and ends nothing else. `work` must leave its rows in order when
        it is cancelled."""
        tasks = self._ready_for_work()
        scope = anyio.CancelScope()
        self._take_place(scope)
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
        """Refuse new work from now on; what runs goes on, and what waits in line is left to other processes."""
        self._draining = True
        for running in self._running.values():
            if running.in_line:
                running.stop(EndReason.SHUTDOWN)

    async def wait_idle(self) -> None:
        """Return when nothing runs."""
        while self.active:
            await self._became_idle.wait()

    def _ready_for_work(self) -> TaskGroup:
        if self._tasks is None:
            raise RuntimeError("the supervisor was never entered")
        if self._draining:
            raise ApiError(503, "The server is restarting. Please try again in a moment.")
        if not self.active:
            self._became_idle = anyio.Event()
        return self._tasks

    def _take_place(self, borrower: object) -> None:
        try:
            self._places.acquire_on_behalf_of_nowait(borrower)
        except anyio.WouldBlock as error:
            raise ApiError(503, BUSY) from error

    def _generation(self, order: GenerationOrder, trace: Trace) -> RunningGeneration:
        return RunningGeneration(order, trace, AudioLog(self._room.memory))

    def _start(self, running: RunningGeneration) -> RunningGeneration:
        tasks = self._ready_for_work()
        order = running.order
        try:
            self._take_place(running)
        except ApiError:
            if order.task_type == "generate_stream" or self.waiting >= self._room.waiting:
                raise
            running.in_line = True
        running.trace.bind(generation_id=str(order.generation_id), task_id=str(order.task_id))
        earlier = self._running.get(order.generation_id)
        if earlier is not None:  # an attempt that was taken for dead; its task went round and came back
            earlier.stop(EndReason.LOST)
        self._running[order.generation_id] = running
        # Before anything is awaited: a renewal in between would take the lease for one that nobody needs.
        holding = Holding(order.task_id, lambda: running.rows_exist, running.stop)
        self._keeper.hold(holding)
        tasks.start_soon(self._run, running, holding, name=f"generation {order.generation_id}")
        return running

    async def _run(self, running: RunningGeneration, holding: Holding) -> None:
        try:
            await run_generation(running, self._provider, self._persister, partial(self._place, running))
        finally:
            if not running.in_line:
                self._places.release_on_behalf_of(running)
            self._keeper.release(holding)
            if self._running.get(running.generation_id) is running:
                del self._running[running.generation_id]
            self._tell_when_idle()

    async def _place(self, running: RunningGeneration) -> float:
        """Return when it is this one's turn, with the seconds that are left of its wait; a stream has none to lose.

        Raises `ProviderFailure` OVERLOADED when its turn does not come in time.
        """
        if running.order.task_type == "generate_stream":
            return 0.0
        waits_until = anyio.current_time() + self._room.wait_seconds
        if running.in_line:
            with IN_LINE.track_inprogress(), running.trace.step("queue"), anyio.move_on_after(self._room.wait_seconds):
                await self._places.acquire_on_behalf_of(running)
                running.in_line = False
            if running.in_line:
                raise ProviderFailure(Fault.OVERLOADED)
        return waits_until - anyio.current_time()

    async def _run_job(self, scope: anyio.CancelScope, name: str, work: Callable[[], Awaitable[None]]) -> None:
        try:
            with scope:
                await work()
        except Exception:  # a defect, but of one job: raised further it would end all that run in this process
            _log.exception("job.crashed", job=name)
        finally:
            self._places.release_on_behalf_of(scope)
            self._jobs.discard(scope)
            self._tell_when_idle()

    def _tell_when_idle(self) -> None:
        if not self.active:
            self._became_idle.set()
