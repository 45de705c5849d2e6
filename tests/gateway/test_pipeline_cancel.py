"""Cancelling a generation, at every moment there is: the rows converge and nothing is left behind."""

from __future__ import annotations

import pytest

from gateway.audio_log import LogState
from gateway.running import EndReason, RunningGeneration
from protocol.errors import Category, ProviderFailure
from storage import generations
from storage.generations import CANCELLED_BY_USER
from tests.support.workshop import SPEECH, Pause, ScriptedProvider, Workshop

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


async def assert_cancelled(workshop: Workshop, running: RunningGeneration) -> None:
    order = running.order
    assert await workshop.states(order) == ("cancelled", "cancelled", "cancelled")
    generation = await workshop.generation(order)
    assert generation is not None
    assert generation.error_message == CANCELLED_BY_USER
    assert generation.audio_object_key is None
    assert await workshop.stored(order) is None


@pytest.mark.parametrize("audio", [(), (SPEECH,)], ids=["before audio", "after audio"])
async def test_it_converges_and_leaves_no_object(workshop: Workshop, audio: tuple[bytes, ...]) -> None:
    order = await workshop.order(workshop.user())
    pause = Pause()
    async with workshop.running(ScriptedProvider(*audio, pause, SPEECH), order) as running:
        await pause.reached()
        running.stop(EndReason.CANCELLED)
    await assert_cancelled(workshop, running)
    assert running.log.failure is not None
    assert running.log.failure.fault.facts.category is Category.CANCELLED
    assert running.log.size == len(b"".join(audio))


async def test_while_the_socket_opens(workshop: Workshop) -> None:
    order = await workshop.order(workshop.user())
    pause = Pause()
    provider = ScriptedProvider(SPEECH, before=pause)
    async with workshop.running(provider, order) as running:
        await running.accepted()
        await pause.reached()
        running.stop(EndReason.CANCELLED)
    await assert_cancelled(workshop, running)
    assert provider.billed == []


async def test_before_the_rows_exist(workshop: Workshop) -> None:
    order = await workshop.order(workshop.user())
    provider = ScriptedProvider(SPEECH)
    async with workshop.held_inserts() as somebody_waits:
        cancelled = workshop.running(provider, order)
        running = await cancelled.__aenter__()
        await somebody_waits()
        running.stop(EndReason.CANCELLED)
        with pytest.raises(ProviderFailure):
            await running.accepted()
    await cancelled.__aexit__(None, None, None)
    assert provider.billed == []
    assert await workshop.states(order) in (None, ("cancelled", "cancelled", "cancelled"))


async def test_before_it_began(workshop: Workshop) -> None:
    order = await workshop.order(workshop.user())
    provider = ScriptedProvider(SPEECH)
    async with workshop.running(provider, order) as running:
        running.stop(EndReason.CANCELLED)
    assert provider.billed == []
    assert await workshop.states(order) in (None, ("cancelled", "cancelled", "cancelled"))
    assert running.log.state is LogState.FAILED


async def test_while_the_audio_is_being_stored(workshop: Workshop) -> None:
    order = await workshop.order(workshop.user())
    async with workshop.store_away(), workshop.running(ScriptedProvider(SPEECH), order) as running:
        await workshop.until_status(order, "finalizing")
        running.stop(EndReason.CANCELLED)
    await assert_cancelled(workshop, running)
    assert running.log.state is LogState.COMPLETE, "whoever listens may hear the end"


async def test_after_the_end_it_changes_nothing(workshop: Workshop) -> None:
    order = await workshop.order(workshop.user())
    async with workshop.running(ScriptedProvider(SPEECH), order) as running:
        await running.ended.wait()
        running.stop(EndReason.CANCELLED)
    assert await workshop.states(order) == ("completed", "completed", "completed")
    assert await workshop.stored(order) == SPEECH


async def test_by_another_instance_is_not_overturned_by_a_completion(workshop: Workshop) -> None:
    order = await workshop.order(workshop.user())
    pause = Pause()
    async with workshop.running(ScriptedProvider(SPEECH, pause, SPEECH), order) as running:
        await pause.reached()
        async with workshop.pool.as_service() as transaction:
            assert await generations.cancel_generation(transaction, order.generation_id, order.task_id)
        pause.end()
    await assert_cancelled(workshop, running)
