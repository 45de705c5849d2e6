"""Billable creates of voices: each is claimed before it is sent, so that it is paid for once (product section 6).

The claim, its outcome and the list of orphans run in `Database.as_service()`: each is one function of schema `utter`.
What a user reads and saves runs in `Database.as_user(owner)`. Who needs a create and its task in one transaction asks
for the create first, as the service functions do, so that no two of them wait for each other.
"""

from __future__ import annotations

from typing import Literal
from uuid import UUID

import msgspec

from schema.queries import Query, load
from schema.records import Claim, ClaimedRow, Created, CreateRow, NewCreate, OrphanRow
from storage.database import Transaction

UNSAVED_SECONDS = 7 * 24 * 3600.0
"""Age at which a preview that nobody saved is taken for forgotten: a week, far past any page that is left open."""

_CLAIM: Query[ClaimedRow] = load("creates.claim", ClaimedRow)
_RECORD_CREATED: Query[bool] = load("creates.record_created", bool)
_RECORD_FAILED: Query[bool] = load("creates.record_failed", bool)
_GET: Query[CreateRow] = load("creates.get", CreateRow)
_FIND_PREVIEW: Query[CreateRow] = load("creates.find_preview", CreateRow)
_LINK_VOICE: Query[UUID] = load("creates.link_voice", UUID)
_TAKE_STALE_DESIGNS: Query[CreateRow] = load("creates.take_stale_designs", CreateRow)
_LIST_ORPHANS: Query[OrphanRow] = load("creates.list_orphans", OrphanRow)


async def claim_create(tx: Transaction, new: NewCreate, *, seconds: float) -> Claim:
    """Ask for the right to send this create, for `seconds`, which must outlast the provider's slowest answer.

    Granted to one caller: at first; again after a refusal, which made nothing; again with `recover` when the outcome is
    unknown or the last claim ran out, and then the voice is looked for before it is made. Not granted while another
    claim lasts, or once it is created: `create.state` says which. Nor for an id that is another user's or of another
    kind: `create.user_id` and `create.kind` tell, and for the caller there is no such id.
    """
    row = await tx.fetch_value(_CLAIM, **msgspec.structs.asdict(new), seconds=seconds)
    values = msgspec.structs.asdict(row)
    granted, recover = values.pop("granted"), values.pop("recover")
    return Claim(create=CreateRow(**values), granted=granted, recover=recover)


async def record_created(tx: Transaction, created: Created) -> bool:
    """The provider made the voice. False when it is recorded already, maybe with another `provider_voice_id`.

    Holds from a claim that ran out, too: the voice is paid for, and is not to be lost.
    """
    return await tx.fetch_value(_RECORD_CREATED, **msgspec.structs.asdict(created))


async def record_failed(
    tx: Transaction,
    create_id: UUID,
    *,
    state: Literal["refused", "ambiguous"],
    error: str,
    attempt: int | None = None,
) -> bool:
    """The create failed; `error` is for operators. False when no claim is under way.

    `attempt`, the `create.attempts` of the caller's claim, makes the late word of an earlier claim count for nothing,
    which else would free a row whose create is being sent.
    """
    return await tx.fetch_value(_RECORD_FAILED, id=create_id, state=state, error=error, attempt=attempt)


async def get_create(tx: Transaction, owner: UUID, create_id: UUID) -> CreateRow | None:
    """The create, None when it is unknown or somebody else's."""
    return await tx.fetch_one(_GET, owner=owner, create_id=create_id)


async def find_preview(tx: Transaction, owner: UUID, sha256: str) -> CreateRow | None:
    """The owner's newest created design whose preview audio has this digest, lower-case hex; saved or not."""
    return await tx.fetch_one(_FIND_PREVIEW, owner=owner, sha256=sha256)


async def link_voice(tx: Transaction, owner: UUID, create_id: UUID, voice_id: UUID) -> bool:
    """A created voice is saved as this row of `public.voices`. Once: False when it was, or is not the owner's.

    Another transaction that links the same create is waited for. Whoever gets False reads the create again.
    """
    return await tx.fetch_one(_LINK_VOICE, owner=owner, create_id=create_id, voice_id=voice_id) is not None


async def take_stale_designs(tx: Transaction, *, seconds: float, limit: int) -> list[CreateRow]:
    """Claim, for `seconds`, up to `limit` designs whose claim ran out: whoever was making them has died.

    All are to be recovered: looked for, never made again. No two callers are given the same one.
    """
    return await tx.fetch(_TAKE_STALE_DESIGNS, seconds=seconds, limit=limit)


async def list_orphans(tx: Transaction, *, unsaved_seconds: float = UNSAVED_SECONDS) -> list[OrphanRow]:
    """What an operator may have to delete at the provider, oldest first.

    A preview that is still offered to its user counts once it was not saved for `unsaved_seconds`.
    """
    return await tx.fetch(_LIST_ORPHANS, unsaved_seconds=unsaved_seconds)
