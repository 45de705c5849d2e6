"""Work at Modal, in both modes: new work only where Modal is the active provider, begun work always (product
decision 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID

import anyio
import structlog

from gateway.leases import LeaseKeeper
from gateway.modal import words
from gateway.modal.admission import ModalOrder, admit
from gateway.modal.designs import Designs
from gateway.modal.finalizer import Finalizer
from gateway.modal.patience import Patience, age_seconds
from gateway.modal.progress import Progress, Report
from gateway.modal.rows import Rows
from gateway.modal.submission import MAX_SUBMITS, QUEUE_SECONDS, STORE_JOB_SECONDS, Submission
from gateway.providers import ModalApi
from gateway.receipt import Receipt
from gateway.running import ACTIVE
from gateway.settings import Settings
from gateway.supervisor import Supervisor
from gateway.tracing import Trace
from schema.http import GenerateRequest
from schema.records import RequestKey, TaskRow
from storage import jobs
from storage.database import Database
from storage.errors import StorageError
from storage.objects import ObjectStore

SWEEP_BATCH = 50
"""Jobs looked at in one sweep."""

SWEEP_WIDTH = 5
"""Of them at once: a provider that hangs must not make a sweep last for minutes, nor a sweep crowd out polls."""

SUBMIT_GRACE_SECONDS = 30.0
"""Added to all that a submit may take, before a task without a job is taken for one whose process ended."""

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.modal")


@dataclass(frozen=True, slots=True)
class Polled:
    """A task as a poll found it. `error` is that of this moment; a task that has ended has its own."""

    row: TaskRow
    modal_status: str | None = None
    elapsed_seconds: float | None = None
    error: str | None = None


class ModalJobs:
    """Generations and previews at Modal, from admission to terminal rows."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        objects: ObjectStore,
        api: ModalApi,
        supervisor: Supervisor,
        keeper: LeaseKeeper,
    ) -> None:
        self._settings = settings
        self._database = database
        self._objects = objects
        self._supervisor = supervisor
        self._rows = Rows(database)
        self._submission = Submission(self._rows, objects, api, keeper, anyio.CapacityLimiter(MAX_SUBMITS))
        self._designs = Designs(self._rows, objects, api, supervisor, keeper)
        self._progress = Progress(
            self._rows, api, Finalizer(self._rows, objects, api), Patience(settings.modal_job_seconds)
        )
        self._submit_limit = QUEUE_SECONDS + settings.modal_submit_seconds + STORE_JOB_SECONDS + SUBMIT_GRACE_SECONDS

    async def generate(
        self, owner: UUID, request: GenerateRequest, trace: Trace, request_key: RequestKey | None = None
    ) -> ModalOrder:
        """Submit a generation; it runs at Modal when this returns.

        Raises what `gateway.modal.admission.admit` raises, then `ApiError` 502 when the submit failed in any way,
        503 when it could not be begun, `ProviderFailure` CANCELLED when its user cancelled it meanwhile.
        """
        with trace.step("admission"):
            order = await admit(self._database, self._objects, self._settings, owner, request, request_key)
        trace.bind(generation_id=str(order.generation_id), task_id=str(order.task_id))
        receipt = Receipt[ModalOrder]()
        self._supervisor.start_job(
            f"modal submit {order.generation_id}", partial(self._submission.run, order, trace, receipt)
        )
        return await receipt.wait()

    async def poll(self, task: TaskRow) -> Polled | None:
        """A client asks: move the task on, and say how it stands. None when it is gone.

        Raises `DatabaseUnavailable`, `ObjectStoreUnavailable`, and `ApiError` 503 for a design that cannot begin now.
        """
        if task.status not in ACTIVE:
            return Polled(task)
        report = await self._look(task)
        found = await self._rows.task(task.user_id, task.id)
        return None if found is None else _polled(found, report)

    async def stop(self, task: TaskRow) -> None:
        """Ask Modal to end the task's job, if it has one. Best effort, after the rows were cancelled."""
        if task.modal_job_id is not None:
            await self._progress.stop(task.id, task.modal_job_id)

    async def sweep(self) -> None:
        """Move on what nobody polls. Raises `DatabaseUnavailable`; what fails for one job is logged."""
        async with self._database.as_service() as transaction:
            due = await jobs.take_due_jobs(transaction, idle_seconds=self._settings.sweep_seconds, limit=SWEEP_BATCH)
        await self._look_at_all(due)

    async def _look_at_all(self, due: Sequence[TaskRow]) -> None:
        places = anyio.Semaphore(SWEEP_WIDTH)

        async def look(task: TaskRow, job_id: str) -> None:
            async with places:
                try:
                    await self._progress.look(task, job_id)
                except StorageError as error:  # the next sweep looks again
                    _log.warning("modal.sweep_failed", task_id=str(task.id), error=type(error).__name__)

        async with anyio.create_task_group() as tasks:
            for task in due:
                if task.modal_job_id is not None:
                    tasks.start_soon(look, task, task.modal_job_id)

    async def _look(self, task: TaskRow) -> Report:
        if task.type == "design_preview":
            return await self._designs.poll(task)
        if task.modal_job_id is None:
            return await self._without_job(task)
        await self._rows.count_poll(task.id)
        return await self._progress.look(task, task.modal_job_id)

    async def _without_job(self, task: TaskRow) -> Report:
        """Being submitted, and not counted (v1 contract 2.3, step 3); or its process ended before it was."""
        if age_seconds(task) < self._submit_limit:
            return Report()
        await self._rows.fail(task.generation_id, task.id, words.INTERRUPTED)
        return Report("failed")


def _polled(row: TaskRow, report: Report) -> Polled:
    """The row decides: what was found meanwhile may be out of date, or have been decided otherwise by a user."""
    if row.status in ACTIVE:
        return Polled(row, report.modal_status, report.elapsed_seconds, report.error)
    return (
        Polled(row, report.modal_status, report.elapsed_seconds) if report.modal_status == row.status else Polled(row)
    )
