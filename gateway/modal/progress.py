"""One look at a job: what Modal says becomes a state of the rows, and words for whoever polls (v1 contract 2.3)."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from gateway.modal import words
from gateway.modal.failures import log_failure
from gateway.modal.finalizer import Finalizer
from gateway.modal.patience import Patience
from gateway.modal.rows import Rows
from gateway.providers import ModalApi
from gateway.redaction import without_quotes
from gateway.tracing import Trace
from protocol.errors import ProviderFailure
from protocol.modal import JobState, JobStatus, ResultNotReady
from schema.records import TaskRow

STATUS_ERROR = "status_error"
"""`modal_status` when Modal could not be asked (v1 contract 2.1)."""

FINALIZING = "finalizing"
"""`modal_status` while the audio is fetched and stored (v1 contract 2.1)."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a look found, beyond what the rows say. `error` is for the user, and nothing that is kept."""

    modal_status: str | None = None
    elapsed_seconds: float | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """Looks at jobs and moves their rows on."""

    rows: Rows
    api: ModalApi
    finalizer: Finalizer
    patience: Patience

    async def look(self, task: TaskRow, job_id: str) -> Report:
        """Raises `DatabaseUnavailable` and `ObjectStoreUnavailable`; a provider that fails is a report."""
        trace = Trace(task_id=str(task.id), generation_id=str(task.generation_id), provider_job_id=job_id)
        if not self.api.knows_jobs:
            return await self._failed(task, words.NO_LONGER_SET_UP)
        try:
            status = await self.api.status(job_id)
        except ProviderFailure as failure:
            log_failure("modal.status_failed", failure, **trace.ids)
            waiting = Report(STATUS_ERROR, error=failure.fault.facts.detail)
            return await self._wait_or_give_up(task, job_id, waiting)
        match status.state:
            case JobState.READY:
                return await self._finalize(task, job_id, status, trace)
            case JobState.FAILED:
                trace.log.warning("modal.job_failed", vendor_message=without_quotes(status.error))
                return await self._failed(task, words.JOB_FAILED, status.elapsed_seconds)
            case JobState.CANCELLED:
                trace.log.warning("modal.job_cancelled")
                return await self._cancelled(task, words.JOB_CANCELLED, status.elapsed_seconds)
            case JobState.UNKNOWN:
                trace.log.warning("modal.job_unknown", vendor_message=without_quotes(status.error))
                if self.patience.is_over(task, unknown=True):
                    return await self._failed(task, words.JOB_UNKNOWN)
                return Report(STATUS_ERROR, error=words.JOB_UNKNOWN)
            case JobState.RUNNING:
                return await self._running(task, job_id, status)

    async def _running(self, task: TaskRow, job_id: str, status: JobStatus) -> Report:
        if task.status == "pending":
            await self.rows.set_job(task.id, job_id)  # which also says that it is processing
        return await self._wait_or_give_up(task, job_id, Report(status.word, status.elapsed_seconds))

    async def _finalize(self, task: TaskRow, job_id: str, status: JobStatus, trace: Trace) -> Report:
        if task.generation_id is None:
            # Deleting a generation cancels its task first (product section 4), so this row is one of v1's.
            return await self._cancelled(task, words.JOB_WITHOUT_GENERATION, status.elapsed_seconds)
        error = None
        try:
            if await self.finalizer.finalize(task, task.generation_id, job_id, trace):
                self.patience.forget(task.id)
                return Report("completed", status.elapsed_seconds)
        except ProviderFailure as failure:
            log_failure("modal.result_failed", failure, **trace.ids)
            error = failure.fault.facts.detail
        except ResultNotReady:
            trace.log.info("modal.result_not_ready")
            error = "The audio is not ready yet."
        return await self._wait_or_give_up(task, job_id, Report(FINALIZING, status.elapsed_seconds, error))

    async def _wait_or_give_up(self, task: TaskRow, job_id: str, waiting: Report) -> Report:
        if not self.patience.is_over(task):
            return waiting
        report = await self._failed(task, words.JOB_TOO_LONG, waiting.elapsed_seconds)
        await self.stop(task.id, job_id)
        return report

    async def stop(self, task_id: UUID, job_id: str) -> None:
        """Ask Modal to end the job; best effort (v1 contract 2.6)."""
        self.patience.forget(task_id)
        try:
            await self.api.cancel(job_id)
        except ProviderFailure as failure:
            log_failure("modal.cancel_failed", failure, task_id=str(task_id), provider_job_id=job_id)

    async def _failed(self, task: TaskRow, message: str, elapsed_seconds: float | None = None) -> Report:
        self.patience.forget(task.id)
        await self.rows.fail(task.generation_id, task.id, message)
        return Report("failed", elapsed_seconds)

    async def _cancelled(self, task: TaskRow, message: str, elapsed_seconds: float | None) -> Report:
        self.patience.forget(task.id)
        await self.rows.cancel(task.generation_id, task.id, message)
        return Report("cancelled", elapsed_seconds)
