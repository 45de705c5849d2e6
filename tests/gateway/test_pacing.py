"""The pacer: a turn is waited for visibly, refused at once when too far off, and never the reason for an outage."""

from __future__ import annotations

import pytest

from gateway.pacing import Pacer
from gateway.tracing import Trace
from protocol.errors import Fault, ProviderFailure
from storage.database import Database
from tests.support.postgres import TestDatabase

pytestmark = [pytest.mark.integration, pytest.mark.anyio]


async def test_a_free_turn_is_no_step_and_one_that_is_waited_for_is(database: TestDatabase) -> None:
    trace = Trace()
    async with Database.open(database.gateway_url, max_connections=1) as opened:
        pacer = Pacer(opened, "qwen-test", per_second=1, per_minute=180)
        await pacer.wait_turn(trace, longest_wait=5)
        assert trace.at("provider.pacing") is None
        await pacer.wait_turn(trace, longest_wait=5)
    (waited,) = trace.timings
    assert (waited.step, waited.outcome) == ("provider.pacing", "completed")


async def test_a_turn_too_far_off_fails_at_once_as_a_rate_limit(database: TestDatabase) -> None:
    trace = Trace()
    async with Database.open(database.gateway_url, max_connections=1) as opened:
        pacer = Pacer(opened, "qwen-test", per_second=1, per_minute=1)
        await pacer.wait_turn(trace, longest_wait=1)
        with pytest.raises(ProviderFailure) as refused:
            await pacer.wait_turn(trace, longest_wait=1)
    assert refused.value.fault is Fault.RATE_LIMITED
    assert trace.timings == ()


async def test_without_a_database_sessions_start_and_the_vendor_is_left_to_say_no(database: TestDatabase) -> None:
    async with Database.open(database.gateway_url, max_connections=1) as opened:
        database.run("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'utter'")
        database.run("alter role utter nologin")
        try:
            await Pacer(opened, "qwen-test", per_second=1, per_minute=1).wait_turn(Trace(), longest_wait=0)
        finally:
            database.run("alter role utter login")
