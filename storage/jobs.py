"""Jobs at Modal, in `Database.as_service()`: each call is one function of schema `utter`."""

from __future__ import annotations

from uuid import UUID

from schema.queries import Query, load
from schema.records import TaskRow
from storage.database import Transaction

_SET_JOB: Query[bool] = load("jobs.set_job", bool)
_COUNT_POLL: Query[int | None] = load("jobs.count_poll", int)
_CLAIM_DESIGN: Query[bool] = load("jobs.claim_design", bool)
_TAKE_DUE: Query[TaskRow] = load("jobs.take_due", TaskRow)


async def set_job(tx: Transaction, task_id: UUID, job_id: str) -> bool:
    """The task waits for this job and is `processing`. False when it has ended, or waits for another job."""
    return await tx.fetch_value(_SET_JOB, task_id=task_id, job_id=job_id)


async def count_poll(tx: Transaction, task_id: UUID) -> int | None:
    """One more poll of a client's (contract 2.4). The new count, None for a task that was cancelled or is gone.

    At Modal both counters go up, since `provider_poll_count` repeats `modal_poll_count` (product section 7).
    """
    return await tx.fetch_one(_COUNT_POLL, task_id=task_id)


async def claim_design(tx: Transaction, task_id: UUID) -> bool:
    """`pending` becomes `processing`, for one caller: that one starts the design (contract 2.3, step 2)."""
    return await tx.fetch_value(_CLAIM_DESIGN, task_id=task_id)


async def take_due_jobs(tx: Transaction, *, idle_seconds: float, limit: int) -> list[TaskRow]:
    """Up to `limit` running tasks with a job that nothing has touched for `idle_seconds`, the longest idle ones first.

    A poll touches a task, and so does being taken here. No two callers are given the same one.
    """
    return await tx.fetch(_TAKE_DUE, idle_seconds=idle_seconds, limit=limit)
