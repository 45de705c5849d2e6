"""Connections opened in advance: used once, discarded in time, never counted twice against the account's limits."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.metrics import REGISTRY
from gateway.providers import warm
from gateway.providers.attempts import RetryPolicy
from gateway.providers.circuit import Circuit
from gateway.providers.dialing import QwenAccount
from gateway.providers.qwen_realtime import QwenOptions, QwenRealtime, open_qwen_realtime
from gateway.providers.warm import BURST_SECONDS, MEMORY_SECONDS, Demand, WarmLimits
from gateway.tracing import Trace
from gateway.transports import Connect
from protocol.errors import Fault, ProviderFailure
from tests.gateway.providers.conftest import PATIENT, QUIET, Serve
from tests.support import qwen_dialogue as vendor
from tests.support.qwen_dialogue import AUDIO, speaks
from tests.support.qwen_take import Take
from tests.support.websocket_servers import NO_CLOSE_FRAME, Peer, Refusal, ended

pytestmark = pytest.mark.anyio

MODEL = "model-1"
WAIT_SECONDS = 20.0
"""Longest wait for something that should happen by itself; only a failing test ever waits so long."""


class Account:
    """Turns as the pacing gives them: `asked` has the longest wait of each, and `crowded` refuses who cannot wait."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.crowded = False

    async def turn(self, _trace: Trace, longest_wait: float) -> None:
        self.asked.append(longest_wait)
        if self.crowded and longest_wait == 0.0:
            raise ProviderFailure(Fault.RATE_LIMITED)


@pytest.fixture
def account() -> Account:
    return Account()


@pytest.fixture
def warmed(connect: Connect, account: Account) -> Any:
    """`async with warmed(url, most=.., idle_seconds=..) as provider`."""

    @asynccontextmanager
    async def open_(url: str, *, most: int = 1, idle_seconds: float = 60.0) -> AsyncIterator[QwenRealtime]:
        limits = WarmLimits(most, idle_seconds)
        options = QwenOptions(
            QwenAccount(url, "sk-test"), PATIENT, QUIET, retries=RetryPolicy(first_pause=0.001), warm=limits
        )
        async with open_qwen_realtime(options, connect, account.turn) as opened:
            yield opened

    return open_


def ready(provider: QwenRealtime) -> int:
    return len(provider._warm._shelves[MODEL].ready)


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(WAIT_SECONDS):
        while not condition():  # noqa: ASYNC110 - threads and sockets decide
            await anyio.sleep(0.005)


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("utter_warm_connections_total", {"outcome": outcome}) or 0.0


async def spoken(provider: QwenRealtime, **options: Any) -> Take:
    take = Take()
    outcome = await take.speak(provider, **options)
    assert bytes(take.audio) == AUDIO
    assert outcome.attempts == 1
    return take


async def test_who_comes_next_finds_a_connection_that_is_open(warmed: Any, serve: Serve, account: Account) -> None:
    used, missed = counted("used"), counted("missed")
    with serve(speaks) as server:
        async with warmed(server.url) as provider:
            await spoken(provider)
            await until(lambda: ready(provider) == 1)
            assert server.upgrades == 2
            take = await spoken(provider)
            assert take.trace.timings[0].step == "provider.connect"
            await until(lambda: ready(provider) == 1)
            assert server.upgrades == 3, "a used one is replaced, and no session was opened for who used it"
    assert [wait > 0 for wait in account.asked] == [True, False, False], "one turn for each connection"
    assert (counted("used") - used, counted("missed") - missed) == (1, 1)


async def test_each_is_used_once_however_many_come_at_a_time(warmed: Any, serve: Serve) -> None:
    sessions: list[int] = []

    def script(peer: Peer) -> None:
        vendor.begin(peer)
        sessions.append(threading.get_ident())
        vendor.respond(peer, "resp_1", vendor.deltas(AUDIO))
        vendor.finish(peer)

    with serve(script) as server:
        async with warmed(server.url, most=3) as provider:
            for _ in range(2):
                async with anyio.create_task_group() as tasks:
                    for _ in range(4):
                        tasks.start_soon(spoken, provider)
                await until(lambda: ready(provider) == 3)
    assert len(sessions) == 8
    assert server.upgrades == 4 + 3 + 1 + 3, "four fresh, three warm, one fresh, three replaced"


async def test_one_that_grows_old_is_dropped_and_replaced(warmed: Any, serve: Serve) -> None:
    expired = counted("expired")
    with serve(speaks) as server:
        async with warmed(server.url, idle_seconds=0.05) as provider:
            await spoken(provider)
            assert await ended(server) == 1000
            assert await ended(server) == NO_CLOSE_FRAME
            await until(lambda: server.upgrades >= 3)
            await spoken(provider)
    assert counted("expired") > expired


async def test_nothing_is_opened_for_a_model_that_nobody_asks_for_any_more(
    warmed: Any, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm, "MEMORY_SECONDS", 0.2)
    with serve(speaks) as server:
        async with warmed(server.url, idle_seconds=0.05) as provider:
            await spoken(provider)
            await until(lambda: not ready(provider) and not provider._warm._shelves[MODEL].opening)
            opened = server.upgrades
            assert opened > 1
            await anyio.sleep(0.1)
            assert server.upgrades == opened


@pytest.mark.parametrize("farewell", ["close", "cut", "error"])
async def test_one_whose_server_left_or_spoke_is_not_used(warmed: Any, serve: Serve, farewell: str) -> None:
    connections = 0
    leave = threading.Event()
    lost = counted("lost")

    def script(peer: Peer) -> None:
        nonlocal connections
        connections += 1
        if connections != 2:
            speaks(peer)
            return
        vendor.greet(peer)
        leave.wait(WAIT_SECONDS)
        match farewell:
            case "close":
                peer.close(1011, "request timeout")
            case "cut":
                peer.cut()
            case "error":
                peer.send(vendor.event("error", error={"code": "InvalidParameter", "message": "request timeout"}))
                vendor.wait_for_goodbye(peer)

    with serve(script) as server:
        async with warmed(server.url) as provider:
            await spoken(provider)
            await until(lambda: ready(provider) == 1)
            leave.set()
            await until(lambda: counted("lost") == lost + 1)
            await spoken(provider)
            assert provider.circuit.state is Circuit.CLOSED


async def test_a_task_leaves_it_to_who_listens(warmed: Any, serve: Serve) -> None:
    with serve(speaks) as server:
        async with warmed(server.url) as provider:
            await spoken(provider)
            await until(lambda: ready(provider) == 1)
            await spoken(provider, may_queue=10.0)
            assert ready(provider) == 1
            assert server.upgrades == 3


async def test_while_the_account_has_no_room_none_is_opened(
    warmed: Any, serve: Serve, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm, "CROWDED_SECONDS", 0.01)
    account.crowded = True
    with serve(speaks) as server:
        async with warmed(server.url) as provider:
            await spoken(provider)
            await until(lambda: account.asked.count(0.0) > 2)
            assert server.upgrades == 1
            account.crowded = False
            await until(lambda: ready(provider) == 1)


async def test_a_provider_that_refuses_is_left_alone_for_a_while(warmed: Any, serve: Serve, account: Account) -> None:
    with serve(speaks) as server:
        async with warmed(server.url) as provider:
            await spoken(provider)
            await until(lambda: ready(provider) == 1)
            server.refusal = Refusal(401)
            await spoken(provider)
            await until(lambda: account.asked.count(0.0) == 2)
            await until(lambda: server.upgrades == 3)
            server.refusal = None
            await spoken(provider)
            assert ready(provider) == 0
            assert account.asked.count(0.0) == 2, "no second try yet"


async def test_an_open_circuit_is_probed_by_a_fresh_one(warmed: Any, serve: Serve) -> None:
    with serve(speaks) as server:
        async with warmed(server.url) as provider:
            await spoken(provider)
            await until(lambda: ready(provider) == 1)
            provider.circuit._state = Circuit.OPEN
            provider.circuit._pause = 0.0
            await spoken(provider)
            assert server.upgrades == 3
            assert ready(provider) == 1


async def test_the_end_of_the_provider_is_the_end_of_them(warmed: Any, serve: Serve) -> None:
    with serve(speaks) as server:
        async with warmed(server.url) as provider:
            await spoken(provider)
            assert await ended(server) == 1000
            await until(lambda: ready(provider) == 1)
        assert await ended(server) == NO_CLOSE_FRAME


async def test_who_is_cancelled_while_taking_one_leaves_no_socket(warmed: Any, serve: Serve) -> None:
    with serve(speaks) as server:
        async with warmed(server.url) as provider:
            await spoken(provider)
            assert await ended(server) == 1000
            await until(lambda: ready(provider) == 1)
            with anyio.CancelScope() as scope:
                scope.cancel()
                await Take().speak(provider)
            assert await ended(server) == NO_CLOSE_FRAME


async def test_switched_off_nothing_is_opened_in_advance(warmed: Any, serve: Serve, account: Account) -> None:
    with serve(speaks) as server:
        async with warmed(server.url, most=0) as provider:
            await spoken(provider)
            await spoken(provider)
    assert server.upgrades == 2
    assert all(wait > 0 for wait in account.asked)


# ------------------------------------------------------------------------------------------------- demand


@given(st.lists(st.floats(min_value=0, max_value=MEMORY_SECONDS - 1), min_size=1, max_size=60), st.floats(0, 0.9))
def test_as_many_are_wanted_as_the_busiest_moment_had_and_one(times: list[float], later: float) -> None:
    demand = Demand()
    times.sort()
    for time in times:
        demand.note(time)
    busiest = max(sum(time - BURST_SECONDS < other <= time for other in times[: n + 1]) for n, time in enumerate(times))
    assert demand.wanted(times[-1] + later) == busiest + 1


def test_what_was_long_ago_is_forgotten() -> None:
    demand = Demand()
    demand.note(100.0)
    demand.note(100.5)
    demand.note(100.0 + MEMORY_SECONDS)
    assert demand.wanted(100.0 + MEMORY_SECONDS) == 3
    assert demand.wanted(100.6 + MEMORY_SECONDS) == 2
    assert demand.wanted(101.0 + 2 * MEMORY_SECONDS) == 0
