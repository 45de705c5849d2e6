"""Previews whose maker died in the middle: finished or ended honestly, never made a second time (product section 6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import structlog

from gateway.running import ACTIVE
from gateway.settings import Settings
from gateway.studio.creates import CLAIM_SECONDS
from gateway.studio.qwen_design import QwenDesigns, failing
from protocol.customization_answers import CreatedVoice
from protocol.errors import ProviderFailure
from schema.records import CreateRow
from storage import creates, tasks
from storage.database import UnknownUser
from storage.objects import ObjectStoreUnavailable

STALE_BATCH = 10
"""Previews taken up in one sweep; the next one follows in seconds."""

MAX_ATTEMPTS = 6
"""Claims of one preview, the first included. The provider was away for the rest of them, half an hour: v1's page has
forgotten the task by then (v1 contract 5)."""

LOST = "The server was restarted before this preview was ready. Please try again."
NO_CREDENTIALS = (
    "This preview was begun with a speech service that is not set up on this server any more. Please make another one."
)

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.studio")


@dataclass(frozen=True, slots=True)
class DesignRecovery:
    """A chore of the sweeper, in both modes: work already begun belongs to the provider on its row (product decision
    1). The claim keeps other processes away meanwhile."""

    settings: Settings
    designs: QwenDesigns

    async def recover(self) -> None:
        """Take up what is stale, one at a time: a claim has to outlast the work on it.

        Raises the storage errors; what fails at the provider is left for later.
        """
        for _ in range(STALE_BATCH):
            async with self.designs.database.as_service() as transaction:
                stale = await creates.take_stale_designs(transaction, seconds=CLAIM_SECONDS, limit=1)
            if not stale:
                return
            await self._recover(stale[0])

    async def _recover(self, create: CreateRow) -> None:
        if not self.settings.dashscope_api_key or create.region != self.settings.dashscope_region:
            # Another account's list would say nothing about this voice.
            await self._end(create, "ambiguous", "no credentials for its provider or region", NO_CREDENTIALS)
            return
        try:
            made = await self.designs.creates.find(create)
        except ProviderFailure as failure:
            await self._look_again_later(create, None, failure)
            return
        if made is None:
            # Long after its slowest answer the list is reliable: it was never made, or deleted at the provider.
            await self._end(create, "refused", "not in the provider's list", LOST)
            return
        if not await self._is_wanted(create):
            await self.designs.creates.record(create, made)
            return
        try:
            await self.designs.finish(create, made)
        except (ProviderFailure, ObjectStoreUnavailable) as failure:
            await self._look_again_later(create, made, failure)

    async def _look_again_later(
        self, create: CreateRow, made: CreatedVoice | None, failure: ProviderFailure | ObjectStoreUnavailable
    ) -> None:
        """Unless that cannot help, or it was done often enough, which costs characters each time: then the voice, if
        there is one, is left to the list of orphans."""
        name = failure.fault.value if isinstance(failure, ProviderFailure) else type(failure).__name__
        may_pass = not isinstance(failure, ProviderFailure) or failure.fault.facts.retryable
        if may_pass and create.attempts < MAX_ATTEMPTS:
            _log.warning("design.recovery_postponed", create_id=str(create.id), fault=name, attempt=create.attempts)
            return
        _log.warning("design.recovery_given_up", create_id=str(create.id), fault=name, attempt=create.attempts)
        if made is None:
            await self._end(create, "ambiguous", name, LOST)
        else:
            await self.designs.give_up(create, made, LOST)

    async def _end(self, create: CreateRow, state: Literal["refused", "ambiguous"], error: str, detail: str) -> None:
        """`error` is for operators, `detail` for the task's user."""
        await self.designs.creates.end(create, state, error, also=failing(create.id, detail))

    async def _is_wanted(self, create: CreateRow) -> bool:
        """Whether anybody still waits for the preview: it costs characters."""
        try:
            async with self.designs.database.as_user(create.user_id) as transaction:
                task = await tasks.get_task(transaction, create.user_id, create.id)
        except UnknownUser:
            return False
        return task is not None and task.status in ACTIVE
