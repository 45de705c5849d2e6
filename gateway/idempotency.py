"""`Idempotency-Key`: a request that is sent again is the same one, and is never paid for twice (product section 4).

The key is bound in the transaction that writes the generation's rows, so a refusal before there are rows binds nothing.
Looking it up comes before everything else that depends on what runs, such as v1's one active task.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from uuid import UUID

from gateway.errors import ApiError, from_failure
from protocol.errors import Fault, ProviderFailure
from schema.records import GenerationRow, RequestKey, RequestKeyRow
from storage import generations, request_keys
from storage.database import Database

HEADER = "Idempotency-Key"

MAX_KEY_CHARS = 255
"""Longest key: several times a UUID, and what others who take such keys allow."""


def read_key(header: str | None, route: str, body: bytes) -> RequestKey | None:
    """The request's key, None when it has none. Raises `ApiError` 400 for one that cannot be kept."""
    if header is None:
        return None
    if not (0 < len(header) <= MAX_KEY_CHARS and header.isascii() and header.isprintable()):
        raise ApiError(400, f"{HEADER} must be 1 to {MAX_KEY_CHARS} printable ASCII characters, such as a UUID.")
    digest = hashlib.sha256(route.encode() + b"\0" + body)
    return RequestKey(key=header, request_sha256=digest.hexdigest())


@dataclass(frozen=True, slots=True)
class Earlier:
    """What an earlier request with the same key began."""

    generation: GenerationRow
    task_id: UUID


async def find_earlier(database: Database, owner: UUID, key: RequestKey | None) -> Earlier | None:
    """What the key stands for, running or completed; None when the request has no key or is the first with it.

    Raises:
        ApiError: 409 when the earlier request was another one, or its generation was cancelled; the generation's own
            error when it failed.
        UnknownUser, DatabaseUnavailable: as `Database.as_user`.
    """
    if key is None:
        return None
    async with database.as_user(owner) as transaction:
        bound = await request_keys.find(transaction, owner, key.key)
        row = await generations.get_generation(transaction, owner, bound.generation_id) if bound else None
    if bound is None or row is None:
        return None
    _require_same(bound, key)
    if row.status in ("failed", "cancelled"):
        raise from_failure(ProviderFailure(_fault(row)))
    return Earlier(row, bound.task_id)


def _require_same(bound: RequestKeyRow, key: RequestKey) -> None:
    if bound.request_sha256 != key.request_sha256:
        raise ApiError(
            409, f"This {HEADER} was used for a different request before. Please send a new request with a new key."
        )


def _fault(row: GenerationRow) -> Fault:
    if row.status == "cancelled":
        return Fault.CANCELLED
    return Fault(row.fault) if row.fault in {fault.value for fault in Fault} else Fault.UNKNOWN
