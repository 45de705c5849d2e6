"""Tasks: what their owner polls and deletes (`Database.as_user`), and their progress (`Database.as_service`)."""

from __future__ import annotations

from uuid import UUID

from schema.queries import Query, load
from schema.records import TaskRow
from storage.database import Transaction

_GET: Query[TaskRow] = load("tasks.get", TaskRow)
_DELETE: Query[TaskRow] = load("tasks.delete", TaskRow)
_SET_PROVIDER_STATUS: Query[bool] = load("tasks.set_provider_status", bool)


async def get_task(tx: Transaction, owner: UUID, task_id: UUID) -> TaskRow | None:
    """The task, None when it is unknown or somebody else's."""
    return await tx.fetch_one(_GET, owner=owner, task_id=task_id)


async def delete_task(tx: Transaction, owner: UUID, task_id: UUID) -> TaskRow | None:
    """Remove the row in any state and give back what it was, None when there is none. Cancels nothing."""
    return await tx.fetch_one(_DELETE, owner=owner, task_id=task_id)


async def set_provider_status(tx: Transaction, task_id: UUID, status: str) -> bool:
    """Note how far the provider is; anything but `queued` makes the task `processing`. False when it has ended.

    `status` is one of the product's closed list (section 4); the database refuses other words.
    """
    return await tx.fetch_value(_SET_PROVIDER_STATUS, task_id=task_id, status=status)
