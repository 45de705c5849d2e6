"""Billable creates: who may send one, and what becomes of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import cast
from uuid import UUID, uuid4

import anyio
import asyncpg
import msgspec
import pytest

from schema.records import Claim
from storage.database import Database
from tests.support.creates import Failure, claim, fail, make, read, record
from tests.support.postgres import TestDatabase
from tests.support.rows import new_create

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

MANY = 20
"""Callers at the same time."""


@pytest.fixture
async def opened(database: TestDatabase) -> AsyncIterator[Database]:
    async with Database.open(database.gateway_url, max_connections=8) as found:
        yield found


@pytest.fixture
def owner(database: TestDatabase) -> UUID:
    return database.create_user()


class TestClaims:
    async def test_a_new_one_is_granted_and_kept_as_it_was_asked_for(self, opened: Database, owner: UUID) -> None:
        new = new_create(owner)
        given = await claim(opened, new)
        assert (given.granted, given.recover, given.create.state, given.create.attempts) == (True, False, "claimed", 1)
        assert given.create.request == new.request
        assert await read(opened, new) == given.create

    async def test_of_many_at_once_one_is_granted(self, opened: Database, owner: UUID) -> None:
        new = new_create(owner)
        given: list[Claim] = []

        async def one() -> None:
            given.append(await claim(opened, new))

        async with anyio.create_task_group() as group:
            for _ in range(MANY):
                group.start_soon(one)
        assert sum(each.granted for each in given) == 1
        assert not any(each.recover for each in given)

    async def test_what_is_claimed_or_made_is_not_granted_again(self, opened: Database, owner: UUID) -> None:
        new = new_create(owner)
        await claim(opened, new)
        again = await claim(opened, new)
        assert (again.granted, again.recover, again.create.state) == (False, False, "claimed")
        assert await record(opened, new)
        once_more = await claim(opened, new)
        assert (once_more.granted, once_more.create.state) == (False, "created")
        assert once_more.create.warnings == ["fallback_mode"]

    async def test_what_the_provider_refused_may_be_sent_again(self, opened: Database, owner: UUID) -> None:
        new = new_create(owner)
        await claim(opened, new)
        assert await fail(opened, new.id, "refused")
        again = await claim(opened, new)
        assert (again.granted, again.recover, again.create.attempts, again.create.error) == (True, False, 2, None)

    async def test_what_may_exist_is_to_be_looked_for_first(self, opened: Database, owner: UUID) -> None:
        new = new_create(owner)
        await claim(opened, new)
        assert await fail(opened, new.id, "ambiguous")
        again = await claim(opened, new)
        assert (again.granted, again.recover) == (True, True)

    async def test_a_claim_that_ran_out_is_taken_over_by_one(self, opened: Database, owner: UUID) -> None:
        new = new_create(owner)
        await claim(opened, new, seconds=0)
        given: list[Claim] = []

        async def one() -> None:
            given.append(await claim(opened, new))

        async with anyio.create_task_group() as group:
            for _ in range(MANY):
                group.start_soon(one)
        assert [each.recover for each in given if each.granted] == [True]

    async def test_anothers_is_never_granted(self, opened: Database, owner: UUID, database: TestDatabase) -> None:
        new = new_create(owner)
        await claim(opened, new, seconds=0)
        stranger = database.create_user()
        given = await claim(opened, new_create(stranger, create_id=new.id))
        assert (given.granted, given.recover, given.create.user_id) == (False, False, owner)

    async def test_another_kind_of_the_same_id_is_never_granted(self, opened: Database, owner: UUID) -> None:
        """A user may name the task of their preview as the voice of a clone."""
        design = new_create(owner)
        await claim(opened, design)
        await fail(opened, design.id, "refused")
        given = await claim(opened, new_create(owner, "vc", create_id=design.id))
        assert (given.granted, given.create.kind, given.create.state) == (False, "vd", "refused")

    async def test_what_starts_again_starts_as_it_is_asked_for_now(self, opened: Database, owner: UUID) -> None:
        new = new_create(owner)
        await claim(opened, new)
        await fail(opened, new.id, "refused")
        pinned = msgspec.structs.replace(new, target_model="a-newer-model")
        assert (await claim(opened, pinned)).create.target_model == "a-newer-model"


class TestEnds:
    async def test_a_late_word_changes_nothing(self, opened: Database, owner: UUID) -> None:
        new = new_create(owner)
        await make(opened, new)
        before = await read(opened, new)
        assert not await fail(opened, new.id, "refused")
        assert not await fail(opened, new.id, "ambiguous")
        assert not await record(opened, new, "cd" * 32)
        assert not (await claim(opened, new)).granted
        assert await read(opened, new) == before

    @pytest.mark.parametrize("state", ["ambiguous", "refused"])
    async def test_a_voice_that_is_there_after_all_counts(self, opened: Database, owner: UUID, state: Failure) -> None:
        new = new_create(owner)
        await claim(opened, new)
        await fail(opened, new.id, state)
        assert await record(opened, new)
        assert (await read(opened, new)).error is None

    async def test_of_many_that_made_it_one_is_recorded(self, opened: Database, owner: UUID) -> None:
        new = new_create(owner)
        await claim(opened, new)
        recorded: list[bool] = []

        async def one() -> None:
            recorded.append(await record(opened, new))

        async with anyio.create_task_group() as group:
            for _ in range(MANY):
                group.start_soon(one)
        assert recorded.count(True) == 1

    async def test_the_late_word_of_an_earlier_claim_frees_nothing(self, opened: Database, owner: UUID) -> None:
        new = new_create(owner)
        first = await claim(opened, new, seconds=0)
        second = await claim(opened, new)
        assert not await fail(opened, new.id, "refused", attempt=first.create.attempts)
        assert not (await claim(opened, new)).granted
        assert await fail(opened, new.id, "refused", attempt=second.create.attempts)

    @pytest.mark.parametrize("state", ["created", "claimed", ""])
    async def test_it_does_not_fail_as_anything_else(self, opened: Database, owner: UUID, state: str) -> None:
        new = new_create(owner)
        await claim(opened, new)
        with pytest.raises(asyncpg.InvalidParameterValueError):
            await fail(opened, new.id, cast("Failure", state))

    async def test_a_digest_is_lower_case_hex_or_nothing_could_ever_be_found_by_it(
        self, opened: Database, owner: UUID
    ) -> None:
        new = new_create(owner)
        await claim(opened, new)
        with pytest.raises(asyncpg.CheckViolationError):
            await record(opened, new, "AB" * 32)

    async def test_what_was_never_claimed_has_no_end(self, opened: Database, owner: UUID) -> None:
        assert not await record(opened, new_create(owner))
        assert not await fail(opened, uuid4(), "refused")
