"""`run_generation`: rows before money, one honest end whatever happens, and nothing left behind."""

from __future__ import annotations

import hashlib
import weakref
from contextlib import suppress

import anyio
import pytest
import structlog

from gateway import persister as persister_module
from gateway import pipeline as pipeline_module
from gateway.audio_log import AudioLog, LogState
from gateway.persister import NOT_STORED
from gateway.pipeline import INTERRUPTED
from gateway.running import EndReason
from protocol.errors import Fault, ProviderFailure
from storage.database import ActiveTaskExists, DatabaseUnavailable, UnknownUser
from tests.support.collector import collector_off
from tests.support.workshop import SPEECH, Pause, ScriptedProvider, Workshop, order_for

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


class TestSuccess:
    async def test_the_audio_is_heard_stored_and_described(self, workshop: Workshop) -> None:
        order = await workshop.order(workshop.user())
        provider = ScriptedProvider("session_updated", "streaming", SPEECH, SPEECH)
        async with workshop.running(provider, order) as running:
            await running.accepted()
            await running.first_audio()
        assert running.log.state is LogState.COMPLETE
        assert await workshop.stored(order) == SPEECH * 2
        assert await workshop.states(order) == ("completed", "completed", "completed")
        generation, task = await workshop.generation(order), await workshop.task(order)
        assert generation is not None
        assert task is not None
        digest = hashlib.sha256(SPEECH * 2).hexdigest()
        assert (generation.audio_object_key, generation.output_format) == (order.object_key, "mp3")
        assert (generation.audio_bytes, generation.audio_sha256) == (len(SPEECH) * 2, digest)
        assert (generation.duration_seconds, generation.characters_billed) == (0.3, 13)
        assert generation.first_audio_seconds is not None
        assert generation.generation_time_seconds is not None
        assert 0 < generation.first_audio_seconds <= generation.generation_time_seconds
        assert generation.timings is not None
        assert {"database.begin", "provider.first_audio"} <= {timing["step"] for timing in generation.timings}
        assert task.result is not None
        assert (task.result["audio_bytes"], task.result["audio_sha256"]) == (len(SPEECH) * 2, digest)
        assert (task.error, generation.error_message) == (None, None)

    async def test_every_status_reaches_the_row(self, workshop: Workshop) -> None:
        order = await workshop.order(workshop.user())
        pauses = {status: Pause() for status in ("session_updated", "streaming")}
        script = [step for status, pause in pauses.items() for step in (status, pause)]
        before = Pause()
        async with workshop.running(ScriptedProvider(*script, SPEECH, before=before), order) as running:
            await before.reached()
            await workshop.until_status(order, "ws_connecting")
            assert await workshop.states(order) == ("processing", "processing", "ws_connecting")
            before.end()
            for status, pause in pauses.items():
                await pause.reached()
                await workshop.until_status(order, status)
                assert running.provider_status == status
                pause.end()
            async with workshop.store_away():
                await workshop.until_status(order, "finalizing")
        assert await workshop.states(order) == ("completed", "completed", "completed")


class TestRowsBeforeMoney:
    async def test_nothing_billable_is_sent_before_the_rows_exist(self, workshop: Workshop) -> None:
        order = await workshop.order(workshop.user())
        seen: list[tuple[str, str, str | None] | None] = []

        async def look() -> None:
            seen.append(await workshop.states(order))

        provider = ScriptedProvider(look, SPEECH)
        async with workshop.held_inserts() as somebody_waits:
            cleared = workshop.running(provider, order)
            running = await cleared.__aenter__()
            await somebody_waits()
            await provider.connecting.wait()  # the socket opens meanwhile
            assert provider.billed == []
            assert not running.rows_exist
        await cleared.__aexit__(None, None, None)
        assert provider.billed == ["Good morning."]
        assert seen[0] is not None, "cleared before the rows were committed"
        assert await workshop.states(order) == ("completed", "completed", "completed")

    async def test_an_unknown_user_costs_nothing(self, workshop: Workshop) -> None:
        order = await workshop.order(workshop.user())
        workshop.database.run("delete from auth.users")
        provider = ScriptedProvider(SPEECH)
        async with workshop.running(provider, order) as running:
            with pytest.raises(UnknownUser):
                await running.accepted()
        assert (provider.billed, running.log.state, running.log.size) == ([], LogState.FAILED, 0)

    async def test_a_second_v1_task_costs_nothing_and_leaves_the_first_alone(self, workshop: Workshop) -> None:
        user = workshop.user()
        first, second = await workshop.order(user, "generate"), await workshop.order(user, "generate")
        stream = await workshop.order(user, "generate_stream")
        pause, refused, streamed = Pause(), ScriptedProvider(SPEECH), ScriptedProvider(SPEECH)
        async with workshop.running(ScriptedProvider(pause, SPEECH), first):
            await pause.reached()
            async with workshop.running(refused, second) as running:
                with pytest.raises(ActiveTaskExists):
                    await running.accepted()
            async with workshop.running(streamed, stream) as running:
                await running.accepted()
            pause.end()
        assert (refused.billed, await workshop.states(second)) == ([], None)
        assert (streamed.billed, await workshop.stored(stream)) == (["Good morning."], SPEECH)
        assert await workshop.states(first) == ("completed", "completed", "completed")

    async def test_a_database_that_is_away_costs_nothing(self, workshop: Workshop) -> None:
        order = await workshop.order(workshop.user())
        provider = ScriptedProvider(SPEECH)
        async with workshop.database_away(), workshop.running(provider, order) as running:
            with pytest.raises(DatabaseUnavailable):
                await running.accepted()
        assert (provider.billed, running.log.state) == ([], LogState.FAILED)
        assert await workshop.states(order) is None


class TestFailure:
    @pytest.mark.parametrize("audio", [(), (SPEECH,)], ids=["before audio", "after audio"])
    async def test_the_rows_say_so_before_the_listeners_are_told(
        self, workshop: Workshop, audio: tuple[bytes, ...]
    ) -> None:
        order = await workshop.order(workshop.user())
        failure = ProviderFailure(Fault.MODEL_GONE)
        async with workshop.running(ScriptedProvider(*audio, failure), order) as running:
            with pytest.raises(ProviderFailure) as told:
                await running.log.wait_for(len(b"".join(audio)))
            assert await workshop.states(order) == ("failed", "failed", "failed")
        assert told.value.fault is failure.fault
        assert running.log.slice(0, running.log.size) == b"".join(audio)
        generation, task = await workshop.generation(order), await workshop.task(order)
        assert generation is not None
        assert task is not None
        assert generation.error_message == task.error == Fault.MODEL_GONE.facts.detail
        assert task.result is None
        assert await workshop.stored(order) is None

    async def test_a_failure_before_the_rows_exist_is_written_once_they_do(self, workshop: Workshop) -> None:
        order = await workshop.order(workshop.user())
        provider = ScriptedProvider(before=ProviderFailure(Fault.UNREACHABLE))
        async with workshop.held_inserts() as somebody_waits:
            failing = workshop.running(provider, order)
            running = await failing.__aenter__()
            await somebody_waits()
        await failing.__aexit__(None, None, None)
        assert provider.billed == []
        assert await workshop.states(order) == ("failed", "failed", "failed")
        assert running.log.failure is not None
        assert running.log.failure.fault is Fault.UNREACHABLE

    async def test_a_provider_that_crashes_fails_like_one_that_refuses(self, workshop: Workshop) -> None:
        order = await workshop.order(workshop.user())
        with structlog.testing.capture_logs() as logs:
            async with workshop.running(ScriptedProvider(SPEECH, KeyError("our mistake")), order) as running:
                pass
        assert await workshop.states(order) == ("failed", "failed", "failed")
        assert running.log.failure is not None
        assert running.log.failure.fault is Fault.UNKNOWN
        assert "generation.crashed" in [line["event"] for line in logs]

    async def test_listeners_do_not_wait_for_a_database_that_is_away(
        self, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pipeline_module, "ROWS_FIRST_SECONDS", 0.05)
        order = await workshop.order(workshop.user())
        pause = Pause()
        async with workshop.running(ScriptedProvider(pause, ProviderFailure(Fault.OVERLOADED)), order) as running:
            await pause.reached()
            async with workshop.database_away():
                pause.end()
                with pytest.raises(ProviderFailure):
                    await running.first_audio()
                assert not running.ended.is_set()
        assert await workshop.states(order) == ("failed", "failed", "failed"), "written when the database came back"


class TestOutage:
    async def test_a_store_that_comes_back_gets_the_audio(self, workshop: Workshop) -> None:
        order = await workshop.order(workshop.user())
        with structlog.testing.capture_logs() as logs:
            async with workshop.running(ScriptedProvider(SPEECH), order) as running, workshop.store_away():
                await workshop.until_status(order, "finalizing")
                assert running.log.state is LogState.COMPLETE, "listeners do not wait for the store"
                assert await workshop.states(order) == ("processing", "processing", "finalizing")
                while "persist.retry" not in [line["event"] for line in logs]:
                    await workshop.look()
        assert await workshop.states(order) == ("completed", "completed", "completed")
        assert await workshop.stored(order) == SPEECH

    async def test_a_store_that_stays_away_fails_the_rows_in_the_end(
        self, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(persister_module, "LANDING_SECONDS", 0.0)
        order = await workshop.order(workshop.user())
        async with workshop.store_away(), workshop.running(ScriptedProvider(SPEECH), order) as running:
            pass
        assert await workshop.states(order) == ("failed", "failed", "failed")
        generation = await workshop.generation(order)
        assert generation is not None
        assert generation.error_message == NOT_STORED
        assert running.log.state is LogState.COMPLETE

    async def test_a_database_that_comes_back_gets_the_rows(self, workshop: Workshop) -> None:
        order = await workshop.order(workshop.user())
        pause = Pause()
        async with workshop.running(ScriptedProvider(SPEECH, pause, SPEECH), order) as running:
            await pause.reached()
            with structlog.testing.capture_logs() as logs:
                async with workshop.database_away():
                    pause.end()
                    await running.log.wait_for(len(SPEECH) * 2)
                    while "persist.retry" not in [line["event"] for line in logs]:
                        await workshop.look()
        assert await workshop.states(order) == ("completed", "completed", "completed")
        assert await workshop.stored(order) == SPEECH * 2


async def test_the_end_of_the_process_is_told_in_honest_words(workshop: Workshop) -> None:
    order = await workshop.order(workshop.user())
    pause = Pause()
    async with workshop.running(ScriptedProvider(SPEECH, pause), order) as running:
        await pause.reached()
        running.stop(EndReason.SHUTDOWN)
    assert await workshop.states(order) == ("failed", "failed", "failed")
    task = await workshop.task(order)
    assert task is not None
    assert task.error == INTERRUPTED
    assert running.log.failure is not None
    assert running.log.failure.fault is Fault.CONNECTION_LOST
    assert await workshop.stored(order) is None


async def test_a_voice_that_vanished_since_admission_refuses_the_rows(workshop: Workshop) -> None:
    user = workshop.user()
    order = order_for(user, (await workshop.order(workshop.user())).voice_id)
    provider = ScriptedProvider(SPEECH)
    async with workshop.running(provider, order) as running:
        with pytest.raises(Exception, match="row-level security"):
            await running.accepted()
    assert provider.billed == []


@pytest.mark.parametrize("end", ["completed", "cancelled", "failed"])
async def test_its_audio_is_gone_when_nobody_listens_any_more(workshop: Workshop, end: str) -> None:
    """Not when the garbage collector comes by, which is seldom: the audio of 50 streams is 20 MB."""
    pause = Pause()

    async def end_speech() -> None:
        if end == "failed":
            raise ProviderFailure(Fault.CONNECTION_LOST)

    async def listen(log: AudioLog) -> None:
        with suppress(ProviderFailure):
            async for _ in log.read():
                pass

    with collector_off():
        order = await workshop.order(workshop.user())
        async with workshop.running(ScriptedProvider("streaming", SPEECH, pause, end_speech), order) as running:
            async with anyio.create_task_group() as listeners:
                listeners.start_soon(listen, running.log)
                await pause.reached()
                await workshop.until_status(order, "streaming")
                if end == "cancelled":
                    running.stop(EndReason.CANCELLED)
                pause.end()
            audio = weakref.ref(running.log)
            await running.ended.wait()
        assert await workshop.states(order) == (end, end, end)
        del running
        assert audio() is None
