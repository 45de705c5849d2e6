"""Voice previews at Modal. The first poll starts the design, in the background (v1 contract 2.3, step 2)."""

from __future__ import annotations

from functools import partial
from uuid import UUID

import structlog

from gateway.leases import Holding, LeaseKeeper
from gateway.modal import words
from gateway.modal.failures import log_failure
from gateway.modal.patience import age_seconds
from gateway.modal.progress import Report
from gateway.modal.rows import Rows
from gateway.outliving import refusing
from gateway.persister import until_it_lands
from gateway.providers import ModalApi
from gateway.receipt import Receipt
from gateway.supervisor import Supervisor
from gateway.tracing import Trace
from protocol.errors import ProviderFailure
from protocol.modal import DesignVoice
from schema.records import TaskRow
from storage.errors import DatabaseUnavailable
from storage.objects import REFERENCES, ObjectStore, ObjectStoreUnavailable

DEFAULT_LANGUAGE = "English"
"""Of a row that names none (v1 contract 2.3, step 2)."""

ABANDONED_SECONDS = 1800.0
"""Age at which a preview that is under way, but not here, has lost the process that made it. No design takes so long,
and v1's page forgets its tasks then."""

PROCESSING = "processing"
"""`modal_status` of a design under way (v1 contract 2.1)."""

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.modal")


class Designs:
    """Starts previews and ends their rows."""

    def __init__(
        self, rows: Rows, objects: ObjectStore, api: ModalApi, supervisor: Supervisor, keeper: LeaseKeeper
    ) -> None:
        self._keeper = keeper
        self._rows = rows
        self._objects = objects
        self._api = api
        self._supervisor = supervisor
        self._under_way: set[UUID] = set()

    async def poll(self, task: TaskRow) -> Report:
        """The task is a design that has not ended. Raises `DatabaseUnavailable`, and `ApiError` 503 when a design
        that nobody has begun cannot be begun now."""
        if task.status == "processing":
            await self._rows.count_poll(task.id)
            if task.id not in self._under_way and age_seconds(task) >= ABANDONED_SECONDS:
                await self._rows.fail(None, task.id, words.DESIGN_INTERRUPTED)
                return Report("failed")
            return Report(PROCESSING)
        claimed = Receipt[bool]()
        self._supervisor.start_job(f"modal design {task.id}", partial(self._run, task, claimed))
        if not await claimed.wait():
            return Report(PROCESSING)
        await self._rows.count_poll(task.id)
        return Report(PROCESSING if _wanted(task) else "failed")

    async def _run(self, task: TaskRow, claimed: Receipt[bool]) -> None:
        self._under_way.add(task.id)
        try:
            with self._keeper.held(Holding(task.id)):
                await self._claim_and_design(task, claimed)
        finally:
            self._under_way.discard(task.id)

    async def _claim_and_design(self, task: TaskRow, claimed: Receipt[bool]) -> None:
        won = await refusing(claimed, partial(self._claim, task))
        if won is None:
            _log.warning("modal.design_not_begun", task_id=str(task.id))
            return
        claimed.accept(won)
        wanted = _wanted(task)
        if won and wanted is not None:
            await self._design(task, wanted)

    async def _claim(self, task: TaskRow) -> bool:
        """Whether it is ours to make; one that does not say what to make has failed then."""
        won = await self._rows.claim_design(task.id, self._keeper.instance.lease)
        if won and _wanted(task) is None:
            await self._rows.fail(None, task.id, words.DESIGN_INCOMPLETE)
        return won

    async def _design(self, task: TaskRow, wanted: DesignVoice) -> None:
        """Every way out leaves the row terminal."""
        trace = Trace(task_id=str(task.id))
        message = words.DESIGN_INTERRUPTED
        ended = False
        try:
            with trace.step("provider.design"):
                audio = await self._api.design(wanted)
            with trace.step("persist"):
                await self._store(task, audio)
            ended = True
        except ProviderFailure as failure:
            log_failure("modal.design_failed", failure, task_id=str(task.id))
            message = words.of_design(failure)
        except (DatabaseUnavailable, ObjectStoreUnavailable):
            trace.log.exception("persist.gave_up")
            message = words.NOT_STORED
        except Exception:
            message = words.CRASHED
            raise
        finally:
            if not ended:
                await self._rows.fail_for_sure(None, task.id, message)

    async def _store(self, task: TaskRow, audio: bytes) -> None:
        key = f"{task.user_id}/preview_{task.id}.wav"

        async def put() -> int:
            return await self._objects.put(REFERENCES, key, audio, "audio/wav", overwrite=True)

        async def complete() -> bool:
            return await self._rows.complete_design(task.id, {"object_key": key})

        await until_it_lands(put)
        if not await until_it_lands(complete):
            # Cancelled or deleted meanwhile: v1 turned such a preview into a completed one.
            await self._objects.delete(REFERENCES, key)


def _wanted(task: TaskRow) -> DesignVoice | None:
    """What the row asks for, None when it does not say enough."""
    text, instruct, language = (task.metadata.get(name) for name in ("text", "instruct", "language"))
    if not (isinstance(text, str) and text and isinstance(instruct, str) and instruct):
        return None
    return DesignVoice(text, language if isinstance(language, str) and language else DEFAULT_LANGUAGE, instruct)
