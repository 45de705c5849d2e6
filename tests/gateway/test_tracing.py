"""Steps: what they keep, what they write, and what they add up to."""

from __future__ import annotations

import anyio
import pytest
import structlog
from structlog.testing import capture_logs

from gateway.tracing import Trace

pytestmark = pytest.mark.anyio


def entries(header: str) -> dict[str, float]:
    """A `Server-Timing` value as names and durations."""
    return {name: float(duration) for name, _, duration in (entry.partition(";dur=") for entry in header.split(", "))}


def test_a_step_is_a_pair_of_events() -> None:
    trace = Trace(trace_id="t")
    with capture_logs() as events, trace.step("persist", audio_bytes=3):
        pass
    assert [event["event"] for event in events] == ["persist.started", "persist.completed"]
    assert all((event["trace_id"], event["audio_bytes"]) == ("t", 3) for event in events)
    assert events[1]["duration_ms"] == trace.timings[0].duration_ms


def test_what_a_step_raises_passes_through_and_is_its_outcome() -> None:
    trace = Trace()
    with capture_logs() as events, pytest.raises(LookupError), trace.step("admission"):
        raise LookupError("what the user wrote")
    assert [event["event"] for event in events] == ["admission.started", "admission.failed"]
    assert events[1]["error"] == "LookupError"
    assert trace.timings[0].outcome == "failed"


async def test_a_cancelled_step_says_so() -> None:
    trace = Trace()
    with anyio.CancelScope() as scope, trace.step("provider.connect"):
        scope.cancel()
        await anyio.sleep_forever()
    assert trace.timings[0].outcome == "cancelled"


def test_a_failed_attempt_is_not_when_the_step_was_done() -> None:
    trace = Trace()
    with pytest.raises(LookupError), trace.step("provider.first_audio"):
        raise LookupError
    assert trace.at("provider.first_audio") is None
    with trace.step("provider.first_audio"):
        pass
    second = trace.timings[1]
    assert trace.at("provider.first_audio") == second.start_ms + second.duration_ms


async def test_our_own_share_is_the_time_that_was_not_the_providers() -> None:
    trace = Trace()
    assert trace.server_timing() == ""
    with trace.step("admission"):
        pass
    with trace.step("provider.connect"):
        await anyio.sleep(0.02)
    with trace.step("provider.first_audio"):
        await anyio.sleep(0.02)
    timing = entries(trace.server_timing())
    assert list(timing) == ["admission", "provider_connect", "provider_first_audio", "gateway"]
    rounding = 0.05 * len(timing)
    assert (
        timing["gateway"] + timing["provider_connect"] + timing["provider_first_audio"] <= trace.elapsed_ms() + rounding
    )


async def test_ids_known_later_are_on_every_line_of_the_same_work() -> None:
    structlog.contextvars.clear_contextvars()
    trace = Trace(trace_id="t")
    seen: list[dict[str, object]] = []

    async def started_later() -> None:
        seen.append(structlog.contextvars.get_contextvars())

    async with anyio.create_task_group() as tasks:
        trace.bind(generation_id="g")
        tasks.start_soon(started_later)
    assert seen == [{"generation_id": "g"}]
    with capture_logs() as events:
        trace.log.info("generation.failed")
    assert (events[0]["trace_id"], events[0]["generation_id"]) == ("t", "g")
