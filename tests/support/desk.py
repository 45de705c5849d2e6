"""Rows of running tasks and their leases, written and read as several processes would."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID, uuid4

import anyio
import msgspec

from schema.records import ForeignTask, NewGeneration, NewLease, RequestKey, TakenTask, TaskRow
from storage import generations, leases, tasks, voices
from storage.database import Database
from tests.support.exchange import WAIT_SECONDS
from tests.support.migrations import Sql, connected
from tests.support.postgres import TestDatabase
from tests.support.rows import completion, new_generation, new_voice
from tests.support.workshop import LOOK_SECONDS

LEASE_SECONDS = 60.0
"""Longer than any test."""


@dataclass(frozen=True)
class Desk:
    """One user's tasks. `sql` is the superuser's connection, for what no code of ours would write."""

    opened: Database
    sql: Sql
    owner: UUID
    voice_id: UUID

    async def start(
        self,
        instance: UUID,
        task_type: Literal["generate", "generate_stream"] = "generate_stream",
        *,
        seconds: float = LEASE_SECONDS,
        address: str | None = None,
        key: RequestKey | None = None,
    ) -> NewGeneration:
        """A task that this process works on."""
        new = msgspec.structs.replace(
            new_generation(self.owner, self.voice_id, task_type),
            lease=NewLease(instance=instance, address=address, seconds=seconds),
            request_key=key,
        )
        async with self.opened.as_user(self.owner) as tx:
            await generations.start_generation(tx, new)
        return new

    async def end(self, new: NewGeneration, how: str) -> bool:
        async with self.opened.as_service() as tx:
            match how:
                case "complete":
                    return await generations.complete_generation(tx, completion(new))
                case "fail":
                    return await generations.fail_generation(tx, new.generation_id, new.task_id, "It failed.")
                case _:
                    return await generations.cancel_generation(tx, new.generation_id, new.task_id)

    async def task(self, new: NewGeneration) -> TaskRow:
        async with self.opened.as_user(self.owner) as tx:
            found = await tasks.get_task(tx, self.owner, new.task_id)
        assert found is not None
        return found

    async def lease(self, task_id: UUID) -> dict[str, Any] | None:
        """The row as it is, with `given_up`; None when there is none."""
        found = "select *, until = 'epoch' as given_up from utter.leases where task_id = $1"
        exists = await self.sql.value("select exists (select from utter.leases where task_id = $1)", task_id)
        return await self.sql.row(found, task_id) if exists else None

    async def others(self, instance: UUID) -> dict[UUID, ForeignTask]:
        """What this process would find."""
        async with self.opened.as_service() as tx:
            return {task.task_id: task for task in await leases.tasks_of_others(tx, instance)}

    async def foreign(self, new: NewGeneration) -> ForeignTask:
        """The task as a process finds it that has nothing to do with it."""
        return (await self.others(uuid4()))[new.task_id]

    async def take(self, task: ForeignTask, instance: UUID, seconds: float = LEASE_SECONDS) -> TakenTask | None:
        async with self.opened.as_service() as tx:
            return await leases.take_over(tx, task, NewLease(instance=instance, address=None, seconds=seconds))

    async def renew(
        self, instance: UUID, *renewed: UUID, seconds: float = LEASE_SECONDS
    ) -> dict[UUID, tuple[int, str]]:
        """Epoch and status of all that the process has."""
        async with self.opened.as_service() as tx:
            rows = await leases.renew(tx, instance, renewed, seconds=seconds)
        return {row.task_id: (row.epoch, row.status) for row in rows}

    async def hand_over(self, instance: UUID, *given: UUID) -> int:
        async with self.opened.as_service() as tx:
            return await leases.hand_over(tx, instance, given)

    async def mark_spooled(self, new: NewGeneration, epoch: int = 1, seconds: float = LEASE_SECONDS) -> bool:
        async with self.opened.as_service() as tx:
            return await leases.mark_spooled(tx, new.task_id, epoch, seconds=seconds)

    async def somebody_waits(self) -> None:
        """Return when a lock is waited for."""
        with anyio.fail_after(WAIT_SECONDS):
            while not await self.sql.value("select exists (select from pg_locks where not granted)"):
                await _look()


async def _look() -> None:
    """Let some time pass before the next look."""
    await anyio.sleep(LOOK_SECONDS)


@asynccontextmanager
async def open_desk(database: TestDatabase) -> AsyncIterator[Desk]:
    """Of a new user with a voice."""
    async with Database.open(database.gateway_url, max_connections=6) as opened, connected(database) as sql:
        owner = database.create_user()
        voice = new_voice(owner)
        async with opened.as_user(owner) as tx:
            await voices.insert_voice(tx, voice)
        yield Desk(opened, sql, owner, voice.id)
