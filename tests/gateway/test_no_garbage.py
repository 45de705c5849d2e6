"""Whatever a generation's end was, nothing of it waits for the garbage collector, which comes by seldom: what it holds
is audio, frames and sockets of people who are long gone."""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import anyio
import pytest

from gateway.running import RunningGeneration
from protocol.errors import Fault, ProviderFailure
from tests.support.collector import collector_off
from tests.support.exchange import WAIT_SECONDS, Exchange, open_request
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


def held() -> dict[int, object]:
    """What there is of generations, by identity. Proxies of the dead answer `isinstance` with an exception."""
    return {id(one): one for one in gc.get_objects() if issubclass(type(one), RunningGeneration | ProviderFailure)}


@pytest.mark.parametrize("route", ["generate/stream", "generate"])
@pytest.mark.parametrize("end", [heard, failed_at_once, failed_midway, left_at_once, left_midway, cancelled])
async def test_nothing_of_a_generation_waits_for_the_collector(
    gateway: Gateway, ada: Caller, end: End, route: str
) -> None:
    voice, before = await ada.add_voice(), held()  # other tests keep failures for ever
    with collector_off(), anyio.fail_after(WAIT_SECONDS):
        async with ada.listening(f"/api/{route}", "POST", speech(voice.id, "Good morning.")) as exchange:
            await end(gateway, exchange)
            await gateway.services.supervisor.wait_idle()
        await anyio.wait_all_tasks_blocked()
        gateway.stage.forget()
        assert held().keys() <= before.keys()


@pytest.mark.parametrize("route", ["generate/stream", "generate"])
async def test_neither_does_what_came_second_with_its_key(gateway: Gateway, ada: Caller, route: str) -> None:
    body = speech((await ada.add_voice()).id, "Good morning.")
    headers, before = {**ada.headers, "Idempotency-Key": "the same"}, held()
    with collector_off(), anyio.fail_after(WAIT_SECONDS):
        async with AsyncExitStack() as stack:
            asking = [
                await stack.enter_async_context(
                    open_request(gateway.app, "POST", f"/api/{route}", headers=headers, body=body)
                )
                for _ in range(4)
            ]
            await gateway.stage.say(PIECE)
            gateway.stage.finish()
            for exchange in asking:
                await exchange.over()
        assert [exchange.status for exchange in asking] == [200] * 4
        await gateway.services.supervisor.wait_idle()
        await anyio.wait_all_tasks_blocked()
        gateway.stage.forget()
        assert held().keys() <= before.keys()
