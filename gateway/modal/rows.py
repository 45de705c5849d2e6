"""The rows of work at Modal. Every write is guarded: a row that has ended stays as it is (product section 4)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import anyio
import structlog

from gateway import metrics
from gateway.persister import until_it_lands
from protocol.errors import Fault
from schema.records import Completion, GenerationRow, NewLease, TaskRow
from storage import generations, jobs, leases, tasks
from storage.database import Database, UnknownUser

CLEANUP_SECONDS = 5.0
"""Longest time that work which is being stopped may take to end its rows: it is shielded, so it must be bounded."""

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.modal")


@dataclass(frozen=True, slots=True)
class Rows:
    """Reads as the rows' owner, writes by the service functions. Everything raises `DatabaseUnavailable`."""

    database: Database

    async def task(self, owner: UUID, task_id: UUID) -> TaskRow | None:
        """None when it is gone, also with its user."""
        try:
            async with self.database.as_user(owner) as transaction:
                return await tasks.get_task(transaction, owner, task_id)
        except UnknownUser:
            return None

    async def generation(self, owner: UUID, generation_id: UUID) -> GenerationRow | None:
        """None when it is gone, also with its user."""
        try:
            async with self.database.as_user(owner) as transaction:
                return await generations.get_generation(transaction, owner, generation_id)
        except UnknownUser:
            return None

    async def set_job(self, task_id: UUID, job_id: str) -> bool:
        """The task waits for this job. False when it has ended."""
        async with self.database.as_service() as transaction:
            return await jobs.set_job(transaction, task_id, job_id)

    async def count_poll(self, task_id: UUID) -> None:
        """One more poll of a client's (v1 contract 2.4)."""
        async with self.database.as_service() as transaction:
            await jobs.count_poll(transaction, task_id)

    async def claim_design(self, task_id: UUID, lease: NewLease) -> bool:
        """Whether the caller is the one to start this design; it has the lease then."""
        async with self.database.as_service() as transaction:
            won = await jobs.claim_design(transaction, task_id)
            if won:
                await leases.begin(transaction, task_id, lease)
            return won

    async def complete(self, done: Completion) -> bool:
        """The audio of a generation is stored."""
        async with self.database.as_service() as transaction:
            completed = await generations.complete_generation(transaction, done)
        if completed:
            metrics.count_ending("modal", "generate", "completed")
            metrics.GENERATION_TIME.labels("modal").observe(done.generation_time_seconds)
        return completed

    async def complete_design(self, task_id: UUID, result: dict[str, Any]) -> bool:
        """The audio of a preview is stored."""
        async with self.database.as_service() as transaction:
            return await tasks.complete_design(transaction, task_id, result)

    async def fail(self, generation_id: UUID | None, task_id: UUID, message: str, fault: Fault = Fault.UNKNOWN) -> bool:
        """`message` is for the user. What repeating may mend frees the request's key: nobody has heard any of it."""
        async with self.database.as_service() as transaction:
            failed = await generations.fail_generation(
                transaction,
                generation_id,
                task_id,
                message,
                fault=fault.value,
                free_key=fault.facts.retryable,
            )
        if failed:
            metrics.count_failure("modal", fault, heard=False)
            if generation_id is not None:
                metrics.count_ending("modal", "generate", "failed")
        return failed

    async def cancel(self, generation_id: UUID | None, task_id: UUID, message: str) -> bool:
        """`message` is for the user."""
        async with self.database.as_service() as transaction:
            cancelled = await generations.cancel_generation(transaction, generation_id, task_id, message)
        if cancelled and generation_id is not None:
            metrics.count_ending("modal", "generate", "cancelled")
        return cancelled

    async def fail_for_sure(
        self, generation_id: UUID | None, task_id: UUID, message: str, fault: Fault = Fault.UNKNOWN
    ) -> None:
        """As `fail`, tried for as long as that makes sense, also while the caller is being cancelled; then logged."""

        async def write() -> bool:
            return await self.fail(generation_id, task_id, message, fault)

        await _for_sure(write, task_id)


async def _for_sure(write: Callable[[], Awaitable[bool]], task_id: UUID) -> None:
    try:
        with anyio.fail_after(CLEANUP_SECONDS, shield=True):
            await until_it_lands(write)
    except Exception:  # there is nobody to tell: whoever polls the row finds it too old to be still under way
        _log.exception("modal.rows_left_open", task_id=str(task_id))
