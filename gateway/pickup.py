"""What becomes of work whose process died or gave it up (product section 11).

Audio that was stored before its process died completes its generation, whatever it was. Else a Qwen task of v1 is
spoken again, a few times at most; nobody waits for a stream any more, and a Modal submission may have reached Modal
without anybody knowing its job: these fail honestly, which also frees v1's guard. What is made meanwhile by a process
that only seemed dead changes nothing: its attempt is not the latest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from uuid import UUID

import anyio
import structlog

from gateway.admission import readmit
from gateway.errors import ApiError
from gateway.leases import Holding, LeaseKeeper, LeaseWatch
from gateway.leftover_audio import find_audio
from gateway.modal.words import DESIGN_INTERRUPTED
from gateway.pipeline import INTERRUPTED
from gateway.settings import Settings
from gateway.supervisor import Supervisor
from gateway.tracing import Trace
from protocol.errors import Fault
from schema.records import ForeignTask, TakenTask
from storage import generations, leases
from storage.database import Database, DatabaseUnavailable, UnknownUser
from storage.errors import LeaseLost
from storage.objects import ObjectStore, ObjectStoreUnavailable

TAKEN_PER_LOOK = 20
"""Tasks taken in one look, so that one process does not take all that a dead one left before others have looked."""

UNHEARD = ("queued", "ws_connecting", "session_updated")
"""How far a generation can be of which nobody has heard anything: the same request may then be made again."""

GAVE_UP = "The server failed repeatedly while this was being made. Please generate it again."

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.pickup")


@dataclass(frozen=True, slots=True)
class PickUp:
    """`look` is a chore of the sweeper."""

    settings: Settings
    database: Database
    objects: ObjectStore
    keeper: LeaseKeeper
    supervisor: Supervisor
    watch: LeaseWatch = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "watch", LeaseWatch(self.settings.lease_seconds))

    async def look(self) -> None:
        """Take what others stopped working on. An outage is logged: what was silent then is not taken for dead."""
        if self.supervisor.draining:
            return
        try:
            for task in islice(filter(self._may_take, await self._silent()), TAKEN_PER_LOOK):
                await self._take(task)
        except LeaseLost:
            return  # it was taken from us in turn: whoever has it now goes on
        except (DatabaseUnavailable, TimeoutError) as error:
            self.watch.interrupted()
            _log.warning("pickup.not_looking", error=type(error).__name__)

    async def _silent(self) -> list[ForeignTask]:
        """Raises `DatabaseUnavailable`, and `TimeoutError` from a database so slow that others cannot renew either."""
        # Before the question: while it waited for its answer nobody may have been able to give a sign.
        now = anyio.current_time()
        with anyio.fail_after(self.keeper.instance.beat_seconds):
            async with self.database.as_service() as transaction:
                tasks = await leases.tasks_of_others(transaction, self.keeper.instance.id)
        return self.watch.look(tasks, now)

    def _is_spoken_again(self, task: ForeignTask) -> bool:
        return task.type == "generate" and task.provider == "qwen" and task.epoch < self.settings.task_attempts

    def _may_take(self, task: ForeignTask) -> bool:
        """What this process has no room for is left: others may have."""
        return self.supervisor.has_room or not self._is_spoken_again(task)

    async def _take(self, task: ForeignTask) -> None:
        with self.keeper.held(Holding(task.task_id)):
            async with self.database.as_service() as transaction:
                taken = await leases.take_over(transaction, task, self.keeper.instance.lease)
            if taken is None:
                return
            _log.warning(
                "pickup.taken",
                task_id=str(task.task_id),
                type=task.type,
                provider=task.provider,
                attempt=taken.epoch,
                handed_over=task.sign == leases.HANDED_OVER,
            )
            if task.provider == "qwen" and await self._complete_with_what_is_stored(task.task_id, taken):
                return
            if self._is_spoken_again(task):
                await self._speak_again(task.task_id, taken)
            else:
                await self._fail(task.task_id, taken, _why(task))

    async def _complete_with_what_is_stored(self, task_id: UUID, taken: TakenTask) -> bool:
        """Whether an earlier attempt's audio was there. With a store that is away nobody knows: it is made again."""
        if taken.generation_id is None:
            return False
        try:
            async with self.database.as_user(taken.user_id) as transaction:
                row = await generations.get_generation(transaction, taken.user_id, taken.generation_id)
            found = await find_audio(self.objects, row, task_id, before=taken.epoch) if row is not None else None
        except (ObjectStoreUnavailable, UnknownUser) as error:
            _log.warning("pickup.not_looked_for_audio", task_id=str(task_id), error=type(error).__name__)
            return False
        if found is None:
            return False
        async with self.database.as_service() as transaction:
            await leases.hold(transaction, task_id, taken.epoch)
            completed = await generations.complete_generation(transaction, found)
        _log.info("pickup.audio_found", task_id=str(task_id), audio_bytes=found.audio_bytes, completed=completed)
        return True

    async def _speak_again(self, task_id: UUID, taken: TakenTask) -> None:
        try:
            order = await readmit(self.database, self.settings, taken, task_id)
        except ApiError as refusal:
            await self._fail(task_id, taken, refusal.detail)
            return
        except UnknownUser:
            return  # the rows went with their user
        try:
            self.supervisor.resume(order, Trace())
        except ApiError:  # it has filled up, or begun to drain, since it was asked
            async with self.database.as_service() as transaction:
                await leases.hand_over(transaction, self.keeper.instance.id, [task_id])

    async def _fail(self, task_id: UUID, taken: TakenTask, message: str) -> None:
        async with self.database.as_service() as transaction:
            await leases.hold(transaction, task_id, taken.epoch)
            await generations.fail_generation(
                transaction,
                taken.generation_id,
                task_id,
                message,
                fault=Fault.CONNECTION_LOST.value,
                free_key=taken.provider_status in UNHEARD,
            )


def _why(task: ForeignTask) -> str:
    """Words for the user of a task that is not made again."""
    if task.type == "design_preview":
        return DESIGN_INTERRUPTED
    return GAVE_UP if task.type == "generate" and task.provider == "qwen" else INTERRUPTED
