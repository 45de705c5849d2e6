"""Ending work that its user no longer wants, whether this process runs it or not."""

from __future__ import annotations

from uuid import UUID

from gateway.services import Services
from storage import generations


async def end_work(services: Services, generation_id: UUID | None, task_id: UUID | None) -> None:
    """Stop the generation and converge its rows to `cancelled`; rows that are terminal by then stay as they are.

    Raises DatabaseUnavailable.
    """
    if generation_id is not None:
        await services.supervisor.cancel(generation_id)
    # Also of what was just cancelled here: its last write gives up, unheard, when the database is away for too long.
    async with services.database.as_service() as transaction:
        await generations.cancel_generation(transaction, generation_id, task_id)
