"""Idempotency keys: one request of one user for a day, and which of two refusals is the one to hear."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import anyio
import pytest

from schema.records import RequestKey, RequestKeyRow
from storage import generations, request_keys
from storage.database import ActiveTaskExists
from storage.errors import RequestKeyTaken
from tests.support.desk import Desk, open_desk
from tests.support.postgres import TestDatabase

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

KEY = RequestKey(key="order-17", request_sha256="ab" * 32)
ANOTHER = RequestKey(key="order-18", request_sha256="cd" * 32)


@pytest.fixture
async def desk(anyio_backend: Any, database: TestDatabase) -> AsyncIterator[Desk]:
    async with open_desk(database) as found:
        yield found


async def find(desk: Desk, owner: UUID | None = None, key: str = KEY.key) -> RequestKeyRow | None:
    async with desk.opened.as_user(owner or desk.owner) as tx:
        return await request_keys.find(tx, owner or desk.owner, key)


async def age(desk: Desk, hours: float) -> None:
    """As if all keys had been bound so long ago."""
    await desk.sql.execute("update utter.idempotency_keys set created_at = now() - make_interval(hours => $1)", hours)


async def test_it_says_what_its_request_began(desk: Desk) -> None:
    assert await find(desk) is None
    new = await desk.start(uuid4(), key=KEY)
    assert await find(desk) == RequestKeyRow(
        key=KEY.key,
        request_sha256=KEY.request_sha256,
        user_id=desk.owner,
        generation_id=new.generation_id,
        task_id=new.task_id,
    )
    assert await find(desk, key=ANOTHER.key) is None


async def test_it_is_one_users(desk: Desk, database: TestDatabase) -> None:
    await desk.start(uuid4(), key=KEY)
    assert await find(desk, database.create_user()) is None
    async with open_desk(database) as bobs:
        await bobs.start(uuid4(), key=KEY)
        assert await find(bobs) is not None


async def test_it_is_bound_once_and_the_refused_request_leaves_nothing(desk: Desk) -> None:
    first = await desk.start(uuid4(), key=KEY)
    with pytest.raises(RequestKeyTaken):
        await desk.start(uuid4(), key=RequestKey(key=KEY.key, request_sha256="ef" * 32))
    bound = await find(desk)
    assert bound is not None
    assert (bound.generation_id, bound.request_sha256) == (first.generation_id, KEY.request_sha256)
    counts = await desk.sql.row(
        """
        select (select count(*) from public.generations) as generations, (select count(*) from public.tasks) as tasks,
          (select count(*) from utter.leases) as leases
        """
    )
    assert set(counts.values()) == {1}


async def test_a_repeated_request_hears_of_its_key_and_not_of_its_own_task(desk: Desk) -> None:
    """It is to be given what the first one began; that its user has an active task is no news."""
    await desk.start(uuid4(), "generate", key=KEY)
    with pytest.raises(RequestKeyTaken):
        await desk.start(uuid4(), "generate", key=KEY)


async def test_a_request_that_is_refused_for_another_task_does_not_bind_its_key(desk: Desk) -> None:
    first = await desk.start(uuid4(), "generate", key=KEY)
    with pytest.raises(ActiveTaskExists):
        await desk.start(uuid4(), "generate", key=ANOTHER)
    assert await find(desk, key=ANOTHER.key) is None
    await desk.end(first, "complete")
    await desk.start(uuid4(), "generate", key=ANOTHER)


@pytest.mark.parametrize("task_type", ["generate", "generate_stream"])
async def test_of_equal_requests_at_once_one_begins(desk: Desk, task_type: Any) -> None:
    refused: list[RequestKeyTaken] = []

    async def send() -> None:
        try:
            await desk.start(uuid4(), task_type, key=KEY)
        except RequestKeyTaken as error:
            refused.append(error)

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(send)
    assert len(refused) == 3
    assert await desk.sql.value("select count(*) from public.generations") == 1


async def test_whoever_waits_for_one_that_comes_to_nothing_gets_the_key(desk: Desk) -> None:
    done = anyio.Event()

    async def second() -> None:
        await desk.start(uuid4(), key=KEY)
        done.set()

    async with anyio.create_task_group() as group:
        with pytest.raises(LookupError):
            async with desk.opened.as_user(desk.owner) as tx:
                new = await desk.start(uuid4())
                await request_keys.bind(tx, desk.owner, KEY, new.generation_id, new.task_id)
                group.start_soon(second)
                await desk.somebody_waits()
                assert not done.is_set()
                raise LookupError
    assert done.is_set()
    assert await find(desk) is not None


async def test_after_a_day_it_is_free(desk: Desk) -> None:
    first = await desk.start(uuid4(), key=KEY)
    await age(desk, 23)
    assert await find(desk) is not None
    with pytest.raises(RequestKeyTaken):
        await desk.start(uuid4(), key=KEY)
    await age(desk, 24)
    assert await find(desk) is None
    second = await desk.start(uuid4(), key=KEY)  # before any chore has cleared it away
    bound = await find(desk)
    assert bound is not None
    assert bound.generation_id == second.generation_id != first.generation_id


async def test_of_equal_requests_at_once_after_a_day_one_begins(desk: Desk) -> None:
    await desk.start(uuid4(), key=KEY)
    await age(desk, 25)
    refused: list[RequestKeyTaken] = []

    async def send() -> None:
        try:
            await desk.start(uuid4(), key=KEY)
        except RequestKeyTaken as error:
            refused.append(error)

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(send)
    assert len(refused) == 3


async def test_those_that_have_run_out_are_forgotten(desk: Desk) -> None:
    await desk.start(uuid4(), key=KEY)
    await age(desk, 25)
    await desk.start(uuid4(), key=ANOTHER)
    async with desk.opened.as_service() as tx:
        assert await request_keys.forget(tx) == 1
        assert await request_keys.forget(tx) == 0
    assert await find(desk, key=ANOTHER.key) is not None


async def test_it_goes_with_its_generation(desk: Desk) -> None:
    new = await desk.start(uuid4(), key=KEY)
    async with desk.opened.as_user(desk.owner) as tx:
        await generations.delete_generation(tx, desk.owner, new.generation_id)
    assert await find(desk) is None


@pytest.mark.parametrize("free_key", [True, False])
async def test_a_failure_frees_it_where_that_is_asked_for(desk: Desk, free_key: bool) -> None:
    new = await desk.start(uuid4(), key=KEY)
    async with desk.opened.as_service() as tx:
        await generations.fail_generation(tx, new.generation_id, new.task_id, "No.", free_key=free_key)
    assert (await find(desk) is None) is free_key


async def test_a_failure_that_comes_too_late_frees_nothing(desk: Desk) -> None:
    new = await desk.start(uuid4(), key=KEY)
    await desk.end(new, "complete")
    async with desk.opened.as_service() as tx:
        assert not await generations.fail_generation(tx, new.generation_id, new.task_id, "No.", free_key=True)
    assert await find(desk) is not None
