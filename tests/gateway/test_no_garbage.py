"""Whatever a generation's end was, nothing of it waits for the garbage collector, which comes by seldom: what it holds
is audio, frames and sockets of people who are long gone."""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable

import anyio
import pytest

from gateway.running import RunningGeneration
from protocol.errors import Fault, ProviderFailure
from tests.support.collector import collector_off
from tests.support.exchange import WAIT_SECONDS, Exchange
from tests.support.gateway import Caller, Gateway, speech

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

PIECE = bytes(2000)

End = Callable[[Gateway, Exchange], Awaitable[None]]


async def heard(gateway: Gateway, _exchange: Exchange) -> None:
    await gateway.stage.say(PIECE)
    gateway.stage.finish()


async def failed_at_once(gateway: Gateway, _exchange: Exchange) -> None:
    await gateway.stage.began()
    gateway.stage.fail(Fault.ACCOUNT_ARREARS)


async def failed_midway(gateway: Gateway, exchange: Exchange) -> None:
    await gateway.stage.say(PIECE)
    await exchange.answered()
    gateway.stage.fail(Fault.CONNECTION_LOST)


async def left_at_once(gateway: Gateway, exchange: Exchange) -> None:
    await gateway.stage.began()
    exchange.leave()
    gateway.stage.finish()


async def left_midway(gateway: Gateway, exchange: Exchange) -> None:
    await gateway.stage.say(PIECE)
    await exchange.answered()
    exchange.leave()
    gateway.stage.finish()


async def cancelled(gateway: Gateway, _exchange: Exchange) -> None:
    await gateway.stage.began()
    (generation_id,) = gateway.services.supervisor._running
    assert await gateway.services.supervisor.cancel(generation_id)


@pytest.mark.parametrize("route", ["generate/stream", "generate"])
@pytest.mark.parametrize("end", [heard, failed_at_once, failed_midway, left_at_once, left_midway, cancelled])
async def test_nothing_of_a_generation_waits_for_the_collector(
    gateway: Gateway, ada: Caller, end: End, route: str
) -> None:
    voice = await ada.add_voice()
    with collector_off(), anyio.fail_after(WAIT_SECONDS):
        async with ada.listening(f"/api/{route}", "POST", speech(voice.id, "Good morning.")) as exchange:
            await end(gateway, exchange)
            await gateway.services.supervisor.wait_idle()
        await anyio.wait_all_tasks_blocked()
        gateway.stage._sinks.clear()  # the test's own holds
        gateway.stage._failure = None
        assert not [one for one in gc.get_objects() if isinstance(one, RunningGeneration | ProviderFailure)]
