"""Who is alive and who is not: the watch as a law, and the keeper on a real database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any
from uuid import UUID, uuid4

import anyio
import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.leases import CANCELLED_CHANNEL, Holding, LeaseKeeper, LeaseWatch, keeping_leases
from gateway.running import EndReason
from gateway.sweeper import Chore, sweeping
from schema.records import ForeignTask, NewGeneration
from storage import leases
from storage.errors import NotMigrated
from storage.leases import HANDED_OVER
from tests.support.desk import Desk, open_desk
from tests.support.exchange import WAIT_SECONDS
from tests.support.leases import new_instance, open_keeper
from tests.support.listeners import until_it_listens, until_nobody_listens
from tests.support.migrations import connected
from tests.support.postgres import TestDatabase
from tests.support.workshop import LOOK_SECONDS, cut_off

LEASE = 10
TASKS = [UUID(int=number) for number in range(3)]
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
SIGNS = [HANDED_OVER, NOON, NOON + timedelta(seconds=3), NOON - timedelta(days=400), NOON + timedelta(days=400)]
"""The database's clock may be set to anything: a sign says something by changing, never by its value."""

seen_tasks = st.builds(
    lambda task_id, sign, held: ForeignTask(
        task_id=task_id, type="generate", provider="qwen", epoch=1, sign=sign, held=held
    ),
    st.sampled_from(TASKS),
    st.sampled_from(SIGNS),
    st.booleans(),
)
looks = st.tuples(
    st.sampled_from((1, 3, 4, 7, LEASE, LEASE + 1)), st.lists(seen_tasks, unique_by=lambda task: task.task_id)
)
INTERRUPTED = None


@dataclass
class Model:
    """All looks since the last time when looking did not work."""

    looked: list[tuple[int, dict[UUID, datetime]]] = field(default_factory=list)

    def look(self, now: int, tasks: list[ForeignTask]) -> set[UUID]:
        if self.looked and now - self.looked[-1][0] > LEASE:
            event("nobody looked for longer than a lease")
            self.looked.clear()
        self.looked.append((now, {task.task_id: task.sign for task in tasks}))
        return {task.task_id for task in tasks if not task.held and self._is_silent(task, now)}

    def _is_silent(self, task: ForeignTask, now: int) -> bool:
        if task.sign == HANDED_OVER:
            event("handed over")
            return True
        same = list(takewhile(lambda look: look[1].get(task.task_id) == task.sign, reversed(self.looked)))
        silent = now - same[-1][0] >= LEASE
        event(f"silent for a lease: {silent}, in {min(len(same), 3)} looks or more")
        return silent


@given(st.lists(st.one_of(st.just(INTERRUPTED), looks), max_size=12))
def test_a_task_is_given_out_when_nobody_gave_a_sign_for_a_lease_of_looks(
    steps: list[tuple[int, list[ForeignTask]] | None],
) -> None:
    watch, model, now = LeaseWatch(LEASE), Model(), 0
    for step in steps:
        if step is INTERRUPTED:
            watch.interrupted()
            model.looked.clear()
            continue
        later, tasks = step
        now += later
        found = watch.look(tasks, now)
        assert {task.task_id for task in found} == model.look(now, tasks)
        assert len(found) == len({task.task_id for task in found})


def test_the_most_silent_come_first() -> None:
    watch = LeaseWatch(LEASE)
    old, young = (
        ForeignTask(task_id=task_id, type="generate", provider="qwen", epoch=1, sign=NOON, held=False)
        for task_id in TASKS[:2]
    )
    watch.look([old], 0)
    watch.look([young, old], 5)
    watch.look([young, old], 10)
    assert watch.look([young, old], 15) == [old, young]


@dataclass(frozen=True)
class Post:
    """A process that keeps leases, and what it was told about them."""

    desk: Desk
    keeper: LeaseKeeper
    told: dict[UUID, list[EndReason]] = field(default_factory=dict)

    async def hold(self, *, exists: bool = True) -> NewGeneration:
        """A task of this process."""
        new = await self.desk.start(self.keeper.instance.id)
        self.keeper.hold(self.holding(new.task_id, exists=exists))
        return new

    def holding(self, task_id: UUID, *, exists: bool = True) -> Holding:
        self.told[task_id] = []
        return Holding(task_id, lambda: exists, self.told[task_id].append)

    async def until_told(self, task_id: UUID) -> None:
        with anyio.fail_after(WAIT_SECONDS):
            while not self.told[task_id]:
                await look()


async def look() -> None:
    """Let some time pass before the next look."""
    await anyio.sleep(LOOK_SECONDS)


@pytest.fixture
async def post(anyio_backend: Any, database: TestDatabase) -> AsyncIterator[Post]:
    await until_nobody_listens(database)
    async with open_desk(database) as desk:
        yield Post(desk, open_keeper(desk.opened, listen_url=database.gateway_url))


@pytest.mark.anyio
@pytest.mark.integration
class TestRenewal:
    async def test_what_is_held_is_renewed(self, post: Post) -> None:
        new = await post.hold()
        before = await post.desk.foreign(new)
        await post.keeper.renew()
        assert (await post.desk.foreign(new)).sign > before.sign
        assert post.told[new.task_id] == []

    async def test_what_was_released_is_not(self, post: Post) -> None:
        new = await post.desk.start(post.keeper.instance.id)
        with post.keeper.held(post.holding(new.task_id)):
            await post.desk.end(new, "complete")
            await post.keeper.renew()
            assert await post.desk.lease(new.task_id) is not None
        await post.keeper.renew()
        assert await post.desk.lease(new.task_id) is None

    async def test_a_later_holding_takes_the_place_of_an_earlier_one(self, post: Post) -> None:
        """The pipeline takes over from whoever picked the task up, who then lets go."""
        new = await post.desk.start(post.keeper.instance.id)
        with post.keeper.held(Holding(new.task_id)):
            post.keeper.hold(post.holding(new.task_id))
        before = await post.desk.foreign(new)
        await post.keeper.renew()
        assert (await post.desk.foreign(new)).sign > before.sign

    async def test_a_cancellation_that_nobody_heard_is_told(self, post: Post) -> None:
        """v1's code writes the row and notifies nobody."""
        new, other = await post.hold(), await post.hold()
        await post.desk.sql.execute("update public.tasks set status = 'cancelled' where id = $1", new.task_id)
        await post.keeper.renew()
        assert post.told == {new.task_id: [EndReason.CANCELLED], other.task_id: []}

    @pytest.mark.parametrize("how", ["taken", "deleted"])
    async def test_a_task_that_is_not_ours_any_more_is_told(self, post: Post, how: str) -> None:
        new, other = await post.hold(), await post.hold()
        if how == "taken":
            assert await post.desk.take(await post.desk.foreign(new), uuid4())
        else:
            await post.desk.sql.execute("delete from public.tasks where id = $1", new.task_id)
        with capture_logs() as lines:
            await post.keeper.renew()
        assert post.told == {new.task_id: [EndReason.LOST], other.task_id: []}
        assert [line["task_id"] for line in lines if line["event"] == "lease.lost"] == [str(new.task_id)]

    @pytest.mark.parametrize("how", ["complete", "fail"])
    async def test_other_ends_are_found_by_whoever_writes_last(self, post: Post, how: str) -> None:
        new = await post.hold()
        await post.desk.end(new, how)
        await post.keeper.renew()
        assert post.told[new.task_id] == []

    async def test_a_task_whose_rows_are_not_written_yet_is_not_lost(self, post: Post) -> None:
        task_id = uuid4()
        post.keeper.hold(post.holding(task_id, exists=False))
        await post.keeper.renew()
        assert post.told[task_id] == []

    @pytest.mark.parametrize("meanwhile", ["written", "released"])
    async def test_what_changes_during_a_renewal_is_not_lost(
        self, post: Post, database: TestDatabase, meanwhile: str
    ) -> None:
        """The renewal does not know of rows that were written after it began, nor of work that ended."""
        exists = meanwhile == "released"
        told: list[EndReason] = []
        holding = Holding(uuid4(), lambda: exists, told.append)
        post.keeper.hold(holding)
        async with connected(database) as other, anyio.create_task_group() as group:
            await other.execute("begin; lock table utter.leases")
            group.start_soon(post.keeper.renew)
            await post.desk.somebody_waits()
            if meanwhile == "released":
                post.keeper.release(holding)
            exists = True
            await other.execute("rollback")
        assert told == []

    async def test_an_outage_is_survived(self, post: Post, database: TestDatabase) -> None:
        new = await post.hold()
        before = await post.desk.foreign(new)
        with capture_logs() as lines:
            async with cut_off(database):
                await post.keeper.renew()
        assert [line["held"] for line in lines if line["event"] == "lease.not_renewed"] == [1]
        assert post.told[new.task_id] == []
        async with connected(database) as sql:  # the desk's own connection was cut too
            sign = "select until from utter.leases"
            await post.keeper.renew()
            assert await sql.value(sign) > before.sign
        assert post.told[new.task_id] == []

    async def test_what_nobody_expected_puts_no_renewal_off(
        self, post: Post, database: TestDatabase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Three fit into a lease: were the pauses to grow, two failures would be the end of it."""
        new = await post.hold()
        before = await post.desk.foreign(new)
        failing = iter([LookupError("a defect"), NotMigrated("in the middle of an upgrade")])
        renew = leases.renew

        async def stumble(*asked: Any, **more: Any) -> Any:
            for error in failing:
                raise error
            return await renew(*asked, **more)

        pauses: list[float] = []
        sleep = anyio.sleep

        async def noted(seconds: float) -> None:
            pauses.append(seconds)
            await sleep(0)

        monkeypatch.setattr(leases, "renew", stumble)
        monkeypatch.setattr("gateway.sweeper.anyio.sleep", noted)
        async with keeping_leases(post.desk.opened, post.keeper.instance, listen_url=database.gateway_url) as keeper:
            keeper.hold(Holding(new.task_id))
            with anyio.fail_after(WAIT_SECONDS):
                while (await post.desk.foreign(new)).sign == before.sign:
                    await sleep(LOOK_SECONDS)
        assert set(pauses) == {keeper.instance.beat_seconds}

    async def test_a_database_that_hangs_does_not_hold_up_the_next_renewal(
        self, post: Post, database: TestDatabase
    ) -> None:
        keeper = open_keeper(post.desk.opened, new_instance(lease_seconds=0.3))
        keeper.hold(Holding(uuid4()))
        async with connected(database) as other:
            await other.execute("begin; lock table utter.leases")
            with capture_logs() as lines, anyio.fail_after(WAIT_SECONDS):
                await keeper.renew()
            await other.execute("rollback")
        assert [line["error"] for line in lines if line["event"] == "lease.not_renewed"] == ["TimeoutError"]
        with capture_logs() as lines:
            await keeper.renew()
        assert not [line for line in lines if line["event"] == "lease.not_renewed"]


@pytest.mark.anyio
@pytest.mark.integration
class TestHearing:
    async def test_a_cancellation_is_told_without_waiting_for_a_renewal(
        self, post: Post, database: TestDatabase
    ) -> None:
        new, other = await post.hold(), await post.hold()
        elsewhere = await post.desk.start(uuid4())
        async with anyio.create_task_group() as group:
            group.start_soon(post.keeper.hear)
            await until_it_listens(database)
            await post.desk.end(elsewhere, "cancel")
            await post.desk.end(other, "fail")
            await post.desk.end(new, "cancel")
            await post.until_told(new.task_id)
            group.cancel_scope.cancel()
        assert post.told == {new.task_id: [EndReason.CANCELLED], other.task_id: []}

    @pytest.mark.parametrize("payload", ["", "no task", "1" * 36, "{00000000", "\x1b[2J\n"])
    async def test_what_is_no_task_is_logged_and_not_the_end(
        self, post: Post, database: TestDatabase, payload: str
    ) -> None:
        """Every login of the database may notify on any channel."""
        new = await post.hold()
        with capture_logs() as lines:
            async with anyio.create_task_group() as group:
                group.start_soon(post.keeper.hear)
                await until_it_listens(database)
                await post.desk.sql.execute("select pg_notify($1, $2)", CANCELLED_CHANNEL, payload)
                await post.desk.end(new, "cancel")
                await post.until_told(new.task_id)
                group.cancel_scope.cancel()
        assert [(line["event"], line["chars"]) for line in lines] == [("lease.not_understood", len(payload))]
        assert post.told == {new.task_id: [EndReason.CANCELLED]}

    async def test_a_lost_connection_is_made_again(self, post: Post, database: TestDatabase) -> None:
        new = await post.hold()
        with capture_logs() as lines:
            async with sweeping([Chore("hear", post.keeper.hear)], LOOK_SECONDS):
                first = await until_it_listens(database)
                await post.desk.sql.execute("select pg_terminate_backend($1)", first)
                await until_it_listens(database, other_than=first)
                await post.desk.end(new, "cancel")
                await post.until_told(new.task_id)
        assert [line["event"] for line in lines] == ["lease.not_listening"]

    async def test_an_outage_is_survived(self, post: Post, database: TestDatabase) -> None:
        new = await post.hold()
        with capture_logs() as lines:
            async with cut_off(database):
                await post.keeper.hear()  # it gives up, to be called again
        assert [line["event"] for line in lines] == ["lease.not_listening"]
        async with open_desk(database) as desk, anyio.create_task_group() as group:
            again = Post(desk, post.keeper, post.told)
            group.start_soon(again.keeper.hear)
            await until_it_listens(database)
            await again.desk.end(new, "cancel")
            await again.until_told(new.task_id)
            group.cancel_scope.cancel()
        assert post.told[new.task_id] == [EndReason.CANCELLED]
