"""Billable creates, step by step, each step in a transaction of its own as the gateway takes it."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from schema.records import Claim, CreateRow, NewCreate
from storage import creates
from storage.database import Database
from tests.support.rows import created

LONG_SECONDS = 60.0
"""A claim that does not run out in a test."""

DIGEST = "ab" * 32

Failure = Literal["refused", "ambiguous"]


async def claim(opened: Database, new: NewCreate, seconds: float = LONG_SECONDS) -> Claim:
    async with opened.as_service() as tx:
        return await creates.claim_create(tx, new, seconds=seconds)


async def record(opened: Database, new: NewCreate, digest: str = DIGEST) -> bool:
    async with opened.as_service() as tx:
        return await creates.record_created(tx, created(new, digest))


async def make(opened: Database, new: NewCreate) -> None:
    await claim(opened, new)
    assert await record(opened, new)


async def fail(opened: Database, create_id: UUID, state: Failure, attempt: int | None = None) -> bool:
    async with opened.as_service() as tx:
        return await creates.record_failed(tx, create_id, state=state, error="why", attempt=attempt)


async def read(opened: Database, new: NewCreate) -> CreateRow:
    async with opened.as_user(new.user_id) as tx:
        row = await creates.get_create(tx, new.user_id, new.id)
    assert row is not None
    return row
