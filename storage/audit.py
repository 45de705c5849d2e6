"""Everything there is, for the auditor. In `Database.as_service()`; nothing is changed."""

from __future__ import annotations

from uuid import UUID

from schema.queries import Query, load
from schema.records import AuditedGeneration, AuditedTask, AuditedVoice
from storage.database import Transaction

PAGE_ROWS = 1000
"""Rows in memory at once: a history of years has millions."""

_GENERATIONS: Query[AuditedGeneration] = load("audit.generations", AuditedGeneration)
_TASKS: Query[AuditedTask] = load("audit.tasks", AuditedTask)
_VOICES: Query[AuditedVoice] = load("audit.voices", AuditedVoice)


async def page_of_generations(tx: Transaction, after: UUID | None) -> list[AuditedGeneration]:
    """The next ones by id; none behind the last."""
    return await tx.fetch(_GENERATIONS, after=after, limit=PAGE_ROWS)


async def stuck_tasks(tx: Transaction) -> list[AuditedTask]:
    """Running tasks that nobody works on."""
    return await tx.fetch(_TASKS)


async def page_of_voices(tx: Transaction, after: UUID | None) -> list[AuditedVoice]:
    """The next ones by id; none behind the last."""
    return await tx.fetch(_VOICES, after=after, limit=PAGE_ROWS)
