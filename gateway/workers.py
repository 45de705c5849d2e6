"""`utter serve --workers N`: several gateways on one port, and the process that keeps them there.

The parent makes the listening socket, which every worker inherits and accepts from, and never closes it: a connection
that comes while workers are replaced waits in the socket's queue (docs/decisions/0006-worker-processes.md). It serves
no request itself. `/api/ready`, limits and pools are those of the worker that answers.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

import anyio
import structlog
from anyio.abc import TaskGroup

from gateway.logs import configure_logging
from gateway.metrics.serving import gathering_metrics
from gateway.persister import LANDING_SECONDS
from gateway.server import base_url_of, listen_as_set
from gateway.settings import Settings
from gateway.shutdown import Shutdown, stop_on_signals
from gateway.task_groups import open_task_group
from gateway.worker_process import Worker, WorkerFailed, start_worker

FIRST_PAUSE_SECONDS = 0.5
"""Between the unexpected end of a worker and its next start; doubles while it does not stay."""

LAST_PAUSE_SECONDS = 30.0
"""Longest such pause: a worker that cannot stay must not cost a core, and comes back soon once it can."""

STEADY_SECONDS = 60.0
"""A worker that served for so long has stayed: when it ends, the first pause is enough again."""

ENDING_SECONDS = LANDING_SECONDS + 15.0
"""What a worker may take beyond its drain before it is killed: audio that a database or store is away for is kept in
memory until `LANDING_SECONDS` are over, and connections are cut, requests cancelled and rows written besides."""

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.workers")


async def run_workers(settings: Settings) -> None:
    """Keep `settings.workers` processes serving until a signal stops it.

    SIGTERM and SIGINT drain them, a second one ends them at once, SIGHUP replaces them. Raises `CannotListen`, and
    `WorkerFailed` when one cannot start at first.
    """
    configure_logging(settings)
    with gathering_metrics(settings.metrics_bind) as forget_gauges, listen_as_set(settings) as listener:
        workers = Workers(settings, listener, forget_gauges)
        _log.info("workers.starting", workers=settings.workers, url=base_url_of(listener))
        async with stop_on_signals(on_hangup=lambda _stop: workers.replace_soon()) as stop:
            await workers.run(stop)


class Place:
    """One of the N. Its worker changes; who changes it holds the lock."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.lock = anyio.Lock()
        self.worker: Worker | None = None
        self._pause = FIRST_PAUSE_SECONDS
        self._filled_at = 0.0

    def fill(self, worker: Worker) -> None:
        """This one serves here from now on."""
        self.worker = worker
        self._filled_at = anyio.current_time()

    def next_pause(self) -> float:
        """Seconds to wait before the next start here."""
        if anyio.current_time() - self._filled_at >= STEADY_SECONDS:
            self._pause = FIRST_PAUSE_SECONDS
        pause, self._pause = self._pause, min(self._pause * 2, LAST_PAUSE_SECONDS)
        return pause


class Workers:
    """The processes on one socket."""

    def __init__(self, settings: Settings, listener: socket.socket, on_end: Callable[[int], None]) -> None:
        """`on_end` is told the process id of each that has ended."""
        self._on_end = on_end
        self._drain_seconds = settings.drain_seconds
        self._listener = listener
        self._places = [Place(number) for number in range(1, settings.workers + 1)]
        self._alive: set[Worker] = set()
        self._replacement_wanted = anyio.Event()

    def replace_soon(self) -> None:
        """Ask for a new worker in every place. Asked while that is done, it is done once more."""
        self._replacement_wanted.set()

    async def run(self, stop: Shutdown) -> None:
        """Start the workers, keep them, and end them when `stop` is requested. Raises `WorkerFailed`."""
        try:
            async with open_task_group() as tasks:

                async def give_up() -> None:
                    await stop.requested()
                    tasks.cancel_scope.cancel()

                tasks.start_soon(give_up)
                await self._start_all(tasks)
                await self._replace_when_asked(tasks)
        finally:
            with anyio.CancelScope(shield=True):
                await self._end_all(stop)
        _log.info("workers.stopped")

    async def _start_all(self, tasks: TaskGroup) -> None:
        """The first one alone: what keeps it from starting would keep all, and is to be said once."""
        first, *others = self._places
        await self._start(first, tasks)
        failures: list[WorkerFailed] = []
        async with anyio.create_task_group() as starting:

            async def start(place: Place) -> None:
                try:
                    await self._start(place, tasks)
                except WorkerFailed as error:
                    failures.append(error)
                    starting.cancel_scope.cancel()

            for place in others:
                starting.start_soon(start, place)
        if failures:
            raise failures[0]
        _log.info("workers.ready", workers=len(self._places))

    async def _start(self, place: Place, tasks: TaskGroup) -> None:
        """Fill the place with a new worker, once that is ready. Raises `WorkerFailed`."""
        with anyio.CancelScope(shield=True):  # or a process could exist that nobody knows of
            worker = await start_worker(place.number, self._listener)
            self._alive.add(worker)
        try:
            await worker.ready()
        except WorkerFailed:
            worker.kill()
            await self._see_the_end_of(worker)
            raise
        place.fill(worker)
        tasks.start_soon(self._watch, place, worker, tasks)

    async def _watch(self, place: Place, worker: Worker, tasks: TaskGroup) -> None:
        status = await self._see_the_end_of(worker)
        if place.worker is worker:
            _log.error("worker.died", worker=worker.number, worker_pid=worker.pid, status=status)
            await self._start_again(place, worker, tasks)

    async def _start_again(self, place: Place, dead: Worker, tasks: TaskGroup) -> None:
        async with place.lock:
            while place.worker is dead:  # not replaced in the meantime
                pause = place.next_pause()
                _log.info("worker.restarting", worker=place.number, pause_seconds=pause)
                await anyio.sleep(pause)
                try:
                    await self._start(place, tasks)
                except WorkerFailed as error:
                    _log.error("worker.failed", worker=place.number, error=str(error))

    async def _replace_when_asked(self, tasks: TaskGroup) -> None:
        while True:
            await self._replacement_wanted.wait()
            self._replacement_wanted = anyio.Event()
            _log.info("workers.replacing", workers=len(self._places))
            try:
                for place in self._places:
                    await self._replace(place, tasks)
            except WorkerFailed as error:  # the next ones would fare no better
                _log.error("workers.replacing_failed", error=str(error))
            else:
                _log.info("workers.replaced", workers=len(self._places))

    async def _replace(self, place: Place, tasks: TaskGroup) -> None:
        """One worker more than usual, until the old one is gone. Raises `WorkerFailed`, and the old one stays then."""
        async with place.lock:
            old = place.worker
            await self._start(place, tasks)
        if old is not None:
            old.hand_over()
            # Once for the connections to go over, and once for the drain.
            await self._end([old], 2 * self._drain_seconds + ENDING_SECONDS)

    async def _end_all(self, stop: Shutdown) -> None:
        """Also those that are being replaced, or are not ready yet."""
        workers = list(self._alive)
        for worker in workers:
            worker.drain()
        async with anyio.create_task_group() as tasks:

            async def insist() -> None:
                await stop.forced()
                for worker in workers:
                    worker.drain()

            tasks.start_soon(insist)
            await self._end(workers, self._drain_seconds + ENDING_SECONDS)
            tasks.cancel_scope.cancel()

    async def _end(self, workers: list[Worker], seconds: float) -> None:
        """Return when they have ended; those that take longer are killed."""
        with anyio.move_on_after(seconds):
            for worker in workers:
                await self._see_the_end_of(worker)
        for worker in self._alive.intersection(workers):
            _log.error("worker.killed", worker=worker.number, worker_pid=worker.pid, limit_seconds=seconds)
            worker.kill()
            await self._see_the_end_of(worker)

    async def _see_the_end_of(self, worker: Worker) -> int:
        status = await worker.ended()
        self._alive.discard(worker)
        self._on_end(worker.pid)
        return status
