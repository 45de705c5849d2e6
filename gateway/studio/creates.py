"""One billable create, paid for once: claimed in the database, sent, and written down (product section 6)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, TypeVar
from uuid import UUID

import anyio
import structlog

from gateway.errors import ApiError
from gateway.metrics import CREATES
from gateway.persister import until_it_lands
from gateway.providers import QwenCustomization, VoiceKind
from gateway.providers.qwen_customization import AmbiguousCreate
from gateway.redaction import without_quotes
from gateway.studio.base import FALLBACK
from gateway.tracing import Trace
from protocol.customization_answers import CreatedVoice
from protocol.errors import Fault, ProviderFailure
from schema.records import Claim, Created, CreateRow, NewCreate
from storage import creates
from storage.database import Database, Transaction, UnknownUser

CLAIM_SECONDS = 360.0
"""How long a create is somebody's. When it runs out, whoever held it must be gone: sending may take `SEND_SECONDS`,
storing the preview and writing it down 60 s each."""

SEND_SECONDS = 210.0
"""A create (90 s) with the search after a lost answer (105 s). A bound of its own, because each page of a long list has
the time of a whole search: a second sender must never begin while the first one still sends."""

_UNDER_WAY = "This voice is being made already. Please wait a moment and look again."

Also = Callable[[Transaction], Awaitable[object]]
"""What has to be true together with a create's outcome, such as the end of its task: written in one transaction."""

T = TypeVar("T")
_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.studio")


@dataclass(frozen=True, slots=True)
class Creates:
    """The ledger of creates at Qwen, and the way to add to it."""

    database: Database
    customization: QwenCustomization

    async def claim(self, new: NewCreate) -> Claim:
        """Become the one who may send it. Raises `ApiError` 409 while somebody else does, 404 for another's id."""
        async with self.database.as_service() as transaction:
            claim = await creates.claim_create(transaction, new, seconds=CLAIM_SECONDS)
        if claim.create.user_id != new.user_id or claim.create.kind != new.kind:
            raise ApiError(404, "This voice does not exist. It may have been deleted.")
        if not claim.granted and claim.create.state != "created":
            raise ApiError(409, _UNDER_WAY)
        return claim

    async def send(self, claim: Claim, create: Callable[[], Awaitable[CreatedVoice]]) -> CreatedVoice:
        """Make the voice, or find the one that an earlier try made; what is found has no preview.

        Raises `ProviderFailure`, for `record_failure`. Being cancelled leaves the claim to run out: nobody knows then.
        """
        entry = claim.create
        with Trace(create_id=str(entry.id)).step("provider.create", kind=entry.kind, attempt=entry.attempts):
            try:
                with anyio.fail_after(SEND_SECONDS):
                    found = await self._search(entry) if claim.recover else None
                    return found or await create()
            except TimeoutError as error:
                raise AmbiguousCreate(ProviderFailure(Fault.ANSWER_TIMEOUT)) from error

    async def find(self, create: CreateRow) -> CreatedVoice | None:
        """The voice in the provider's list that only this create can have made. Raises `ProviderFailure`."""
        found = await self.customization.find_created(VoiceKind(create.kind), create.id)
        return None if found is None else CreatedVoice(found.voice, found.target_model, request_id="", billed=None)

    async def record(
        self, create: CreateRow, made: CreatedVoice, *, preview: tuple[str, str] | None = None, also: Also | None = None
    ) -> None:
        """Write down what was made; `preview` is its key and digest. Tried for as long as that makes sense: what is not
        written here is known to the log only. What was written by somebody else stays, and `also` is left out."""
        created = Created(
            id=create.id,
            provider_voice_id=made.voice,
            target_model=made.target_model or create.target_model,
            request_id=made.request_id or None,
            warnings=[FALLBACK] if made.fallback_reason else [],
            preview_object_key=preview[0] if preview else None,
            preview_sha256=preview[1] if preview else None,
            billed=made.billed,
        )
        try:
            written = await until_it_lands(lambda: self._together(also, creates.record_created, created))
            if written:
                CREATES.labels(create.kind).inc()
            known = written or await self._is_known(create, made)
        except BaseException:  # also when the server stops
            log_orphan(create, made.voice, made.request_id)
            raise
        if not known:  # whoever took over an expired claim made another
            log_orphan(create, made.voice, made.request_id)

    async def read(self, create: CreateRow) -> CreateRow:
        """The row as it is now."""
        async with self.database.as_user(create.user_id) as transaction:
            row = await creates.get_create(transaction, create.user_id, create.id)
        if row is None:
            raise LookupError(f"there is no create {create.id}")
        return row

    async def record_failure(self, create: CreateRow, failure: ProviderFailure, *, also: Also | None = None) -> None:
        """So that whoever comes next knows whether to look first, and operators why."""
        state: Literal["ambiguous", "refused"] = "ambiguous" if isinstance(failure, AmbiguousCreate) else "refused"
        _log.warning(
            "voice.create_failed",
            create_id=str(create.id),
            state=state,
            fault=failure.fault.value,
            remedy=failure.fault.facts.remedy,
            vendor_code=failure.vendor.code,
            vendor_message=without_quotes(failure.vendor.message),
            vendor_request_id=failure.vendor.request_id,
        )
        await self.end(create, state, failure.fault.value, also=also)

    async def end(
        self, create: CreateRow, state: Literal["refused", "ambiguous"], error: str, *, also: Also | None = None
    ) -> None:
        """Give the claim up without a voice; `error` is for operators. Without effect, and without `also`, when the
        claim is not the caller's any more."""

        async def record_failed(transaction: Transaction, create_id: UUID) -> bool:
            return await creates.record_failed(
                transaction, create_id, state=state, error=error, attempt=create.attempts
            )

        await until_it_lands(lambda: self._together(also, record_failed, create.id))

    async def _together(self, also: Also | None, write: Callable[[Transaction, T], Awaitable[bool]], value: T) -> bool:
        """The create's row first: whoever needs a create and its task locks them in this order (`storage.creates`)."""
        async with self.database.as_service() as transaction:
            written = await write(transaction, value)
            if written and also is not None:
                await also(transaction)
        return written

    async def _is_known(self, create: CreateRow, made: CreatedVoice) -> bool:
        try:
            return (await self.read(create)).provider_voice_id == made.voice
        except UnknownUser:  # nobody may read it for them any more
            return False

    async def _search(self, create: CreateRow) -> CreatedVoice | None:
        try:
            return await self.find(create)
        except ProviderFailure as failure:  # the question it was to answer stays open
            raise AmbiguousCreate(failure) from failure


def log_orphan(create: CreateRow, provider_voice_id: str | None, request_id: str | None) -> None:
    """The provider has a voice that no row of ours uses: what is needed to find and delete it (`utter orphans`)."""
    _log.error(
        "voice.orphaned",
        create_id=str(create.id),
        kind=create.kind,
        provider_voice_id=provider_voice_id,
        vendor_request_id=request_id,
    )
