"""Ending work that its user no longer wants, whether this process runs it, another does, or Modal."""

from __future__ import annotations

from uuid import UUID

from gateway.metrics import CANCELS
from gateway.services import Services
from schema.records import TaskRow
from storage import generations, tasks
from storage.errors import UnknownUser


async def end_work(services: Services, owner: UUID, generation_id: UUID | None, task_id: UUID | None) -> None:
    """Stop the generation and converge its rows to `cancelled`; rows that are terminal by then stay as they are.

    Without `task_id` it is the generation's task, whichever that is. Raises DatabaseUnavailable.
    """
    try:
        await _end(services, owner, generation_id, task_id)
    except BaseException:
        CANCELS.labels("failed").inc()
        raise
    CANCELS.labels("ended").inc()


async def _end(services: Services, owner: UUID, generation_id: UUID | None, task_id: UUID | None) -> None:
    if generation_id is not None:
        await services.supervisor.cancel(generation_id)
    # Also of what was just cancelled here: its last write gives up, unheard, when the database is away for too long.
    async with services.database.as_service() as transaction:
        await generations.cancel_generation(transaction, generation_id, task_id)
    # Read afterwards: a job whose id is stored later finds its task ended, and is stopped by whoever submitted it.
    task = await _task(services, owner, generation_id, task_id)
    if task is not None and task.provider == "modal" and task.status == "cancelled":
        await services.jobs.stop(task)


async def _task(services: Services, owner: UUID, generation_id: UUID | None, task_id: UUID | None) -> TaskRow | None:
    try:
        async with services.database.as_user(owner) as transaction:
            if task_id is not None:
                return await tasks.get_task(transaction, owner, task_id)
            if generation_id is not None:
                return await tasks.find_task(transaction, owner, generation_id)
    except UnknownUser:  # deleted in this moment, and all rows with them
        pass
    return None
