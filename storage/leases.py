"""Leases: which process works on a running task (product section 11).

`insert` and `of_generation` run in `Database.as_user(owner)`, everything else in `Database.as_service()`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from schema.queries import Query, load
from schema.records import ForeignTask, LeaseRow, NewLease, RenewedLease, TakenTask
from storage.database import Transaction
from storage.errors import LeaseLost

HANDED_OVER = datetime.fromtimestamp(0, UTC)
"""The `sign` of a task that its process gave up."""

_INSERT: Query[UUID] = load("leases.insert", UUID)
_OF_GENERATION: Query[LeaseRow] = load("leases.of_generation", LeaseRow)
_HOLD: Query[bool] = load("leases.hold", bool)
_RENEW: Query[RenewedLease] = load("leases.renew", RenewedLease)
_TASKS_OF_OTHERS: Query[ForeignTask] = load("leases.tasks_of_others", ForeignTask)
_TAKE_OVER: Query[TakenTask] = load("leases.take_over", TakenTask)
_HAND_OVER: Query[int] = load("leases.hand_over", int)
_MARK_SPOOLED: Query[bool] = load("leases.mark_spooled", bool)
_ADOPT_SPOOLED: Query[bool] = load("leases.adopt_spooled", bool)
_FORGET: Query[int] = load("leases.forget", int)


async def insert(tx: Transaction, task_id: UUID, lease: NewLease) -> None:
    """The first attempt of a task that is inserted in the same transaction."""
    await tx.fetch_value(
        _INSERT, task_id=task_id, instance=lease.instance, address=lease.address, seconds=lease.seconds
    )


async def of_generation(tx: Transaction, owner: UUID, generation_id: UUID) -> LeaseRow | None:
    """Who works on a generation of the owner's; None when nobody does, or it is not theirs."""
    return await tx.fetch_one(_OF_GENERATION, owner=owner, generation_id=generation_id)


async def hold(tx: Transaction, task_id: UUID, epoch: int) -> None:
    """Keep the task from being taken over until `tx` ends. Raises `LeaseLost` when it was already."""
    if not await tx.fetch_value(_HOLD, task_id=task_id, epoch=epoch):
        raise LeaseLost(f"attempt {epoch} of task {task_id} is not the latest")


async def renew(tx: Transaction, instance: UUID, task_ids: Sequence[UUID], *, seconds: float) -> list[RenewedLease]:
    """Renew these, and give back all leases the instance has. Others of its own are dropped when their task has ended;
    when it has not, they are given up once they were not renewed for half of `seconds`."""
    return await tx.fetch(_RENEW, instance=instance, task_ids=list(task_ids), seconds=seconds)


async def tasks_of_others(tx: Transaction, instance: UUID) -> list[ForeignTask]:
    """Running tasks that need a process: other instances', nobody's, and what this one gave up itself."""
    return await tx.fetch(_TASKS_OF_OTHERS, instance=instance)


async def begin(tx: Transaction, task_id: UUID, lease: NewLease) -> bool:
    """The first attempt of a task that exists and that nobody has a lease of. False when somebody has."""
    taken = await tx.fetch_one(
        _TAKE_OVER,
        task_id=task_id,
        epoch=0,
        sign=HANDED_OVER,
        instance=lease.instance,
        address=lease.address,
        seconds=lease.seconds,
    )
    return taken is not None


async def take_over(tx: Transaction, task: ForeignTask, lease: NewLease) -> TakenTask | None:
    """Become the one who works on `task`. None when somebody was faster, it gave a sign of life, it has ended, or a job
    works on it by now."""
    return await tx.fetch_one(
        _TAKE_OVER,
        task_id=task.task_id,
        epoch=task.epoch,
        sign=task.sign,
        instance=lease.instance,
        address=lease.address,
        seconds=lease.seconds,
    )


async def hand_over(tx: Transaction, instance: UUID, task_ids: Sequence[UUID]) -> int:
    """Give tasks up, to be taken at once by whoever looks next; how many there were."""
    return await tx.fetch_value(_HAND_OVER, instance=instance, task_ids=list(task_ids))


async def mark_spooled(tx: Transaction, task_id: UUID, epoch: int, *, seconds: float) -> bool:
    """The audio waits on this process's disk, and nobody may take the task for `seconds`. False when it has ended or
    was taken over."""
    return await tx.fetch_value(_MARK_SPOOLED, task_id=task_id, epoch=epoch, seconds=seconds)


async def adopt_spooled(tx: Transaction, task_id: UUID, epoch: int, instance: UUID, *, seconds: float) -> bool:
    """Attempt `epoch` of a dead process goes on here. False when the task has ended or was taken over."""
    return await tx.fetch_value(_ADOPT_SPOOLED, task_id=task_id, epoch=epoch, instance=instance, seconds=seconds)


async def forget(tx: Transaction) -> int:
    """Drop the leases that dead processes left on tasks that have ended; how many."""
    return await tx.fetch_value(_FORGET)
