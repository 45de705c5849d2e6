"""The supervisor: who may start, who may be stopped, and that one generation is no danger to the others."""

from __future__ import annotations

from contextlib import AsyncExitStack
from uuid import uuid4

import anyio
import anyio.lowlevel
import pytest
import structlog

from gateway import pipeline as pipeline_module
from gateway.audio_log import LogState
from gateway.errors import ApiError
from gateway.pipeline import INTERRUPTED
from gateway.providers.base import SpeechProvider
from gateway.running import GenerationOrder, RunningGeneration
from gateway.supervisor import Supervisor
from gateway.tracing import Trace
from protocol.errors import Category, Fault, ProviderFailure
from tests.support.exchange import WAIT_SECONDS
from tests.support.leases import open_keeper, room_for
from tests.support.workshop import SPEECH, Pause, ScriptedProvider, Workshop

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


class Speakers:
    """A provider that gives every generation a script of its own, in the order they come."""

    def __init__(self, *providers: SpeechProvider) -> None:
        self._providers = list(providers)

    @property
    def speak(self) -> object:
        return self._providers.pop(0).speak


def supervisor(workshop: Workshop, *providers: SpeechProvider, max_running: int = 4) -> Supervisor:
    # mypy: a property that gives a function is the function for whoever calls it.
    return Supervisor(Speakers(*providers), workshop.persister, open_keeper(workshop.pool), room_for(max_running))  # type: ignore[arg-type]


def start(supervised: Supervisor, order: GenerationOrder) -> RunningGeneration:
    return supervised.start(order, Trace())


async def ended(running: RunningGeneration) -> None:
    with anyio.fail_after(WAIT_SECONDS):
        await running.ended.wait()


class TestAdmission:
    async def test_one_too_many_is_refused_and_the_place_of_an_ended_one_is_free(self, workshop: Workshop) -> None:
        user = workshop.user()
        orders = [await workshop.order(user) for _ in range(3)]
        pauses = [Pause(), Pause()]
        scripts = [ScriptedProvider(pause, SPEECH) for pause in pauses]
        async with supervisor(workshop, *scripts, ScriptedProvider(SPEECH), max_running=2) as supervised:
            first, second = (start(supervised, order) for order in orders[:2])
            assert supervised.active == 2
            with pytest.raises(ApiError) as refused:
                start(supervised, orders[2])
            assert refused.value.status == 503
            assert int(refused.value.headers["Retry-After"]) > 0
            assert "busy" in refused.value.detail
            assert supervised.active == 2
            await pauses[0].reached()
            pauses[0].end()
            await ended(first)
            third = start(supervised, orders[2])
            await ended(third)
            pauses[1].end()
            await ended(second)
        for order in orders:
            assert await workshop.stored(order) == SPEECH

    async def test_a_refused_order_leaves_no_rows(self, workshop: Workshop) -> None:
        order = await workshop.order(workshop.user())
        async with supervisor(workshop, max_running=0) as supervised:
            with pytest.raises(ApiError):
                start(supervised, order)
        assert await workshop.states(order) is None

    async def test_draining_refuses_new_work_and_finishes_the_old(self, workshop: Workshop) -> None:
        user = workshop.user()
        order, late = await workshop.order(user), await workshop.order(user)
        pause = Pause()
        async with supervisor(workshop, ScriptedProvider(pause, SPEECH)) as supervised:
            start(supervised, order)
            await pause.reached()
            supervised.start_draining()
            assert supervised.draining
            with pytest.raises(ApiError) as refused:
                start(supervised, late)
            assert refused.value.status == 503
            assert int(refused.value.headers["Retry-After"]) > 0
            assert "restarting" in refused.value.detail
            pause.end()
            with anyio.fail_after(WAIT_SECONDS):
                await supervised.wait_idle()
            assert await workshop.states(order) == ("completed", "completed", "completed")
        assert await workshop.states(late) is None

    async def test_idle_is_when_nothing_runs(self, workshop: Workshop) -> None:
        async with supervisor(workshop) as supervised:
            with anyio.fail_after(WAIT_SECONDS):
                await supervised.wait_idle()

    async def test_outside_of_its_context_it_starts_nothing(self, workshop: Workshop) -> None:
        order = await workshop.order(workshop.user())
        with pytest.raises(RuntimeError, match="never entered"):
            start(supervisor(workshop), order)


class TestLine:
    """v1 tasks wait for a place; streams, behind which somebody waits, do not."""

    def opened(self, workshop: Workshop, *providers: SpeechProvider, wait_seconds: float = 60.0) -> Supervisor:
        room = room_for(1, waiting=1, wait_seconds=wait_seconds)
        return Supervisor(Speakers(*providers), workshop.persister, open_keeper(workshop.pool), room)  # type: ignore[arg-type]

    async def task(self, workshop: Workshop) -> GenerationOrder:
        return await workshop.order(workshop.user(), "generate")

    async def test_a_task_waits_as_queued_and_is_spoken_when_a_place_is_free(self, workshop: Workshop) -> None:
        pause = Pause()
        async with self.opened(workshop, ScriptedProvider(pause, SPEECH), ScriptedProvider(SPEECH)) as supervised:
            first = start(supervised, await self.task(workshop))
            await pause.reached()
            second = start(supervised, await self.task(workshop))
            await second.accepted()
            assert (second.in_line, second.provider_status) == (True, "queued")
            assert await workshop.states(second.order) == ("processing", "pending", "queued")
            with pytest.raises(ApiError, match="busy"):
                start(supervised, await self.task(workshop))
            with pytest.raises(ApiError, match="busy"):
                start(supervised, await workshop.order(workshop.user()))
            pause.end()
            await ended(first)
            await ended(second)
        assert await workshop.stored(second.order) == SPEECH

    async def test_a_turn_that_does_not_come_in_time_fails_the_task(self, workshop: Workshop) -> None:
        pause = Pause()
        async with self.opened(workshop, ScriptedProvider(pause, SPEECH), wait_seconds=0.01) as supervised:
            start(supervised, await self.task(workshop))
            await pause.reached()
            second = start(supervised, await self.task(workshop))
            await ended(second)
            assert await workshop.states(second.order) == ("failed", "failed", "failed")
            pause.end()
            with anyio.fail_after(WAIT_SECONDS):
                await supervised.wait_idle()

    async def test_who_cancels_in_line_takes_no_place(self, workshop: Workshop) -> None:
        pause = Pause()
        async with self.opened(workshop, ScriptedProvider(pause, SPEECH), ScriptedProvider(SPEECH)) as supervised:
            start(supervised, await self.task(workshop))
            await pause.reached()
            second = start(supervised, await self.task(workshop))
            await second.accepted()
            assert await supervised.cancel(second.generation_id)
            third = start(supervised, await self.task(workshop))
            pause.end()
            await ended(third)
        assert await workshop.states(second.order) == ("cancelled", "cancelled", "cancelled")
        assert await workshop.stored(third.order) == SPEECH

    async def test_a_drain_leaves_the_line_to_other_processes(self, workshop: Workshop) -> None:
        pause = Pause()
        async with self.opened(workshop, ScriptedProvider(pause, SPEECH)) as supervised:
            start(supervised, await self.task(workshop))
            await pause.reached()
            second = start(supervised, await self.task(workshop))
            await second.accepted()
            supervised.start_draining()
            await ended(second)
            assert await workshop.states(second.order) == ("processing", "pending", "queued")
            pause.end()
            with anyio.fail_after(WAIT_SECONDS):
                await supervised.wait_idle()


class TestCancel:
    async def test_it_returns_when_the_rows_say_so(self, workshop: Workshop) -> None:
        user = workshop.user()
        order, other = await workshop.order(user), await workshop.order(user)
        pauses = [Pause(), Pause()]
        scripts = [ScriptedProvider(SPEECH, pause) for pause in pauses]
        async with supervisor(workshop, *scripts) as supervised:
            running, beside = start(supervised, order), start(supervised, other)
            assert supervised.get(order.generation_id) is running
            for pause in pauses:
                await pause.reached()
            assert await supervised.cancel(order.generation_id)
            assert await workshop.states(order) == ("cancelled", "cancelled", "cancelled")
            assert beside.log.state is LogState.OPEN
            pauses[1].end()
            await ended(beside)
            assert supervised.get(order.generation_id) is None
        assert await workshop.stored(order) is None
        assert await workshop.stored(other) == SPEECH

    async def test_by_many_at_once_is_the_same(self, workshop: Workshop) -> None:
        order = await workshop.order(workshop.user())
        pause = Pause()
        told: list[bool] = []
        async with supervisor(workshop, ScriptedProvider(SPEECH, pause)) as supervised:
            start(supervised, order)
            await pause.reached()

            async def cancel() -> None:
                told.append(await supervised.cancel(order.generation_id))

            async with anyio.create_task_group() as group:
                for _ in range(3):
                    group.start_soon(cancel)
        assert told == [True, True, True]
        assert await workshop.states(order) == ("cancelled", "cancelled", "cancelled")

    async def test_what_does_not_run_here_is_not_cancelled_here(self, workshop: Workshop) -> None:
        async with supervisor(workshop) as supervised:
            assert not await supervised.cancel(uuid4())


class TestLeaving:
    async def test_what_runs_is_interrupted_with_honest_words(self, workshop: Workshop) -> None:
        user = workshop.user()
        orders = [await workshop.order(user) for _ in range(2)]
        pauses = [Pause(), Pause()]
        async with supervisor(workshop, *(ScriptedProvider(SPEECH, pause) for pause in pauses)) as supervised:
            generations = [start(supervised, order) for order in orders]
            for pause in pauses:
                await pause.reached()
        for order, running in zip(orders, generations, strict=True):
            assert await workshop.states(order) == ("failed", "failed", "failed")
            task = await workshop.task(order)
            assert task is not None
            assert task.error == INTERRUPTED
            assert running.log.failure is not None
            assert running.log.failure.fault.facts.category is Category.PROVIDER_UNAVAILABLE
            assert await workshop.stored(order) is None

    async def test_a_generation_that_never_got_its_turn_ends_too(self, workshop: Workshop) -> None:
        order = await workshop.order(workshop.user())
        provider = ScriptedProvider(SPEECH)
        async with supervisor(workshop, provider) as supervised:
            running = start(supervised, order)
        assert running.ended.is_set()
        assert provider.billed == []
        assert await workshop.states(order) in (None, ("failed", "failed", "failed"))

    async def test_an_error_of_its_owner_interrupts_the_same_way(self, workshop: Workshop) -> None:
        order = await workshop.order(workshop.user())
        pause = Pause()
        with pytest.RaisesGroup(LookupError):
            async with supervisor(workshop, ScriptedProvider(SPEECH, pause)) as supervised:
                start(supervised, order)
                await pause.reached()
                raise LookupError("the server's own")
        assert await workshop.states(order) == ("failed", "failed", "failed")

    async def test_a_database_that_is_away_does_not_hold_it_up(
        self, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pipeline_module, "CLEANUP_SECONDS", 0.1)
        order = await workshop.order(workshop.user())
        pause = Pause()
        async with AsyncExitStack() as outage:
            async with supervisor(workshop, ScriptedProvider(SPEECH, pause)) as supervised:
                running = start(supervised, order)
                await pause.reached()
                await workshop.until_status(order, "ws_connecting")
                await outage.enter_async_context(workshop.database_away())
            assert running.ended.is_set()
            assert running.log.state is LogState.FAILED
        assert await workshop.states(order) == ("processing", "processing", "ws_connecting"), "the next start ends them"


async def test_a_mistake_in_one_generation_does_not_end_the_others(workshop: Workshop) -> None:
    workshop.database.run("drop function utter.fail_generation(uuid, uuid, text, text, boolean)")
    user = workshop.user()
    broken, healthy = await workshop.order(user), await workshop.order(user)
    pause = Pause()
    scripts = [ScriptedProvider(ProviderFailure(Fault.OVERLOADED)), ScriptedProvider(SPEECH, pause, SPEECH)]
    with structlog.testing.capture_logs() as logs:
        async with supervisor(workshop, *scripts) as supervised:
            first, second = start(supervised, broken), start(supervised, healthy)
            await ended(first)
            assert first.log.state is LogState.FAILED
            await pause.reached()
            pause.end()
            await ended(second)
    assert "database.terminal_state_lost" in [line["event"] for line in logs]
    assert await workshop.stored(healthy) == SPEECH * 2


async def test_what_no_generation_expects_is_contained(workshop: Workshop) -> None:
    class Broken:
        """Breaks where nothing may: a generation without an end would keep its listeners for ever."""

        async def begin(self, _running: RunningGeneration) -> None:
            return

        def __getattr__(self, name: str) -> object:
            raise AttributeError(name)

    user = workshop.user()
    pause = Pause()
    with structlog.testing.capture_logs() as logs:
        async with Supervisor(
            ScriptedProvider(pause),
            Broken(),  # type: ignore[arg-type]  # the point
            open_keeper(workshop.pool),
            room_for(1),
        ) as supervised:
            running = start(supervised, await workshop.order(user))
            await pause.reached()
            pause.end()
            await ended(running)
            assert supervised.active == 0
    assert running.log.state is not LogState.OPEN
    assert {"generation.crashed", "generation.rows_left_open"} <= {line["event"] for line in logs}


class TestJobs:
    async def test_a_job_counts_as_work_until_it_is_done(self, workshop: Workshop) -> None:
        done = anyio.Event()
        async with supervisor(workshop) as supervised:
            supervised.start_job("preview", done.wait)
            assert supervised.active == 1
            supervised.start_draining()
            done.set()
            with anyio.fail_after(WAIT_SECONDS):
                await supervised.wait_idle()
            assert supervised.active == 0

    async def test_a_job_that_breaks_is_named_in_the_log_and_ends_nothing_else(self, workshop: Workshop) -> None:
        healthy = anyio.Event()

        async def break_() -> None:
            raise AttributeError("typo")

        async def go_on() -> None:
            await broken.wait()
            healthy.set()

        broken = anyio.Event()
        with structlog.testing.capture_logs() as logs:
            async with supervisor(workshop) as supervised:
                supervised.start_job("broken", break_)
                supervised.start_job("healthy", go_on)
                broken.set()
                with anyio.fail_after(WAIT_SECONDS):
                    await supervised.wait_idle()
        assert healthy.is_set()
        assert [line["job"] for line in logs if line["event"] == "job.crashed"] == ["broken"]

    async def test_leaving_cancels_a_job_and_waits_for_it(self, workshop: Workshop) -> None:
        cleaned_up = False

        async def work() -> None:
            nonlocal cleaned_up
            try:
                await anyio.sleep_forever()
            finally:
                cleaned_up = True

        async with supervisor(workshop) as supervised:
            supervised.start_job("endless", work)
            await anyio.lowlevel.checkpoint()
        assert cleaned_up

    async def test_no_job_beyond_the_bound_nor_while_draining(self, workshop: Workshop) -> None:
        async with supervisor(workshop, max_running=1) as supervised:
            supervised.start_job("first", anyio.sleep_forever)
            with pytest.raises(ApiError, match="busy"):
                supervised.start_job("second", anyio.sleep_forever)
            supervised.start_draining()
            with pytest.raises(ApiError, match="restarting"):
                supervised.start_job("third", anyio.sleep_forever)
