"""Waking in turn: nobody is forgotten, whoever gives up, and few run at once."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from gateway.turns import AT_ONCE, Turns
from tests.support.backends import BACKENDS
from tests.support.exchange import WAIT_SECONDS

pytestmark = pytest.mark.anyio

MANY = 40 * AT_ONCE


@pytest.fixture(params=BACKENDS, ids=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(WAIT_SECONDS):
        while not condition():
            await anyio.lowlevel.checkpoint()


async def test_a_change_wakes_all_who_wait_but_few_between_two_looks() -> None:
    turns = Turns()
    woken: list[int] = []
    looks: list[int] = []

    async def wait(number: int) -> None:
        await turns.change()
        woken.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(MANY):
            tasks.start_soon(wait, number)
        await anyio.wait_all_tasks_blocked()
        turns.changed()
        while len(woken) < MANY:
            looks.append(len(woken))
            await anyio.lowlevel.checkpoint()
    assert sorted(woken) == list(range(MANY))
    assert max(after - before for before, after in itertools.pairwise(looks)) <= 2 * AT_ONCE


async def test_who_waits_again_waits_for_the_next_change() -> None:
    turns = Turns()
    seen = [0] * MANY

    async def follow(number: int) -> None:
        while True:
            await turns.change()
            seen[number] += 1

    async with anyio.create_task_group() as tasks:
        for number in range(MANY):
            tasks.start_soon(follow, number)
        for change in range(1, 4):
            await anyio.wait_all_tasks_blocked()
            turns.changed()
            await anyio.wait_all_tasks_blocked()
            assert seen == [change] * MANY
        tasks.cancel_scope.cancel()


async def test_changes_that_overtake_the_turns_lose_nobody() -> None:
    turns = Turns()
    woken = 0

    async def wait() -> None:
        nonlocal woken
        await turns.change()
        woken += 1

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            for _ in range(MANY):
                tasks.start_soon(wait)
            await anyio.lowlevel.checkpoint()
            turns.changed()
        await anyio.wait_all_tasks_blocked()
        turns.changed()
        await until(lambda: woken == 3 * MANY)


@pytest.mark.parametrize("looks", range(6))
async def test_who_gives_up_costs_nobody_a_turn(looks: int) -> None:
    """Before the change, with a turn just given, or in the middle of them."""
    turns = Turns()
    woken: list[int] = []
    scopes = [anyio.CancelScope() for _ in range(MANY)]

    async def wait(number: int) -> None:
        with scopes[number]:
            await turns.change()
            woken.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(MANY):
            tasks.start_soon(wait, number)
        await anyio.wait_all_tasks_blocked()
        if looks:
            turns.changed()
        for _ in range(looks - 1):
            await anyio.lowlevel.checkpoint()
        for scope in scopes[::3]:
            scope.cancel()
        if not looks:
            turns.changed()
        await until(lambda: {number for number in range(MANY) if number % 3} <= set(woken))
    assert turns._waiting == turns._due == {}
    assert turns._woken == 0


async def test_a_turn_comes_without_a_change() -> None:
    turns = Turns()
    done = 0

    async def catch_up() -> None:
        nonlocal done
        for _ in range(5):
            await turns.turn()
        done += 1

    async with anyio.create_task_group() as tasks:
        for _ in range(MANY):
            tasks.start_soon(catch_up)
    assert done == MANY
    assert turns._woken == 0
