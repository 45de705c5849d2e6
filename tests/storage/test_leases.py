"""Leases: who works on a task, who may take it over, and that an earlier attempt cannot write any more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import anyio
import pytest

from schema.records import NewLease, TakenTask
from storage import generations, leases
from storage.errors import LeaseLost
from storage.leases import HANDED_OVER
from tests.support.desk import LEASE_SECONDS, Desk, open_desk
from tests.support.postgres import TestDatabase

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

ENDINGS = ("complete", "fail", "cancel")


@pytest.fixture
async def desk(anyio_backend: Any, database: TestDatabase) -> AsyncIterator[Desk]:
    async with open_desk(database) as found:
        yield found


class TestFinding:
    async def test_a_lease_says_where_its_process_is_reached(self, desk: Desk, database: TestDatabase) -> None:
        here = uuid4()
        new = await desk.start(here, address="http://10.0.0.7:8081")
        async with desk.opened.as_user(desk.owner) as tx:
            found = await leases.of_generation(tx, desk.owner, new.generation_id)
        assert found is not None
        assert (found.task_id, found.user_id) == (new.task_id, desk.owner)
        assert (found.instance, found.address, found.epoch) == (here, "http://10.0.0.7:8081", 1)
        stranger = database.create_user()
        async with desk.opened.as_user(stranger) as tx:
            assert await leases.of_generation(tx, stranger, new.generation_id) is None

    async def test_one_that_has_run_out_says_nothing(self, desk: Desk) -> None:
        new = await desk.start(uuid4(), seconds=-1)
        async with desk.opened.as_user(desk.owner) as tx:
            assert await leases.of_generation(tx, desk.owner, new.generation_id) is None


class TestTakingOver:
    async def test_the_attempts_are_counted(self, desk: Desk) -> None:
        new = await desk.start(uuid4())
        for epoch in (2, 3, 4):
            successor = uuid4()
            taken = await desk.take(await desk.foreign(new), successor)
            assert taken is not None
            assert (taken.epoch, taken.user_id, taken.generation_id) == (epoch, desk.owner, new.generation_id)
            lease = await desk.lease(new.task_id)
            assert lease is not None
            assert (lease["instance"], lease["epoch"], lease["given_up"]) == (successor, epoch, False)

    @pytest.mark.parametrize("leased", [True, False])
    async def test_of_many_at_once_one_wins(self, desk: Desk, leased: bool) -> None:
        """Also for a task of v1 code, which has no lease yet."""
        new = await desk.start(uuid4())
        if not leased:
            await desk.sql.execute("delete from utter.leases")
        found = await desk.foreign(new)
        won: list[TakenTask] = []

        async def take() -> None:
            taken = await desk.take(found, uuid4())
            if taken is not None:
                won.append(taken)

        async with anyio.create_task_group() as group:
            for _ in range(6):
                group.start_soon(take)
        assert [taken.epoch for taken in won] == [2 if leased else 1]

    async def test_not_of_what_gave_a_sign_of_life(self, desk: Desk) -> None:
        here = uuid4()
        new = await desk.start(here)
        found = await desk.foreign(new)
        await desk.renew(here, new.task_id)
        assert await desk.take(found, uuid4()) is None
        assert await desk.renew(here, new.task_id) == {new.task_id: (1, "pending")}

    async def test_not_of_what_somebody_else_took(self, desk: Desk) -> None:
        new = await desk.start(uuid4())
        found = await desk.foreign(new)
        assert await desk.take(found, uuid4()) is not None
        assert await desk.take(found, uuid4()) is None

    async def test_a_task_of_v1_code_that_changed_meanwhile_is_not_taken(self, desk: Desk) -> None:
        """v1's code is at it: any change of its row is a sign of life."""
        new = await desk.start(uuid4())
        await desk.sql.execute("delete from utter.leases")
        found = await desk.foreign(new)
        await desk.sql.execute("update public.tasks set modal_poll_count = 1")
        assert await desk.take(found, uuid4()) is None
        assert await desk.take(await desk.foreign(new), uuid4()) is not None

    @pytest.mark.parametrize("leased", [True, False])
    async def test_a_job_that_was_submitted_meanwhile_is_polled_on(self, desk: Desk, leased: bool) -> None:
        new = await desk.start(uuid4())
        await desk.sql.execute("update public.tasks set provider = 'modal', type = 'generate'")
        if not leased:
            await desk.sql.execute("delete from utter.leases")
        found = await desk.foreign(new)
        await desk.sql.execute("update public.tasks set modal_job_id = 'fc-1'")
        assert await desk.take(found, uuid4()) is None

    @pytest.mark.parametrize("how", ENDINGS)
    async def test_what_has_ended_needs_nobody(self, desk: Desk, how: str) -> None:
        new = await desk.start(uuid4())
        found = await desk.foreign(new)
        assert await desk.end(new, how)
        assert await desk.take(found, uuid4()) is None

    async def test_nobody_waits_for_whoever_is_just_writing(self, desk: Desk) -> None:
        new = await desk.start(uuid4())
        found = await desk.foreign(new)
        async with desk.opened.as_service() as tx:
            await leases.hold(tx, new.task_id, 1)
            assert await desk.take(found, uuid4()) is None
        assert await desk.take(found, uuid4()) is not None

    async def test_one_that_exists_is_begun_once(self, desk: Desk) -> None:
        """A design at Modal is a row before anybody works on it."""
        new = await desk.start(uuid4())
        await desk.sql.execute("delete from utter.leases")
        here = NewLease(instance=uuid4(), address="http://a", seconds=LEASE_SECONDS)
        async with desk.opened.as_service() as tx:
            assert await leases.begin(tx, new.task_id, here)
        async with desk.opened.as_service() as tx:
            assert not await leases.begin(tx, new.task_id, here)
        lease = await desk.lease(new.task_id)
        assert lease is not None
        assert (lease["instance"], lease["address"], lease["epoch"]) == (here.instance, "http://a", 1)


class TestHolding:
    async def test_the_latest_attempt_may_write_though_its_lease_has_run_out(self, desk: Desk) -> None:
        new = await desk.start(uuid4(), seconds=-60)
        async with desk.opened.as_service() as tx:
            await leases.hold(tx, new.task_id, 1)

    async def test_an_earlier_attempt_may_not(self, desk: Desk) -> None:
        new = await desk.start(uuid4())
        await desk.take(await desk.foreign(new), uuid4())
        with pytest.raises(LeaseLost, match="attempt 1"):
            async with desk.opened.as_service() as tx:
                await leases.hold(tx, new.task_id, 1)
                pytest.fail("it was held")
        async with desk.opened.as_service() as tx:
            await leases.hold(tx, new.task_id, 2)

    async def test_what_never_was_is_lost(self, desk: Desk) -> None:
        with pytest.raises(LeaseLost):
            async with desk.opened.as_service() as tx:
                await leases.hold(tx, uuid4(), 1)


class TestHandingOver:
    async def test_it_can_be_taken_at_once(self, desk: Desk) -> None:
        here = uuid4()
        new, kept = await desk.start(here), await desk.start(here)
        assert await desk.hand_over(here, new.task_id) == 1
        found = await desk.others(uuid4())
        assert found[new.task_id].sign == HANDED_OVER
        assert found[kept.task_id].sign > HANDED_OVER
        assert (await desk.take(found[new.task_id], uuid4())) is not None

    async def test_what_is_anothers_or_spooled_stays(self, desk: Desk) -> None:
        here = uuid4()
        foreign, spooled = await desk.start(uuid4()), await desk.start(here)
        assert await desk.mark_spooled(spooled)
        assert await desk.hand_over(here, foreign.task_id, spooled.task_id) == 0

    async def test_a_renewal_does_not_take_it_back(self, desk: Desk) -> None:
        """Whoever saw that it was given up is about to begin it anew."""
        here = uuid4()
        new = await desk.start(here)
        await desk.hand_over(here, new.task_id)
        assert await desk.renew(here, new.task_id) == {new.task_id: (1, "pending")}
        assert (await desk.foreign(new)).sign == HANDED_OVER


class TestEnds:
    async def test_leases_that_dead_processes_left_on_ended_tasks_are_forgotten(self, desk: Desk) -> None:
        here = uuid4()
        old_and_ended = await desk.start(here, seconds=-2 * 3600)
        given_up = await desk.start(here)
        young, running = await desk.start(here), await desk.start(here, seconds=-2 * 3600)
        await desk.hand_over(here, given_up.task_id)
        for new in (old_and_ended, given_up, young):
            await desk.end(new, "complete")
        async with desk.opened.as_service() as tx:
            assert await leases.forget(tx) == 2
        left = {new.task_id for new in (old_and_ended, given_up, young, running) if await desk.lease(new.task_id)}
        assert left == {young.task_id, running.task_id}

    async def test_generations_that_lost_their_task_are_failed_when_they_are_old(self, desk: Desk) -> None:
        stranded, young, watched, done = [await desk.start(uuid4()) for _ in range(4)]
        await desk.end(done, "complete")
        await desk.sql.execute("delete from public.tasks where id <> $1", watched.task_id)
        await desk.sql.execute(
            "update public.generations set created_at = now() - interval '1 hour' where id <> $1", young.generation_id
        )
        async with desk.opened.as_service() as tx:
            assert await generations.fail_stranded(tx, "Its task is gone.", older_than_seconds=600) == 1
            assert await generations.fail_stranded(tx, "Its task is gone.", older_than_seconds=600) == 0
        states = {
            name: await desk.sql.value("select status from public.generations where id = $1", new.generation_id)
            for name, new in (("stranded", stranded), ("young", young), ("watched", watched), ("done", done))
        }
        assert states == {"stranded": "failed", "young": "processing", "watched": "processing", "done": "completed"}

    async def test_a_failure_has_the_name_of_the_first_fault(self, desk: Desk) -> None:
        new = await desk.start(uuid4())

        async def fail(fault: str) -> bool:
            async with desk.opened.as_service() as tx:
                return await generations.fail_generation(tx, new.generation_id, new.task_id, "No.", fault=fault)

        assert await fail("timeout")
        assert not await fail("quota")
        assert (
            await desk.sql.value("select fault from public.generations where id = $1", new.generation_id) == "timeout"
        )

    @pytest.mark.parametrize("how", ENDINGS)
    async def test_whoever_works_on_it_is_told_of_a_cancellation_only(self, desk: Desk, how: str) -> None:
        heard: list[object] = []
        told = anyio.Event()

        def hear(_connection: object, _pid: int, _channel: str, payload: object) -> None:
            heard.append(payload)
            told.set()

        await desk.sql._connection.add_listener("utter_cancelled", hear)
        new, last = await desk.start(uuid4()), await desk.start(uuid4())
        await desk.end(new, how)
        await desk.end(last, "cancel")
        with anyio.fail_after(10):
            while str(last.task_id) not in heard:
                await told.wait()
                told = anyio.Event()
        assert heard == ([str(new.task_id)] if how == "cancel" else []) + [str(last.task_id)]


async def test_a_user_gives_no_lease_to_anothers_task(desk: Desk, database: TestDatabase) -> None:
    new = await desk.start(uuid4())
    stranger: UUID = database.create_user()
    await desk.sql.execute("delete from utter.leases")
    with pytest.raises(Exception, match="row-level security"):
        async with desk.opened.as_user(stranger) as tx:
            await leases.insert(tx, new.task_id, NewLease(instance=uuid4(), address=None, seconds=1))
