"""Generations: what their owner reads and starts, and how the service ends them.

The first half runs in `Database.as_user(owner)`. The second half runs in `Database.as_service()`: each call is one
function of schema `utter` that changes a row only while it is pending or processing, and says whether it did, so a
late writer never overturns a terminal state.
"""

from __future__ import annotations

from uuid import UUID

import msgspec

from schema.queries import Query, load
from schema.records import Completion, GenerationRow, NewGeneration, Page
from storage import leases, request_keys
from storage.database import Transaction
from storage.paging import offset

CANCELLED_BY_USER = "Cancelled by the user."

_PAGE: Query[GenerationRow] = load("generations.page", GenerationRow)
_COUNT: Query[int] = load("generations.count", int)
_GET: Query[GenerationRow] = load("generations.get", GenerationRow)
_INSERT: Query[UUID] = load("generations.insert", UUID)
_INSERT_TASK: Query[UUID] = load("tasks.insert", UUID)
_DELETE: Query[GenerationRow] = load("generations.delete", GenerationRow)
_FIND_OWNER: Query[UUID | None] = load("generations.find_owner", UUID)
_COMPLETE: Query[bool] = load("generations.complete", bool)
_FAIL: Query[bool] = load("generations.fail", bool)
_CANCEL: Query[bool] = load("generations.cancel", bool)
_FAIL_STRANDED: Query[int] = load("generations.fail_stranded", int)


async def list_generations(
    tx: Transaction, owner: UUID, *, search: str | None, status: str | None, page: int, per_page: int
) -> Page[GenerationRow]:
    """Newest first. `search` is a literal, case-insensitive part of the text; an unknown `status` matches nothing."""
    items = await tx.fetch(
        _PAGE, owner=owner, search=search, status=status, limit=per_page, offset=offset(page, per_page)
    )
    total = await tx.fetch_value(_COUNT, owner=owner, search=search, status=status)
    return Page(items=items, total=total)


async def get_generation(tx: Transaction, owner: UUID, generation_id: UUID) -> GenerationRow | None:
    """The generation, None when it is unknown or somebody else's."""
    return await tx.fetch_one(_GET, owner=owner, generation_id=generation_id)


async def delete_generation(tx: Transaction, owner: UUID, generation_id: UUID) -> GenerationRow | None:
    """Remove the row and give back what it was, None when there is none. Its task lives on without it.

    Cancels nothing: a running generation is cancelled first (product section 4).
    """
    return await tx.fetch_one(_DELETE, owner=owner, generation_id=generation_id)


async def start_generation(tx: Transaction, new: NewGeneration) -> None:
    """Insert the generation (`processing`) and its task (`pending`, `provider_status` `queued`), leased and bound.

    Raises `RequestKeyTaken`, `ActiveTaskExists` for a second active task of type `generate`, `UnknownUser`, or
    `AlreadyExists`; then no row is left.
    """
    await tx.fetch_value(
        _INSERT,
        generation_id=new.generation_id,
        owner=new.user_id,
        voice_id=new.voice_id,
        text=new.text,
        language=new.language,
        provider=new.provider,
        provider_model=new.provider_model,
    )
    if new.request_key is not None:
        # Before the task: of two equal requests at once, the second is to learn that it is the same, and not that its
        # user has an active task.
        await request_keys.bind(tx, new.user_id, new.request_key, new.generation_id, new.task_id)
    await tx.fetch_value(
        _INSERT_TASK,
        task_id=new.task_id,
        owner=new.user_id,
        type=new.task_type,
        generation_id=new.generation_id,
        voice_id=new.voice_id,
        provider=new.provider,
        provider_status="queued",
        metadata={
            "voice_id": str(new.voice_id),
            "voice_name": new.voice_name,
            "language": new.language,
            **new.metadata,
        },
    )
    if new.lease is not None:
        await leases.insert(tx, new.task_id, new.lease)


async def find_owner(tx: Transaction, generation_id: UUID) -> UUID | None:
    """Whose generation it is: for a signed URL, which names the generation and carries no user."""
    return await tx.fetch_one(_FIND_OWNER, generation_id=generation_id)


async def complete_generation(tx: Transaction, done: Completion) -> bool:
    """The audio is stored: generation and task become `completed`. False when neither changed.

    A generation that is completed already, by v1's code or by whoever came first, stays as it is and its task, should
    that still run, becomes `completed` with what the generation says.
    """
    return await tx.fetch_value(_COMPLETE, **msgspec.structs.asdict(done))


async def fail_generation(
    tx: Transaction,
    generation_id: UUID | None,
    task_id: UUID,
    message: str,
    *,
    fault: str | None = None,
    free_key: bool = False,
) -> bool:
    """Both rows become `failed` with `message`, words for the user. False when neither was running.

    A design's task has no generation. With `free_key` the request's key, if it had one, may be used again.
    """
    return await tx.fetch_value(
        _FAIL, generation_id=generation_id, task_id=task_id, message=message, fault=fault, free_key=free_key
    )


async def cancel_generation(
    tx: Transaction, generation_id: UUID | None, task_id: UUID | None, message: str = CANCELLED_BY_USER
) -> bool:
    """Both rows become `cancelled` with `message`. False when neither was running.

    Without `task_id` it is the generation's task, whichever that is; a design's task has no generation.
    """
    return await tx.fetch_value(_CANCEL, generation_id=generation_id, task_id=task_id, message=message)


async def fail_stranded(tx: Transaction, message: str, *, older_than_seconds: float) -> int:
    """Fail running generations of that age whose task was deleted under them, and say how many."""
    return await tx.fetch_value(_FAIL_STRANDED, message=message, older_than_seconds=older_than_seconds)
