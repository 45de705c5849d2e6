"""Idempotency keys: a request that is repeated is the same one (product section 4)."""

from __future__ import annotations

from uuid import UUID

from schema.queries import Query, load
from schema.records import RequestKey, RequestKeyRow
from storage.database import Transaction

KEPT_SECONDS = 24 * 3600.0
"""How long a key stands for its request (product section 4)."""

_GET: Query[RequestKeyRow] = load("request_keys.get", RequestKeyRow)
_INSERT: Query[str] = load("request_keys.insert", str)
_FORGET_OLD: Query[UUID] = load("request_keys.forget_old", UUID)
_FORGET: Query[int] = load("request_keys.forget", int)


async def find(tx: Transaction, owner: UUID, key: str) -> RequestKeyRow | None:
    """What the owner's key is bound to, None when it is free. In `Database.as_user(owner)`."""
    return await tx.fetch_one(_GET, owner=owner, key=key, kept_seconds=KEPT_SECONDS)


async def bind(tx: Transaction, owner: UUID, key: RequestKey, generation_id: UUID, task_id: UUID) -> None:
    """The key stands for this generation from now on. In `Database.as_user(owner)`, once the generation's row is there.

    Raises `RequestKeyTaken`, after waiting for whoever is binding it at the same moment.
    """
    await tx.fetch(_FORGET_OLD, owner=owner, key=key.key, older_than_seconds=KEPT_SECONDS)
    await tx.fetch_value(
        _INSERT,
        owner=owner,
        key=key.key,
        request_sha256=key.request_sha256,
        generation_id=generation_id,
        task_id=task_id,
    )


async def forget(tx: Transaction) -> int:
    """Drop the keys that have run out, and say how many. In `Database.as_service()`."""
    return await tx.fetch_value(_FORGET, older_than_seconds=KEPT_SECONDS)
