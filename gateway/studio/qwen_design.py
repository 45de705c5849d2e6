"""Designing at Qwen: one create for each preview, begun when it is asked for (product section 6).

The create's row keeps what was paid for, whatever becomes of the task: v1 clients delete it right after it completes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from uuid import UUID, uuid4

import structlog

from gateway.outliving import refusing
from gateway.receipt import Receipt
from gateway.settings import Settings
from gateway.studio.creates import Also, Creates
from gateway.studio.previews import Previews
from gateway.studio.qwen_clone import check_language
from gateway.studio.words import design_words
from gateway.supervisor import Supervisor
from protocol.customization_answers import CreatedVoice
from protocol.errors import ProviderFailure
from schema.http_voices import PreviewRequest
from schema.records import Claim, CreateRow, Json, NewCreate, NewTask
from storage import generations, tasks
from storage.database import Database, DatabaseUnavailable, Transaction, UnknownUser

MAKING = "streaming"
"""`provider_status` while the provider works on it: the nearest word of the closed list (product section 4)."""

FAILED = "Something went wrong on our side. Please try again."

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.studio")


@dataclass(frozen=True, slots=True)
class QwenDesigns:
    """Previews of voices of kind `vd`."""

    settings: Settings
    database: Database
    creates: Creates
    previews: Previews
    supervisor: Supervisor

    async def start(self, owner: UUID, wanted: PreviewRequest) -> UUID:
        """See `Studio.start_preview`. It goes on whether its user waits or not."""
        check_language(wanted.language)
        task_id = uuid4()
        receipt = Receipt[UUID]()
        self.supervisor.start_job(f"design {task_id}", partial(self._run, owner, task_id, wanted, receipt))
        return await receipt.wait()

    async def finish(self, create: CreateRow, made: CreatedVoice) -> None:
        """Keep the preview; then write down what it cost and complete the task, if it is still wanted, at once.

        A crash before that is repaired by `recovery`. Raises `ProviderFailure` and the storage errors.
        """
        key, digest = await self.previews.keep(create, made)
        result: Json = {
            "object_key": key,
            "provider_voice_id": made.voice,
            "provider_target_model": made.target_model or create.target_model,
            "provider_voice_kind": "vd",
            "provider_request_id": made.request_id or None,
        }

        async def complete(transaction: Transaction) -> None:
            if not await tasks.complete_design(transaction, create.id, result):
                _log.info("design.not_wanted_any_more", task_id=str(create.id), provider_voice_id=made.voice)

        await self.creates.record(create, made, preview=(key, digest), also=complete)

    async def give_up(self, create: CreateRow, made: CreatedVoice, detail: str) -> None:
        """There is a voice, but no preview of it to be had: it goes to the list of orphans, and the task fails."""
        await self.creates.record(create, made, also=failing(create.id, detail))

    async def _run(self, owner: UUID, task_id: UUID, wanted: PreviewRequest, receipt: Receipt[UUID]) -> None:
        request: Json = {"text": wanted.text, "language": wanted.language, "instruct": wanted.instruct}
        claim = await refusing(receipt, partial(self._begin, owner, task_id, request))
        if claim is None:
            return
        receipt.accept(task_id)
        try:
            made = await self.creates.send(claim, partial(self._create, claim.create))
        except ProviderFailure as failure:
            detail = design_words(failure)
            await self.creates.record_failure(claim.create, failure, also=failing(task_id, detail))
            return
        try:
            await self.finish(claim.create, made)
        except ProviderFailure as failure:
            await self.give_up(claim.create, made, design_words(failure))
        except DatabaseUnavailable:  # nothing can be written: whoever recovers the claim finds voice and preview
            _log.exception("design.left_to_recovery", task_id=str(task_id))
        except Exception:
            _log.exception("design.crashed", task_id=str(task_id))
            await self.give_up(claim.create, made, FAILED)

    async def _begin(self, owner: UUID, task_id: UUID, request: Json) -> Claim:
        """The claim comes first: a task that has none would wait for ever if this process died in between, a claim
        without task is found out when it runs out."""
        claim = await self.creates.claim(
            NewCreate(
                id=task_id,
                user_id=owner,
                kind="vd",
                region=self.settings.dashscope_region,
                target_model=self.settings.vd_target_model,
                request=request,
            )
        )
        task = NewTask(
            id=task_id,
            user_id=owner,
            type="design_preview",
            provider="qwen",
            provider_status="queued",
            metadata=request,
        )
        try:
            async with self.database.as_user(owner) as transaction:
                await tasks.insert_task(transaction, task)
        except UnknownUser:  # any other failure may have left the row there
            await self.creates.end(claim.create, "refused", "its user is gone")
            raise
        async with self.database.as_service() as transaction:
            await tasks.set_provider_status(transaction, task_id, MAKING)
        return claim

    async def _create(self, create: CreateRow) -> CreatedVoice:
        request = create.request
        return await self.creates.customization.design(
            create.id, description=request["instruct"], preview_text=request["text"], language=request["language"]
        )


def failing(task_id: UUID, detail: str) -> Also:
    """End the task of a design, unless it has ended. `detail` is for its user."""

    async def fail(transaction: Transaction) -> None:
        await generations.fail_generation(transaction, None, task_id, detail)

    return fail
