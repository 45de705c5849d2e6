"""Finished audio that cannot be stored waits on disk and lands later, here or with the next process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from gateway import persister as persister_module
from gateway import spooling as spooling_module
from gateway.leases import LeaseKeeper
from gateway.persister import Persister
from gateway.running import EndReason, RunningGeneration
from gateway.spooling import AudioSpool, open_audio_spool
from storage import leases
from storage.generations import cancel_generation
from tests.support.exchange import WAIT_SECONDS
from tests.support.leases import new_instance, open_keeper
from tests.support.migrations import Sql, connected
from tests.support.workshop import SPEECH, Pause, ScriptedProvider, Workshop, cut_off

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(persister_module, "LANDING_SECONDS", 0.0)


@dataclass(frozen=True)
class Process:
    """One process of the service: a workshop whose persister has a spool."""

    workshop: Workshop
    keeper: LeaseKeeper
    spool: AudioSpool

    async def speak(self) -> RunningGeneration:
        """A generation from its order to the end of its pipeline."""
        order = await self.workshop.order(self.workshop.user())
        async with self.workshop.running(ScriptedProvider(SPEECH), order) as running:
            return running

    async def die(self) -> None:
        """Its folder is unlocked, and what it held in memory is gone."""
        await self.spool.aclose()
        self.spool._folder = None
        self.spool._waiting.clear()


async def until_one_waits(workshop: Workshop, sql: Sql) -> None:
    """Somebody waits for a lock in the database."""
    waiting = (
        "select exists (select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database())"
    )
    with anyio.fail_after(WAIT_SECONDS):
        while not await sql.value(waiting):
            await workshop.look()


@asynccontextmanager
async def started(workshop: Workshop, folder: Path) -> AsyncIterator[Process]:
    keeper = open_keeper(workshop.pool, new_instance())
    async with open_audio_spool(folder / "spool", workshop.pool, workshop.objects, keeper) as spool:
        persister = Persister(workshop.pool, workshop.objects, spool, keeper.instance, provider="qwen")
        yield Process(replace(workshop, persister=persister), keeper, spool)


@pytest.fixture
async def process(anyio_backend: Any, workshop: Workshop, tmp_path: Path) -> AsyncIterator[Process]:
    async with started(workshop, tmp_path) as opened:
        yield opened


async def test_a_store_that_is_away_costs_nothing(process: Process, workshop: Workshop) -> None:
    async with workshop.store_away():
        running = await process.speak()
        assert await workshop.states(running.order) == ("processing", "processing", "spooled")
        await process.spool.land()  # still away
        entry = process.spool.get(running.generation_id)
        assert entry is not None
        assert b"".join([piece async for piece in process.spool.read(entry, 1, 9)]) == SPEECH[1:9]
    await process.spool.land()
    assert await workshop.states(running.order) == ("completed", "completed", "completed")
    assert await workshop.stored(running.order) == SPEECH
    assert process.spool.get(running.generation_id) is None
    assert process.keeper._held == {}


async def test_nobody_else_may_make_it_again_meanwhile(process: Process, workshop: Workshop) -> None:
    async with workshop.store_away():
        running = await process.speak()
    await process.keeper.renew()
    async with workshop.pool.as_service() as transaction:
        (task,) = await leases.tasks_of_others(transaction, new_instance().id)
    assert (task.task_id, task.held) == (running.task_id, True)


async def test_the_next_process_lands_what_a_dead_one_left(
    process: Process, workshop: Workshop, tmp_path: Path
) -> None:
    async with workshop.store_away():
        running = await process.speak()
    await process.die()
    async with started(workshop, tmp_path) as successor:
        await successor.spool.adopt()
        await successor.spool.land()
    assert await workshop.states(running.order) == ("completed", "completed", "completed")
    assert await workshop.stored(running.order) == SPEECH
    assert not list((tmp_path / "spool").glob("*"))


async def test_who_is_stopped_while_adopting_leaves_it_to_the_next(
    process: Process, workshop: Workshop, tmp_path: Path
) -> None:
    async with workshop.store_away():
        running = await process.speak()
    await process.die()
    async with started(workshop, tmp_path) as stopped, connected(workshop.database) as other:
        await other.execute("begin; lock table utter.leases")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stopped.spool.adopt)
            await until_one_waits(workshop, other)
            tasks.cancel_scope.cancel()
        await other.execute("rollback")
        async with started(workshop, tmp_path) as successor:
            await successor.spool.adopt()
            await successor.spool.land()
    assert await workshop.states(running.order) == ("completed", "completed", "completed")
    assert await workshop.stored(running.order) == SPEECH


async def test_two_that_are_kept_at_once_are_both_kept(process: Process, workshop: Workshop) -> None:
    orders = [await workshop.order(workshop.user()) for _ in range(2)]
    pauses = [Pause(), Pause()]
    async with (
        workshop.store_away(),
        process.workshop.running(ScriptedProvider(pauses[0], SPEECH), orders[0]) as one,
        process.workshop.running(ScriptedProvider(pauses[1], SPEECH), orders[1]) as other,
    ):
        for pause in pauses:
            await pause.reached()
        for pause in pauses:
            pause.end()
        for running in (one, other):
            await running.ended.wait()
    await process.spool.land()
    for order in orders:
        assert await workshop.states(order) == ("completed", "completed", "completed")


async def test_what_somebody_makes_anew_is_not_landed_twice(
    process: Process, workshop: Workshop, tmp_path: Path
) -> None:
    async with workshop.store_away():
        running = await process.speak()
    await process.die()
    workshop.database.run("update utter.leases set epoch = 2, spooled = false")
    async with started(workshop, tmp_path) as successor:
        await successor.spool.adopt()
        assert successor.spool.get(running.generation_id) is None
    assert await workshop.states(running.order) == ("processing", "processing", "spooled")
    assert not list((tmp_path / "spool").glob("*"))


async def test_what_its_user_cancelled_meanwhile_leaves_no_audio(process: Process, workshop: Workshop) -> None:
    async with workshop.store_away():
        running = await process.speak()
    async with workshop.pool.as_service() as transaction:
        assert await cancel_generation(transaction, running.generation_id, running.task_id)
    await process.spool.land()
    assert await workshop.states(running.order) == ("cancelled", "cancelled", "cancelled")
    assert await workshop.stored(running.order) is None
    assert process.spool.get(running.generation_id) is None


async def test_a_database_that_is_away_costs_nothing(process: Process, workshop: Workshop) -> None:
    order = await workshop.order(workshop.user())
    pause = Pause()
    async with process.workshop.running(ScriptedProvider(pause, SPEECH), order) as running:
        await pause.reached()
        async with cut_off(workshop.database):
            pause.end()
            await running.ended.wait()
            assert process.spool.get(running.generation_id) is not None
            await process.spool.land()
    await process.spool.land()
    assert await workshop.states(order) == ("completed", "completed", "completed")
    assert await workshop.stored(order) == SPEECH


async def test_a_stop_in_the_middle_of_storing_sets_it_aside(
    process: Process, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(persister_module, "LANDING_SECONDS", 60.0)
    order = await workshop.order(workshop.user())
    async with workshop.store_away(), process.workshop.running(ScriptedProvider(SPEECH), order) as running:
        while running.completion is None:
            await workshop.look()
        running.stop(EndReason.SHUTDOWN)
    await process.spool.land()
    assert await workshop.states(order) == ("completed", "completed", "completed")


async def test_what_never_lands_fails_in_the_end(
    process: Process, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spooling_module, "SPOOLED_SECONDS", -1.0)
    async with workshop.store_away():
        running = await process.speak()
        await process.spool.land()
    assert await workshop.states(running.order) == ("failed", "failed", "failed")
    assert process.spool.get(running.generation_id) is None
