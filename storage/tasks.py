"""Tasks: what their owner polls and deletes (`Database.as_user`), and their progress (`Database.as_service`)."""

from __future__ import annotations

from uuid import UUID

from schema.queries import Query, load
from schema.records import Json, NewTask, TaskRow
from storage.database import Transaction

_GET: Query[TaskRow] = load("tasks.get", TaskRow)
_FIND: Query[TaskRow] = load("tasks.find", TaskRow)
_RUNNING: Query[TaskRow] = load("tasks.running", TaskRow)
_INSERT: Query[UUID] = load("tasks.insert", UUID)
_DELETE: Query[TaskRow] = load("tasks.delete", TaskRow)
_HAS_ACTIVE_GENERATE: Query[bool] = load("tasks.has_active_generate", bool)
_COMPLETE: Query[bool] = load("tasks.complete", bool)
_SET_PROVIDER_STATUS: Query[bool] = load("tasks.set_provider_status", bool)


async def get_task(tx: Transaction, owner: UUID, task_id: UUID) -> TaskRow | None:
    """The task, None when it is unknown or somebody else's."""
    return await tx.fetch_one(_GET, owner=owner, task_id=task_id)


async def find_task(tx: Transaction, owner: UUID, generation_id: UUID) -> TaskRow | None:
    """The task that made or makes this generation, the newest if there are several; None when there is none."""
    return await tx.fetch_one(_FIND, owner=owner, generation_id=generation_id)


async def running_tasks(tx: Transaction, owner: UUID, *, limit: int) -> list[TaskRow]:
    """The owner's tasks that have not ended, newest first."""
    return await tx.fetch(_RUNNING, owner=owner, limit=limit)


async def insert_task(tx: Transaction, new: NewTask) -> None:
    """Store a task without a generation, `pending`. Raises `UnknownUser` or `AlreadyExists`."""
    await tx.fetch_value(
        _INSERT,
        task_id=new.id,
        owner=new.user_id,
        type=new.type,
        generation_id=None,
        voice_id=None,
        provider=new.provider,
        provider_status=new.provider_status,
        metadata=new.metadata,
    )


async def has_active_generate(tx: Transaction, owner: UUID) -> bool:
    """Whether the owner has a `generate` task that is pending or processing (contract 2.5)."""
    return await tx.fetch_value(_HAS_ACTIVE_GENERATE, owner=owner)


async def delete_task(tx: Transaction, owner: UUID, task_id: UUID) -> TaskRow | None:
    """Remove the row in any state and give back what it was, None when there is none. Cancels nothing."""
    return await tx.fetch_one(_DELETE, owner=owner, task_id=task_id)


async def set_provider_status(tx: Transaction, task_id: UUID, status: str) -> bool:
    """Note how far the provider is; anything but `queued` makes the task `processing`. False when it has ended.

    `status` is one of the product's closed list (section 4); the database refuses other words.
    """
    return await tx.fetch_value(_SET_PROVIDER_STATUS, task_id=task_id, status=status)


async def complete_design(tx: Transaction, task_id: UUID, result: Json) -> bool:
    """The preview is stored: the task becomes `completed`. False when it has ended, or is gone.

    A design that fails or is cancelled ends by `generations.fail_generation` and `cancel_generation`, without a
    generation.
    """
    return await tx.fetch_value(_COMPLETE, task_id=task_id, result=result)
