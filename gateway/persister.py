"""The generation's rows and its stored audio: the only code of the pipeline that knows there is a database.

State changes are guarded in the database (`WHERE status IN (...)`): whoever comes second changes nothing, and learns
it from the answer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Protocol, TypeVar

import anyio
import structlog

from gateway import metrics
from gateway.leases import Instance
from gateway.providers.base import Outcome
from gateway.running import GenerationOrder, RunningGeneration
from protocol.errors import Fault
from schema.records import Completion, NewGeneration, Provider
from storage import generations, leases, tasks
from storage.audio_spool import SpoolUnavailable
from storage.database import Database, DatabaseUnavailable, Transaction, UnknownUser
from storage.errors import LeaseLost
from storage.objects import GENERATIONS, ObjectStore, ObjectStoreUnavailable

LANDING_SECONDS = 60.0
"""How long a finished generation may try to reach a database or store that is away. The audio lives in memory only,
so this also bounds how long it is held."""

FIRST_RETRY_SECONDS = 0.25
"""First pause between two tries; it doubles up to `LAST_RETRY_SECONDS`."""

LAST_RETRY_SECONDS = 5.0

NOT_STORED = "The audio was made but could not be stored. Please generate it again."

_log = structlog.get_logger("utter")

T = TypeVar("T")


class Spool(Protocol):
    """Where whole audio waits that cannot be stored."""

    async def keep(self, order: GenerationOrder, done: Completion, audio: memoryview) -> None:
        """Raises `SpoolUnavailable`."""


class Persister:
    """Writes rows and objects for running generations."""

    def __init__(
        self, database: Database, objects: ObjectStore, spool: Spool, instance: Instance, *, provider: Provider
    ) -> None:
        self._spool = spool
        self._database = database
        self._objects = objects
        self._instance = instance
        self._provider = provider

    async def begin(self, running: RunningGeneration) -> None:
        """Insert generation and task as their owner. Raises the storage errors of `start_generation`."""
        order = running.order
        with running.trace.step("database.begin"):
            async with self._database.as_user(order.owner) as transaction:
                await generations.start_generation(
                    transaction,
                    NewGeneration(
                        generation_id=order.generation_id,
                        task_id=order.task_id,
                        user_id=order.owner,
                        voice_id=order.voice_id,
                        voice_name=order.voice_name,
                        text=order.utterance.text,
                        language=order.utterance.language,
                        provider=self._provider,
                        provider_model=order.utterance.model,
                        task_type=order.task_type,
                        metadata=order.metadata,
                        lease=self._instance.lease,
                        request_key=order.request_key,
                    ),
                )

    async def note_status(self, running: RunningGeneration, status: str) -> None:
        """Write progress. Losing one is harmless: the next poll of this process reads it from memory."""
        try:
            async with self._as_latest(running.order) as transaction:
                await tasks.set_provider_status(transaction, running.task_id, status)
        except Exception as error:
            running.trace.log.warning("database.status_lost", status=status, error=type(error).__name__)

    async def store(self, running: RunningGeneration, outcome: Outcome) -> None:
        """Store the audio, then complete the rows. Audio of a generation that was cancelled meanwhile is removed; what
        cannot land goes to the spool."""
        running.completion = _completion(running, outcome)
        metrics.CHARACTERS.inc(outcome.characters or 0)
        try:
            with running.trace.step("persist", audio_bytes=running.log.size):
                await until_it_lands(lambda: self._put(running))
                completed = await until_it_lands(lambda: self._complete(running))
        except LeaseLost:
            await self.withdraw(running)
            return
        except Exception:  # whatever it was, the audio is paid for
            running.trace.log.exception("persist.gave_up", audio_bytes=running.log.size)
            if not await self.set_aside(running):
                await self.fail(running, NOT_STORED, Fault.UNKNOWN)
            return
        if completed:
            self._ended(running, "completed")
            metrics.GENERATION_TIME.labels(self._provider).observe(running.trace.elapsed_ms() / 1000)
        else:
            self._ended(running, "cancelled")
            await self._discard_unless_completed(running)

    async def set_aside(self, running: RunningGeneration) -> bool:
        """Put whole audio into the spool, to be stored later. False when it is not whole, or the disk does not take it:
        then it will be lost."""
        if running.completion is None:
            return False
        try:
            await self._spool.keep(running.order, running.completion, running.log.view())
        except SpoolUnavailable:
            running.trace.log.exception("spool.refused", audio_bytes=running.log.size)
            return False
        running.set_status("spooled")
        self._ended(running, "spooled")
        return True

    async def fail(self, running: RunningGeneration, message: str, fault: Fault) -> None:
        """Rows to `failed`, with words for the user, and no audio left behind. A failure that repeating may mend, and
        of which nobody has heard anything, frees the request's key."""
        free_key = fault.facts.retryable and not running.log.size

        async def write() -> bool:
            async with self._as_latest(running.order) as transaction:
                return await generations.fail_generation(
                    transaction,
                    running.generation_id,
                    running.task_id,
                    message,
                    fault=fault.value,
                    free_key=free_key,
                )

        self._ended(running, "failed")
        await self._write_terminal(running, write)
        if running.log.size:
            await self._discard_unless_completed(running)

    async def hand_over(self, running: RunningGeneration) -> None:
        """Let another process begin it anew; this one is being stopped."""

        async def write() -> bool:
            async with self._database.as_service() as transaction:
                return bool(await leases.hand_over(transaction, self._instance.id, [running.task_id]))

        await self._write_terminal(running, write)
        await self.withdraw(running)

    async def withdraw(self, running: RunningGeneration) -> None:
        """Leave the rows to whoever has them now, and no audio behind."""
        running.trace.log.warning("generation.left_to_others", audio_bytes=running.log.size)
        self._ended(running, "left")
        if running.log.size:
            await self._discard_unless_completed(running)

    async def cancel(self, running: RunningGeneration) -> None:
        """Rows to `cancelled`, and no audio left behind."""

        async def write() -> bool:
            async with self._database.as_service() as transaction:
                return await generations.cancel_generation(transaction, running.generation_id, running.task_id)

        self._ended(running, "cancelled")
        await self._write_terminal(running, write)
        if running.log.size:
            await self._discard_unless_completed(running)

    def _ended(self, running: RunningGeneration, ending: metrics.Ending) -> None:
        metrics.count_ending(self._provider, running.order.task_type, ending)

    async def _put(self, running: RunningGeneration) -> None:
        await self._objects.put(GENERATIONS, running.order.object_key, running.log.view(), content_type="audio/mpeg")

    async def _complete(self, running: RunningGeneration) -> bool:
        if running.completion is None:
            raise LookupError("nothing to complete: the provider has not finished")
        async with self._as_latest(running.order) as transaction:
            return await generations.complete_generation(transaction, running.completion)

    @asynccontextmanager
    async def _as_latest(self, order: GenerationOrder) -> AsyncIterator[Transaction]:
        """A service transaction during which nobody takes the task over. Raises `LeaseLost` when somebody did."""
        async with self._database.as_service() as transaction:
            await leases.hold(transaction, order.task_id, order.epoch)
            yield transaction

    async def _write_terminal(self, running: RunningGeneration, write: Callable[[], Awaitable[bool]]) -> None:
        try:
            await until_it_lands(write)
        except LeaseLost as lost:
            running.trace.log.warning("lease.lost", error=str(lost))
        except Exception:  # there is nobody to tell: the generation is over, and others run beside it
            running.trace.log.exception("database.terminal_state_lost")

    async def _discard_unless_completed(self, running: RunningGeneration) -> None:
        """Remove the audio of rows that did not complete. They may have, when a commit outlived the stop or the
        connection of the one who sent it: then the audio is what they point to. When nobody knows, it stays."""
        try:
            if not await self._is_completed(running.order):
                await self._objects.delete(GENERATIONS, running.order.object_key)
        except Exception:  # the object stays, which the log says
            running.trace.log.exception("persist.orphaned_object", object_key=running.order.object_key)

    async def _is_completed(self, order: GenerationOrder) -> bool:
        try:
            async with self._database.as_user(order.owner) as transaction:
                row = await generations.get_generation(transaction, order.owner, order.generation_id)
        except UnknownUser:  # the rows went with their user
            return False
        return row is not None and row.status == "completed" and row.audio_object_key == order.object_key


def _completion(running: RunningGeneration, outcome: Outcome) -> Completion:
    trace, order = running.trace, running.order
    first_audio_ms = trace.at("provider.first_audio")
    return Completion(
        generation_id=order.generation_id,
        task_id=order.task_id,
        object_key=order.object_key,
        output_format="mp3",
        duration_seconds=outcome.audio_seconds,
        generation_time_seconds=round(trace.elapsed_ms() / 1000, 3),
        first_audio_seconds=None if first_audio_ms is None else round(first_audio_ms / 1000, 3),
        audio_bytes=running.log.size,
        audio_sha256=running.log.sha256,
        characters_billed=outcome.characters,
        provider_metadata={
            "session_id": outcome.session_id,
            "responses": outcome.responses,
            "attempts": outcome.attempts,
            "usage": outcome.usage,
        },
        timings=[asdict(timing) for timing in trace.timings],
    )


async def until_it_lands(operation: Callable[[], Awaitable[T]]) -> T:
    """Repeat while the database or the store is away, up to `LANDING_SECONDS`; then raise the last error."""
    pause = FIRST_RETRY_SECONDS
    deadline = anyio.current_time() + LANDING_SECONDS
    while True:
        try:
            return await operation()
        except (DatabaseUnavailable, ObjectStoreUnavailable) as error:
            if anyio.current_time() + pause > deadline:
                raise
            _log.warning("persist.retry", pause_seconds=pause, error=type(error).__name__)
            await anyio.sleep(pause)
            pause = min(pause * 2, LAST_RETRY_SECONDS)
