"""From an accepted order to a job at Modal and rows that know its id.

It runs as a job of the supervisor, not in the request: a client that leaves, or a request that is cut off, must not
leave a paid job behind that no row knows. Every way out but success leaves the rows terminal.
"""

from __future__ import annotations

from dataclasses import dataclass

import anyio
import structlog

from gateway.errors import ApiError
from gateway.leases import Holding, LeaseKeeper
from gateway.modal import words
from gateway.modal.admission import ModalOrder, read_recording
from gateway.modal.failures import log_failure
from gateway.modal.rows import Rows
from gateway.persister import until_it_lands
from gateway.providers import ModalApi
from gateway.receipt import Receipt
from gateway.tracing import Trace
from protocol.errors import Fault, ProviderFailure
from protocol.modal import SubmitJob
from schema.records import NewGeneration
from storage import generations
from storage.errors import DatabaseUnavailable, StorageError
from storage.objects import ObjectStore

MAX_SUBMITS = 16
"""Under way at once in this process. Each holds a recording of up to 10 MB twice, raw and as base64: 380 MB in all."""

QUEUE_SECONDS = 30.0
"""Longest wait for one of those places."""

STORE_JOB_SECONDS = 10.0
"""How long a submitted job's id may take to reach a database that is away, while the client waits."""

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.modal")


@dataclass(frozen=True, slots=True)
class Submission:
    """Submits orders. One for the process, because it bounds how many are under way."""

    rows: Rows
    objects: ObjectStore
    api: ModalApi
    keeper: LeaseKeeper
    places: anyio.CapacityLimiter

    async def run(self, order: ModalOrder, trace: Trace, receipt: Receipt[ModalOrder]) -> None:
        """Submit, and tell `receipt`: that the job runs, or an `ApiError`, `ProviderFailure` or storage error."""
        try:
            # Only until the job's id is kept: from then on whoever sweeps looks after it.
            with self.keeper.held(Holding(order.task_id)):
                await self._begin(order, trace)
        except Exception as error:
            # A refusal is the request's to answer. A defect is answered by it too, and logged by whoever runs this.
            receipt.refuse(error)
            if not isinstance(error, ApiError | ProviderFailure | StorageError):
                raise
        except BaseException:
            receipt.refuse(ApiError(503, "The server is restarting. Please try again in a moment."))
            raise
        else:
            receipt.accept(order)

    async def _begin(self, order: ModalOrder, trace: Trace) -> None:
        try:
            with anyio.fail_after(QUEUE_SECONDS):
                await self.places.acquire_on_behalf_of(order.task_id)
        except TimeoutError as error:
            raise ApiError(503, "The server is busy. Please try again in a moment.") from error
        try:
            job = SubmitJob(
                text=order.text,
                language=order.language,
                ref_audio_base64=await read_recording(self.objects, order),
                ref_text=order.transcript,
            )
            with trace.step("database.begin"):
                await self._insert_rows(order)
            job_id = await self._submit(order, job, trace)
        finally:
            self.places.release_on_behalf_of(order.task_id)
        await self._keep(order, job_id, trace)

    async def _insert_rows(self, order: ModalOrder) -> None:
        async with self.rows.database.as_user(order.owner) as transaction:
            await generations.start_generation(
                transaction,
                NewGeneration(
                    generation_id=order.generation_id,
                    task_id=order.task_id,
                    user_id=order.owner,
                    voice_id=order.voice_id,
                    voice_name=order.voice_name,
                    text=order.text,
                    language=order.language,
                    provider="modal",
                    task_type="generate",
                    metadata=order.metadata,
                    lease=self.keeper.instance.lease,
                    request_key=order.request_key,
                ),
            )

    async def _submit(self, order: ModalOrder, job: SubmitJob, trace: Trace) -> str:
        try:
            with trace.step("provider.submit"):
                return await self.api.submit(job, trace.outgoing_headers())
        except ProviderFailure as failure:
            detail = failure.fault.facts.detail
            log_failure("modal.submit_failed", failure, generation_id=str(order.generation_id))
            await self._fail(order, detail, failure.fault)
            raise ApiError(502, detail, words.category(failure)) from failure
        except Exception:
            await self._fail(order, words.CRASHED)
            raise
        except BaseException:
            # Cut off in the middle: the job may run over there, but nobody learnt its id.
            _log.warning("modal.submit_abandoned", generation_id=str(order.generation_id))
            await self._fail(order, words.INTERRUPTED)
            raise

    async def _keep(self, order: ModalOrder, job_id: str, trace: Trace) -> None:
        """Shielded: without its id a job that is paid for could not be found again."""
        trace.log.info("modal.submitted", provider_job_id=job_id)
        with anyio.CancelScope(shield=True):
            try:
                with trace.step("database.set_job"), anyio.fail_after(STORE_JOB_SECONDS):
                    kept = await until_it_lands(lambda: self.rows.set_job(order.task_id, job_id))
            except (DatabaseUnavailable, TimeoutError) as error:
                await self._abandon(job_id)
                await self._fail(order, words.NOT_STORED)
                raise DatabaseUnavailable("the id of a submitted job could not be stored") from error
            if not kept:
                await self._abandon(job_id)
                raise ProviderFailure(Fault.CANCELLED)

    async def _abandon(self, job_id: str) -> None:
        """Best effort: nobody will ever ask for this job."""
        _log.warning("modal.job_abandoned", provider_job_id=job_id)
        try:
            await self.api.cancel(job_id)
        except ProviderFailure as failure:
            log_failure("modal.cancel_failed", failure, provider_job_id=job_id)

    async def _fail(self, order: ModalOrder, message: str, fault: Fault = Fault.UNKNOWN) -> None:
        await self.rows.fail_for_sure(order.generation_id, order.task_id, message, fault)
