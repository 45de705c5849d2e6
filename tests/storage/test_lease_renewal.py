"""Renewing leases, giving them up, spooled ones, and which tasks a process finds that are not its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import product
from typing import Any
from uuid import UUID, uuid4

import pytest

from storage import leases
from storage.leases import HANDED_OVER
from tests.support.desk import LEASE_SECONDS, Desk, open_desk
from tests.support.postgres import TestDatabase

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

ACTIVE = ("pending", "processing")
ALMOST_OVER = LEASE_SECONDS / 4
"""Of a lease that nobody has renewed for most of its length."""


@pytest.fixture
async def desk(anyio_backend: Any, database: TestDatabase) -> AsyncIterator[Desk]:
    async with open_desk(database) as found:
        yield found


async def left_seconds(desk: Desk, task_id: UUID) -> float:
    found = "select extract(epoch from until - clock_timestamp())::float from utter.leases where task_id = $1"
    seconds: float = await desk.sql.value(found, task_id)
    return seconds


class TestRenewal:
    async def test_what_is_named_is_renewed_and_its_status_told(self, desk: Desk) -> None:
        here = uuid4()
        running, ended = await desk.start(here, seconds=1), await desk.start(here, seconds=1)
        await desk.start(uuid4())
        await desk.end(ended, "cancel")
        told = await desk.renew(here, running.task_id, ended.task_id, seconds=1000)
        assert told == {running.task_id: (1, "pending"), ended.task_id: (1, "cancelled")}
        assert await left_seconds(desk, running.task_id) > LEASE_SECONDS

    async def test_what_is_anothers_is_not_renewed(self, desk: Desk) -> None:
        new = await desk.start(uuid4(), seconds=1)
        assert await desk.renew(uuid4(), new.task_id, seconds=1000) == {}
        assert await left_seconds(desk, new.task_id) < LEASE_SECONDS

    @pytest.mark.parametrize("how", ["complete", "fail", "cancel"])
    async def test_what_has_ended_and_is_not_named_is_dropped(self, desk: Desk, how: str) -> None:
        here = uuid4()
        new = await desk.start(here)
        await desk.end(new, how)
        assert await desk.renew(here) == {}
        assert await desk.lease(new.task_id) is None

    async def test_what_was_deleted_is_dropped(self, desk: Desk) -> None:
        here = uuid4()
        new = await desk.start(here)
        await desk.sql.execute("delete from public.tasks")
        assert await desk.renew(here, new.task_id) == {}
        assert await desk.lease(new.task_id) is not None, "somebody may still write"
        await desk.renew(here)
        assert await desk.lease(new.task_id) is None

    async def test_what_runs_and_is_not_named_any_more_is_given_up(self, desk: Desk) -> None:
        """Its epoch stays: it keeps the earlier attempt out."""
        here = uuid4()
        new = await desk.start(here, seconds=ALMOST_OVER)
        await desk.renew(here)
        lease = await desk.lease(new.task_id)
        assert lease is not None
        assert (lease["given_up"], lease["epoch"]) == (True, 1)

    async def test_what_began_while_a_renewal_was_under_way_is_not_given_up(self, desk: Desk) -> None:
        """The renewal's list is older than the lease. Given up, it would be spoken twice."""
        here = uuid4()
        new = await desk.start(here)
        await desk.renew(here)
        lease = await desk.lease(new.task_id)
        assert lease is not None
        assert not lease["given_up"]
        assert await desk.take(await desk.foreign(new), here) is not None
        await desk.renew(here)
        lease = await desk.lease(new.task_id)
        assert lease is not None
        assert not lease["given_up"], "so for one that was taken over a moment ago"


class TestSpooled:
    async def test_it_says_so_and_may_not_be_taken(self, desk: Desk) -> None:
        new = await desk.start(uuid4())
        assert await desk.mark_spooled(new)
        task = await desk.task(new)
        assert (task.status, task.provider_status) == ("processing", "spooled")
        assert (await desk.foreign(new)).held

    async def test_renewals_leave_it_alone(self, desk: Desk) -> None:
        here = uuid4()
        new = await desk.start(here)
        await desk.mark_spooled(new, seconds=1000)
        for named in ((), (new.task_id,)):
            assert await desk.renew(here, *named, seconds=1) == {new.task_id: (1, "processing")}
        assert await left_seconds(desk, new.task_id) > LEASE_SECONDS

    async def test_it_may_be_taken_when_it_waited_too_long(self, desk: Desk) -> None:
        new = await desk.start(uuid4())
        await desk.mark_spooled(new, seconds=-1)
        found = await desk.foreign(new)
        assert not found.held
        assert await desk.take(found, uuid4()) is not None
        assert not (await desk.foreign(new)).held, "the new attempt has nothing on a disk"

    async def test_an_earlier_attempt_or_an_ended_task_has_nothing_to_keep(self, desk: Desk) -> None:
        taken, ended = await desk.start(uuid4()), await desk.start(uuid4())
        await desk.take(await desk.foreign(taken), uuid4())
        await desk.end(ended, "cancel")
        assert not await desk.mark_spooled(taken)
        assert not await desk.mark_spooled(ended)
        assert not (await desk.foreign(taken)).held
        assert (await desk.task(ended)).provider_status == "cancelled"

    async def test_a_process_adopts_what_a_dead_one_left(self, desk: Desk) -> None:
        heir = uuid4()
        new = await desk.start(uuid4(), address="http://dead", seconds=-1)
        assert await adopt(desk, new.task_id, heir)
        lease = await desk.lease(new.task_id)
        assert lease is not None
        assert (lease["instance"], lease["address"], lease["spooled"], lease["epoch"]) == (heir, None, True, 1)
        assert (await desk.foreign(new)).held

    @pytest.mark.parametrize("meanwhile", ["taken over", "complete", "fail", "cancel"])
    async def test_what_is_not_wanted_any_more_is_not_adopted(self, desk: Desk, meanwhile: str) -> None:
        new = await desk.start(uuid4())
        if meanwhile == "taken over":
            await desk.take(await desk.foreign(new), uuid4())
        else:
            await desk.end(new, meanwhile)
        assert not await adopt(desk, new.task_id, uuid4())


async def adopt(desk: Desk, task_id: UUID, instance: UUID) -> bool:
    async with desk.opened.as_service() as tx:
        return await leases.adopt_spooled(tx, task_id, 1, instance, seconds=LEASE_SECONDS)


PROVIDERS = ("qwen", "modal")
TYPES = ("generate", "generate_stream", "design_preview", "clone")
STATUSES = ("pending", "processing", "completed", "failed", "cancelled")
HOLDERS = ("nobody", "me", "me, given up", "another", "another, given up", "another's disk")


def needs_a_process(provider: str, kind: str, status: str, job: bool, holder: str) -> bool:
    """The rule of product sections 6 and 11."""
    if status not in ACTIVE or holder == "me":
        return False
    if provider == "modal" and job:
        return False
    return kind != "design_preview" or (provider == "modal" and status == "processing")


async def test_which_tasks_a_process_finds(desk: Desk) -> None:
    me, another = uuid4(), uuid4()
    kinds = list(product(PROVIDERS, TYPES, STATUSES, (True, False), HOLDERS))
    ids = [uuid4() for _ in kinds]
    await desk.sql.execute("insert into auth.users (id) select unnest($1::uuid[])", ids)
    await desk.sql.execute(
        "insert into public.tasks (id, user_id, provider, type, status, modal_job_id) select id, id, provider, type,"
        " status, job from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[])"
        " as made (id, provider, type, status, job)",
        ids,
        *([kind[part] for kind in kinds] for part in range(3)),
        ["fc-1" if kind[3] else None for kind in kinds],
    )
    for task_id, (*_, holder) in zip(ids, kinds, strict=True):
        if holder != "nobody":
            await desk.sql.execute(
                "insert into utter.leases (task_id, instance, epoch, until, spooled)"
                " values ($1, $2, 7, case when $3 then 'epoch' else now() + interval '1 hour' end, $4)",
                task_id,
                me if holder.startswith("me") else another,
                holder.endswith("given up"),
                holder.endswith("disk"),
            )
    found = await desk.others(me)
    assert {kind for task_id, kind in zip(ids, kinds, strict=True) if task_id in found} == {
        kind for kind in kinds if needs_a_process(*kind)
    }
    for task_id, (provider, kind, _, _, holder) in zip(ids, kinds, strict=True):
        if task_id in found:
            task = found[task_id]
            assert (task.provider, task.type, task.epoch) == (provider, kind, 0 if holder == "nobody" else 7)
            assert task.held == (holder == "another's disk")
            assert (task.sign == HANDED_OVER) == holder.endswith("given up")


async def test_the_sign_of_a_task_without_lease_is_its_last_change(desk: Desk) -> None:
    new = await desk.start(uuid4())
    await desk.sql.execute("delete from utter.leases")
    assert (await desk.foreign(new)).sign == (await desk.task(new)).updated_at
