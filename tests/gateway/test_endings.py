"""How a generation ends when several things happen at once: no audio is lost, and none is left behind."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from gateway.admission import admit
from gateway.cancellation import end_work
from gateway.leases import Instance, LeaseKeeper
from gateway.persister import Persister
from gateway.pipeline import CRASHED
from gateway.providers.base import Outcome
from gateway.running import EndReason, RunningGeneration
from gateway.supervisor import Supervisor
from gateway.tracing import Trace
from protocol.errors import Fault
from schema.http import GenerateRequest
from schema.records import GenerationRow
from storage import generations
from storage.database import Database, DatabaseUnavailable
from storage.objects import ObjectStore
from tests.support.exchange import WAIT_SECONDS
from tests.support.gateway import Caller, Gateway, Stage
from tests.support.leases import NoSpool, new_instance, open_keeper, room_for

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


def parts(gateway: Gateway) -> tuple[Database, ObjectStore, NoSpool, Instance]:
    return gateway.services.database, gateway.services.objects, NoSpool(), new_instance()


class Interrupted(Persister):
    """A persister to which something happens once the completion is committed, before it hears so."""

    def __init__(self, gateway: Gateway, after_commit: Callable[[RunningGeneration], None]) -> None:
        super().__init__(
            gateway.services.database, gateway.services.objects, NoSpool(), new_instance(), provider="qwen"
        )
        self._after_commit = after_commit

    async def _complete(self, running: RunningGeneration) -> bool:
        completed = await super()._complete(running)
        self._after_commit(running)
        return completed


class Defective(Persister):
    """A persister with a defect in one of its methods."""

    def __init__(self, gateway: Gateway, method: str) -> None:
        super().__init__(
            gateway.services.database, gateway.services.objects, NoSpool(), new_instance(), provider="qwen"
        )
        setattr(self, method, self._defect)

    async def _defect(self, *_arguments: object) -> None:
        raise LookupError("a defect")


def keeper(gateway: Gateway) -> LeaseKeeper:
    return open_keeper(gateway.services.database)


async def begin(gateway: Gateway, ada: Caller, supervisor: Supervisor) -> RunningGeneration:
    voice = await ada.add_voice()
    services = gateway.services
    wanted = GenerateRequest(voice_id=voice.id, text="Hello")
    order = await admit(services.database, services.settings, ada.id, wanted, "generate_stream")
    running = supervisor.start(order, Trace(trace_id="t", request_id="r"))
    await running.accepted()
    return running


async def speak_to_the_end(stage: Stage, running: RunningGeneration) -> None:
    await stage.say(b"audio")
    stage.finish()
    await over(running)


async def over(running: RunningGeneration) -> None:
    with anyio.fail_after(WAIT_SECONDS):
        await running.ended.wait()


async def row_of(gateway: Gateway, running: RunningGeneration) -> GenerationRow:
    async with gateway.services.database.as_user(running.order.owner) as transaction:
        row = await generations.get_generation(transaction, running.order.owner, running.generation_id)
    assert row is not None
    return row


async def is_stored(gateway: Gateway, running: RunningGeneration) -> bool:
    return await gateway.services.objects.head("generations", running.order.object_key) is not None


@pytest.mark.parametrize("reason", EndReason)
async def test_told_to_stop_while_the_completion_commits(gateway: Gateway, ada: Caller, reason: EndReason) -> None:
    persister = Interrupted(gateway, lambda running: running.stop(reason))
    async with Supervisor(gateway.stage, persister, keeper(gateway), room_for(1)) as supervisor:
        running = await begin(gateway, ada, supervisor)
        await speak_to_the_end(gateway.stage, running)
    row = await row_of(gateway, running)
    assert (row.status, await is_stored(gateway, running)) == ("completed", True)


async def test_a_completion_whose_answer_is_lost(gateway: Gateway, ada: Caller) -> None:
    answers = iter([DatabaseUnavailable("the connection broke after the commit")])

    def lose_the_first_answer(_running: RunningGeneration) -> None:
        for error in answers:
            raise error

    persister = Interrupted(gateway, lose_the_first_answer)
    async with Supervisor(gateway.stage, persister, keeper(gateway), room_for(1)) as supervisor:
        running = await begin(gateway, ada, supervisor)
        await speak_to_the_end(gateway.stage, running)
    row = await row_of(gateway, running)
    assert (row.status, await is_stored(gateway, running)) == ("completed", True)


@pytest.mark.parametrize("method", ["store", "note_status"])
async def test_a_defect_ends_one_generation_and_says_so(gateway: Gateway, ada: Caller, method: str) -> None:
    async with Supervisor(gateway.stage, Defective(gateway, method), keeper(gateway), room_for(1)) as supervisor:
        running = await begin(gateway, ada, supervisor)
        if method == "store":
            await speak_to_the_end(gateway.stage, running)
        await over(running)  # the first status is noted while it speaks
    row = await row_of(gateway, running)
    assert (row.status, row.error_message) == ("failed", CRASHED)


async def test_a_defect_in_the_last_write_ends_one_generation_only(gateway: Gateway, ada: Caller) -> None:
    async with Supervisor(gateway.stage, Defective(gateway, "fail"), keeper(gateway), room_for(2)) as supervisor:
        running = await begin(gateway, ada, supervisor)
        other = await begin(gateway, ada, supervisor)
        await gateway.stage.began(2)
        gateway.stage.fail(Fault.CONNECTION_LOST)
        with anyio.fail_after(WAIT_SECONDS):
            await running.ended.wait()
            await other.ended.wait()
    assert running.log.failure is not None


async def test_the_first_reason_to_stop_counts(gateway: Gateway, ada: Caller) -> None:
    """Leaving the supervisor stops what runs, but this was cancelled by its user a moment before."""
    persister = Persister(
        gateway.services.database, gateway.services.objects, NoSpool(), new_instance(), provider="qwen"
    )
    async with Supervisor(gateway.stage, persister, keeper(gateway), room_for(1)) as supervisor:
        running = await begin(gateway, ada, supervisor)
        running.stop(EndReason.CANCELLED)
    assert (await row_of(gateway, running)).status == "cancelled"


async def test_cancelling_converges_though_the_pipeline_could_not_write(gateway: Gateway, ada: Caller) -> None:
    async with Supervisor(gateway.stage, Defective(gateway, "cancel"), keeper(gateway), room_for(1)) as supervisor:
        running = await begin(gateway, ada, supervisor)
        services = dataclasses.replace(gateway.services, supervisor=supervisor)
        await end_work(services, running.order.owner, running.generation_id, None)
    assert (await row_of(gateway, running)).status == "cancelled"


async def test_everybody_who_waits_for_the_last_generation_is_told(gateway: Gateway, ada: Caller) -> None:
    voice = await ada.add_voice()
    await ada.generate(voice.id)
    with anyio.fail_after(WAIT_SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(gateway.services.supervisor.wait_idle)
            tasks.start_soon(gateway.services.supervisor.wait_idle)
            await gateway.stage.say(b"audio")
            gateway.stage.finish()
    assert gateway.services.supervisor.active == 0


class NewerVendor(Stage):
    """Sends events that nobody here has heard of."""

    async def speak(self, *given: Any, **more: Any) -> Outcome:
        return dataclasses.replace(await super().speak(*given, **more), unknown_events=("response.mood",))


async def test_events_that_nobody_knows_are_told_to_whoever_is_on_call(gateway: Gateway, ada: Caller) -> None:
    stage = NewerVendor()
    persister = Persister(
        gateway.services.database, gateway.services.objects, NoSpool(), new_instance(), provider="qwen"
    )
    with capture_logs() as lines:
        async with Supervisor(stage, persister, keeper(gateway), room_for(1)) as supervisor:
            running = await begin(gateway, ada, supervisor)
            await speak_to_the_end(stage, running)
    assert [line["types"] for line in lines if line["event"] == "provider.unknown_events"] == [("response.mood",)]


async def test_a_persist_that_gave_up_is_not_called_completed(gateway: Gateway, ada: Caller) -> None:
    def lose_every_answer(_running: RunningGeneration) -> None:
        raise LookupError("a defect")

    with capture_logs() as lines:
        async with Supervisor(
            gateway.stage,
            Interrupted(gateway, lose_every_answer),
            open_keeper(gateway.services.database),
            room_for(1),
        ) as supervisor:
            running = await begin(gateway, ada, supervisor)
            await speak_to_the_end(gateway.stage, running)
    events = [line["event"] for line in lines]
    assert "persist.failed" in events
    assert "persist.completed" not in events
    assert await is_stored(gateway, running), "the commit had happened, so the audio stays"
