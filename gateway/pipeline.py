"""One generation from accepted order to terminal row: provider -> audio log -> object store -> rows.

v1 and v2 are this same function; v1 merely has no listener. The rows are written while the provider's socket opens,
and nothing billable is sent before they exist. Every way out leaves the log ended and the rows terminal.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import anyio

from gateway import metrics
from gateway.audio_log import LogState
from gateway.frames import forget_frames
from gateway.persister import Persister
from gateway.providers.base import SpeechProvider
from gateway.redaction import without_quotes
from gateway.running import EndReason, RunningGeneration
from gateway.task_groups import until_cancelled
from protocol.errors import Fault, ProviderFailure

CLEANUP_SECONDS = 5.0
"""Longest time a stopped generation may take to write its terminal rows: it is shielded, so it must be bounded."""

ROWS_FIRST_SECONDS = 1.0
"""How long listeners wait for the failure to be written down. A database that is away must not keep them longer."""

LAST_STATUS_SECONDS = 1.0
"""How long a finished generation waits for a status that is being written. To cut a statement off, asyncpg opens a
connection just for that; a database that takes longer is not worth waiting for."""

INTERRUPTED = "The server was restarted before this generation finished. Please generate it again."

CRASHED = "Something went wrong on our side. Please generate it again."

_FAULT_OF = {
    EndReason.CANCELLED: Fault.CANCELLED,
    EndReason.SHUTDOWN: Fault.CONNECTION_LOST,
    EndReason.LOST: Fault.CONNECTION_LOST,
    EndReason.CRASHED: Fault.UNKNOWN,
}


Place = Callable[[], Awaitable[float]]
"""Awaited before the provider is called: it returns when there is room, with the seconds that are left to wait for the
provider's own limits, or raises `ProviderFailure`."""


async def run_generation(
    running: RunningGeneration, provider: SpeechProvider, persister: Persister, place: Place
) -> None:
    """Run one generation to its end. Raises nothing but a cancellation that comes from outside `running.scope`."""
    finished = False
    try:
        with running.scope:
            await _speak_and_store(running, provider, persister, place)
            finished = True
    except Exception:  # a defect, but of one generation: raised further it would end all that run in this process
        running.trace.log.exception("generation.crashed")
        running.end_reason = EndReason.CRASHED
    finally:
        if not finished:
            with anyio.move_on_after(CLEANUP_SECONDS, shield=True):
                await _wind_up(running, persister)
        running.ended.set()


async def _speak_and_store(
    running: RunningGeneration, provider: SpeechProvider, persister: Persister, place: Place
) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(until_cancelled, _write_rows, running, persister, tasks.cancel_scope)
        tasks.start_soon(until_cancelled, _follow_status, running, persister)
        await _speak(running, provider, persister, place)
        running.end_status()  # of what was noted before, the last may still be on its way
        tasks.cancel_scope.deadline = anyio.current_time() + LAST_STATUS_SECONDS
    if running.log.state is LogState.OPEN:
        running.log.fail(ProviderFailure(Fault.CANCELLED))  # the rows were refused, so nobody listens


async def _speak(running: RunningGeneration, provider: SpeechProvider, persister: Persister, place: Place) -> None:
    try:
        may_queue = await place()
        with metrics.SESSIONS.track_inprogress():
            outcome = await provider.speak(
                running.order.utterance,
                running.log,
                running.trace,
                clearance=running.cleared,
                on_status=partial(_progressed, running),
                may_queue=may_queue,
            )
    except ProviderFailure as failure:
        await _failed(running, persister, failure)
        forget_frames(failure)
    except Exception:
        running.trace.log.exception("generation.crashed")
        await _failed(running, persister, ProviderFailure(Fault.UNKNOWN))
    else:
        running.log.complete()
        running.set_status("finalizing")
        if outcome.unknown_events:
            running.trace.log.warning("provider.unknown_events", types=outcome.unknown_events)
        await persister.store(running, outcome)


def _progressed(running: RunningGeneration, status: str) -> None:
    running.set_status(status)
    if status == "streaming":
        flow, trace = running.order.task_type, running.trace
        metrics.FIRST_AUDIO.labels(flow).observe(trace.elapsed_ms() / 1000)
        metrics.ADDED_LATENCY.labels(flow).observe(trace.own_ms() / 1000)


async def _write_rows(running: RunningGeneration, persister: Persister, pipeline: anyio.CancelScope) -> None:
    if running.rows_exist:
        return  # a later attempt
    try:
        await persister.begin(running)
    except Exception as error:
        running.rows_refused(error)
        pipeline.cancel()
    else:
        running.rows_written()


async def _follow_status(running: RunningGeneration, persister: Persister) -> None:
    await running.cleared()
    while (status := await running.next_status()) is not None:
        await persister.note_status(running, status)


async def _failed(running: RunningGeneration, persister: Persister, failure: ProviderFailure) -> None:
    """Rows first, then the listeners: whoever is told that it failed can read so in the history."""
    facts, vendor = failure.fault.facts, failure.vendor
    metrics.count_failure("qwen", failure.fault, heard=running.log.size > 0)
    running.trace.log.warning(
        "generation.failed",
        fault=failure.fault.value,
        category=facts.category.value,
        remedy=facts.remedy,
        vendor_code=vendor.code,
        vendor_message=without_quotes(vendor.message),
        close_code=vendor.close_code,
        http_status=vendor.http_status,
        last_event_id=failure.last_event_id,
        audio_bytes=running.log.size,
    )
    recorded = anyio.Event()

    async def record() -> None:
        await running.cleared()
        await persister.fail(running, facts.detail, failure.fault)
        recorded.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(until_cancelled, record)
        with anyio.move_on_after(ROWS_FIRST_SECONDS):
            await recorded.wait()
        running.log.fail(failure)


async def _wind_up(running: RunningGeneration, persister: Persister) -> None:
    try:
        await _stopped(running, persister)
    except Exception:
        running.trace.log.exception("generation.rows_left_open")


async def _stopped(running: RunningGeneration, persister: Persister) -> None:
    """Cancelled by its user, cut off by the end of this process, or by a defect."""
    failure = ProviderFailure(_FAULT_OF[running.end_reason])
    if running.log.state is LogState.OPEN:
        running.log.fail(failure)
    if not running.rows_exist:
        running.rows_refused(failure)
    # Even when they were refused: a cancelled commit may have reached the database, and for rows that never came this
    # changes nothing.
    match running.end_reason:
        case EndReason.SHUTDOWN | EndReason.CRASHED if await persister.set_aside(running):
            pass
        case EndReason.CANCELLED:
            await persister.cancel(running)
        case EndReason.LOST:
            await persister.withdraw(running)
        case EndReason.SHUTDOWN if running.order.task_type == "generate" and running.rows_exist:
            await persister.hand_over(running)
        case EndReason.SHUTDOWN:
            await persister.fail(running, INTERRUPTED, failure.fault)
        case EndReason.CRASHED:
            await persister.fail(running, CRASHED, failure.fault)
