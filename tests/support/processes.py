"""Processes that share a database and a store: gateways whose renewals and looks at others are the test's to call.

One that is not told to renew is as good as dead to the others, and can still write late.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

import anyio
import msgspec

from gateway.leases import LeaseKeeper, LeaseWatch
from gateway.pickup import PickUp
from gateway.running import RunningGeneration
from gateway.supervisor import Supervisor
from schema.records import ForeignTask, GenerationRow, NewGeneration, NewLease, Provider, TaskRow
from storage import generations, tasks
from storage.objects import GENERATIONS
from tests.support.exchange import WAIT_SECONDS
from tests.support.gateway import Caller, Gateway, Stage, open_gateway
from tests.support.leases import LEASE_SECONDS
from tests.support.postgres import TestDatabase
from tests.support.rows import new_generation
from tests.support.workshop import LOOK_SECONDS


class TimeTravel(LeaseWatch):
    """A watch whose clock is the test's; `told` is what the real one showed."""

    def __init__(self, lease_seconds: float) -> None:
        super().__init__(lease_seconds)
        self.time = 0.0
        self.told = 0.0

    def look(self, tasks: Sequence[ForeignTask], now: float) -> list[ForeignTask]:
        self.told = now
        return super().look(tasks, self.time)


@dataclass(frozen=True)
class Process:
    """A gateway as one of several."""

    gateway: Gateway
    pick_up: PickUp = field(init=False)

    def __post_init__(self) -> None:
        services = self.gateway.services
        pick_up = PickUp(services.settings, services.database, services.objects, self.keeper, services.supervisor)
        object.__setattr__(pick_up, "watch", TimeTravel(services.settings.lease_seconds))
        object.__setattr__(self, "pick_up", pick_up)

    @property
    def stage(self) -> Stage:
        return self.gateway.stage

    @property
    def supervisor(self) -> Supervisor:
        return self.gateway.services.supervisor

    @property
    def keeper(self) -> LeaseKeeper:
        return self.supervisor._keeper

    @property
    def lease_seconds(self) -> float:
        """How long a task must be silent for this one."""
        return self.gateway.services.settings.lease_seconds

    async def look(self, after: float = 0.0) -> None:
        """Look at the others, so many seconds after the last look."""
        watch = self.pick_up.watch
        assert isinstance(watch, TimeTravel)
        watch.time += after
        await self.pick_up.look()

    async def outwait(self) -> None:
        """Look until whoever was silent all the time must be dead."""
        await self.look()
        await self.look(after=self.lease_seconds)

    async def outwait_almost(self) -> None:
        """As `outwait`, but for a second."""
        await self.look()
        await self.look(after=self.lease_seconds - 1)

    async def idle(self) -> None:
        """Wait until nothing runs here."""
        with anyio.fail_after(WAIT_SECONDS):
            await self.supervisor.wait_idle()

    async def finish(self, audio: bytes) -> None:
        """Everything on stage says this, and ends."""
        await self.stage.say(audio)
        self.stage.finish()
        await self.idle()

    async def say(self, running: RunningGeneration, audio: bytes) -> None:
        """Everything on stage says this, and the row says that it streams: whoever looks now meets no writer."""
        await self.stage.say(audio)
        with anyio.fail_after(WAIT_SECONDS):
            while (await self._row(running.order.owner, running.task_id)).provider_status != "streaming":
                await _look()

    async def task(self, new: NewGeneration) -> TaskRow:
        return await self._row(new.user_id, new.task_id)

    async def _row(self, owner: UUID, task_id: UUID) -> TaskRow:
        async with self.gateway.services.database.as_user(owner) as transaction:
            found = await tasks.get_task(transaction, owner, task_id)
        assert found is not None
        return found

    async def generation(self, new: NewGeneration) -> GenerationRow:
        async with self.gateway.services.database.as_user(new.user_id) as transaction:
            found = await generations.get_generation(transaction, new.user_id, new.generation_id)
        assert found is not None
        return found

    async def states(self, new: NewGeneration) -> tuple[str, str]:
        """Of the generation and of its task."""
        return (await self.generation(new)).status, (await self.task(new)).status

    async def stored(self, key: str | None) -> bytes | None:
        """The object, None when there is none."""
        objects = self.gateway.services.objects
        if key is None or await objects.head(GENERATIONS, key) is None:
            return None
        return b"".join([piece async for piece in objects.read(GENERATIONS, key)])

    async def sql(self, script: str, **variables: str) -> None:
        """As superuser."""
        await anyio.to_thread.run_sync(lambda: self.gateway.database.run(script, **variables))


async def _look() -> None:
    """Let some time pass before the next look."""
    await anyio.sleep(LOOK_SECONDS)


@asynccontextmanager
async def open_process(database: TestDatabase, folder: Path, **environment: str) -> AsyncIterator[Process]:
    """One more process on this database, with the objects below `folder`."""
    async with open_gateway(database, folder, **environment) as gateway:
        yield Process(gateway)


async def left_running(
    process: Process,
    caller: Caller,
    task_type: str = "generate",
    *,
    provider: Provider = "qwen",
    epoch: int = 1,
    instance: UUID | None = None,
) -> NewGeneration:
    """A task of a process that nobody has heard of since; of v1's code with `epoch` 0."""
    voice = await caller.add_voice()
    lease = NewLease(instance=instance or uuid4(), address=None, seconds=LEASE_SECONDS)
    new = msgspec.structs.replace(
        new_generation(caller.id, voice.id, "generate", provider=provider),
        task_type=task_type,
        lease=lease if epoch else None,
    )
    async with process.gateway.services.database.as_user(caller.id) as transaction:
        await generations.start_generation(transaction, new)
    if epoch > 1:
        await process.sql(
            "update utter.leases set epoch = :'epoch' where task_id = :'id'", epoch=str(epoch), id=str(new.task_id)
        )
    return new
