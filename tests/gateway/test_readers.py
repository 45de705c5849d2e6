"""Listeners of one generation, good ones and bad ones: each gets what is there, and what they held is let go."""

from __future__ import annotations

import dataclasses

import anyio
import pytest
from starlette.types import Message

from gateway.app import create_app
from tests.support.collector import collector_off
from tests.support.exchange import WAIT_SECONDS, Exchange
from tests.support.gateway import Caller, Gateway

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

EACH = 12
PIECES = [bytes([number]) * 5000 for number in range(40)]


class Stalled(Exchange):
    """A client that takes the head and no audio."""

    async def send(self, message: Message) -> None:
        await super().send(message)
        if message["type"] == "http.response.body":
            await anyio.sleep_forever()


async def test_a_crowd_of_all_kinds_harms_nobody_and_leaves_nothing(gateway: Gateway, ada: Caller) -> None:
    settings = dataclasses.replace(gateway.services.settings, write_stall_seconds=0.2)
    app = create_app(dataclasses.replace(gateway.services, settings=settings))
    memory = gateway.services.supervisor._room.memory
    accepted = (await ada.generate((await ada.add_voice()).id)).json()
    target = f"/api/generations/{accepted['generation_id']}/stream"
    good, leaving, stalled = (
        [kind("GET", target, ada.headers) for _ in range(EACH)] for kind in (Exchange, Exchange, Stalled)
    )
    late = [Exchange("GET", f"{target}?offset={7000 * number}", ada.headers) for number in range(EACH)]
    whole = b"".join(PIECES)
    with collector_off(), anyio.fail_after(WAIT_SECONDS):
        async with anyio.create_task_group() as tasks:
            for guest in (*good, *leaving, *stalled):
                tasks.start_soon(guest.run, app)
            for number, piece in enumerate(PIECES):
                await gateway.stage.say(piece)
                if number == len(PIECES) // 2:
                    assert memory.held_bytes > 0
                    for guest in leaving:
                        await guest.received(1)
                        guest.leave()
                    for guest in late:
                        tasks.start_soon(guest.run, app)
            for guest in good:
                await guest.received(len(whole))
            for guest in stalled:
                await guest.over()  # by its limit: nothing has ended yet
            gateway.stage.finish()
        await gateway.services.supervisor.wait_idle()
        await anyio.wait_all_tasks_blocked()
        gateway.stage.forget()
        assert (memory.held_bytes, memory.spooled_bytes) == (0, 0)
    assert [(guest.body, guest.complete) for guest in good] == [(whole, True)] * EACH
    assert [guest.body for guest in late] == [whole[7000 * number :] for number in range(EACH)]
    assert all(whole.startswith(guest.body) and not guest.complete for guest in (*leaving, *stalled))
