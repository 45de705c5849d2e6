"""Two processes and one task: whatever an attempt writes that was taken for dead changes nothing of the next one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import pytest
from structlog.testing import capture_logs

from gateway.pipeline import INTERRUPTED
from gateway.running import EndReason, RunningGeneration
from protocol.errors import Fault
from storage.generations import CANCELLED_BY_USER
from tests.support.exchange import WAIT_SECONDS
from tests.support.gateway import Caller, speech
from tests.support.listeners import until_it_listens, until_nobody_listens
from tests.support.postgres import TestDatabase
from tests.support.processes import Process, open_process

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


@pytest.fixture
async def here(anyio_backend: Any, database: TestDatabase, tmp_path: Path) -> AsyncIterator[Process]:
    async with open_process(database, tmp_path) as process:
        yield process


@pytest.fixture
async def there(anyio_backend: Any, database: TestDatabase, tmp_path: Path) -> AsyncIterator[Process]:
    async with open_process(database, tmp_path) as process:
        yield process


@dataclass(frozen=True)
class Twice:
    """A v1 task that `first` speaks, which gives no sign of life, and so `second` too."""

    ada: Caller
    first: Process
    second: Process
    running: RunningGeneration
    task_id: UUID

    async def over(self) -> None:
        """Wait until the first one has ended."""
        with anyio.fail_after(WAIT_SECONDS):
            await self.running.ended.wait()

    async def state(self) -> tuple[str, str | None]:
        """Of the task, and what it says went wrong."""
        body = (await self.ada.ask("GET", f"/api/tasks/{self.task_id}")).json()
        return body["status"], body.get("error")

    async def audio(self) -> list[bytes | None]:
        """What is stored of the first attempt and of the second."""
        key = f"{self.ada.id}/{self.running.generation_id}"
        return [await self.second.stored(f"{key}.mp3"), await self.second.stored(f"{key}-2.mp3")]

    async def require_second(self) -> None:
        """The second one's audio is what the task has."""
        assert await self.state() == ("completed", None)
        assert await self.audio() == [None, b"second"]
        listened = await self.ada.ask("GET", f"/api/generations/{self.running.generation_id}/stream")
        assert listened.body == b"second"


@pytest.fixture
async def twice(here: Process, there: Process) -> Twice:
    ada = await here.gateway.user()
    answer = await ada.generate((await ada.add_voice()).id)
    (running,) = here.supervisor._running.values()
    await here.say(running, b"first")
    await there.outwait()
    await there.stage.began()
    return Twice(ada, here, there, running, UUID(answer.json()["task_id"]))


async def complete(twice: Twice) -> None:
    twice.first.stage.finish()


async def fail(twice: Twice) -> None:
    twice.first.stage.fail(Fault.CONNECTION_LOST)


async def crash(twice: Twice) -> None:
    twice.running.stop(EndReason.CRASHED)


async def shut_down(twice: Twice) -> None:
    twice.running.stop(EndReason.SHUTDOWN)


async def learn(twice: Twice) -> None:
    await twice.first.keeper.renew()
    assert twice.running.end_reason is EndReason.LOST


LATE = [complete, fail, crash, shut_down, learn]


@pytest.mark.parametrize("late", LATE)
async def test_before_the_next_one_has_finished(twice: Twice, late: Any) -> None:
    await late(twice)
    await twice.over()
    assert await twice.audio() == [None, None]
    assert (await twice.state())[0] == "processing"
    await twice.second.keeper.renew()
    assert twice.second.supervisor.active == 1, "it has not been told to stop"
    await twice.second.finish(b"second")
    await twice.require_second()


@pytest.mark.parametrize("late", LATE)
async def test_after_the_next_one_has_finished(twice: Twice, late: Any) -> None:
    await twice.second.finish(b"second")
    await late(twice)
    await twice.over()
    await twice.require_second()


async def test_a_status_of_the_earlier_attempt_is_not_written(twice: Twice) -> None:
    before = (await twice.ada.ask("GET", f"/api/tasks/{twice.task_id}")).json()
    persister = twice.first.supervisor._persister
    with capture_logs() as lines:
        await persister.note_status(twice.running, "finalizing")
    assert [line["error"] for line in lines if line["event"] == "database.status_lost"] == ["LeaseLost"]
    after = (await twice.ada.ask("GET", f"/api/tasks/{twice.task_id}")).json()
    assert after["provider_status"] == before["provider_status"]
    await twice.second.finish(b"second")


async def test_a_cancel_that_comes_after_the_end_takes_no_audio_away(twice: Twice) -> None:
    """It reaches the process that still speaks for nobody."""
    await twice.second.finish(b"second")
    assert await twice.first.supervisor.cancel(twice.running.generation_id)
    await twice.require_second()


@pytest.mark.parametrize("at", ["first", "second"])
async def test_a_cancel_ends_both(twice: Twice, at: str) -> None:
    caller = Caller(getattr(twice, at).gateway, twice.ada.id)
    assert (await caller.ask("POST", f"/api/tasks/{twice.task_id}/cancel")).status == 200
    for process in (twice.first, twice.second):
        await process.keeper.renew()
        await process.idle()
    assert await twice.state() == ("cancelled", CANCELLED_BY_USER)
    assert await twice.audio() == [None, None]


class TestShutdown:
    async def test_v1_tasks_go_on_elsewhere_at_once_and_streams_fail(
        self, here: Process, database: TestDatabase, tmp_path: Path
    ) -> None:
        ada, bob = await here.gateway.user(), await here.gateway.user()
        async with open_process(database, tmp_path) as old:
            generated = await Caller(old.gateway, ada.id).generate((await ada.add_voice()).id)
            listening = Caller(old.gateway, bob.id).listening(
                "/api/generate/stream", "POST", speech((await bob.add_voice()).id, "Hello.")
            )
            async with listening as stream:
                await old.stage.began(2)
                await old.stage.say(b"sound")
                await stream.received(1)
                old.supervisor.start_draining()
        failed = await bob.ask("GET", f"/api/tasks/{stream.headers['x-utter-task-id']}")
        assert (failed.json()["status"], failed.json()["error"]) == ("failed", INTERRUPTED)
        await here.look()
        await here.finish(b"elsewhere")
        task = (await ada.ask("GET", f"/api/tasks/{generated.json()['task_id']}")).json()
        assert task["status"] == "completed"
        key = f"{ada.id}/{generated.json()['generation_id']}"
        assert [await here.stored(f"{key}.mp3"), await here.stored(f"{key}-2.mp3")] == [None, b"elsewhere"]


class TestCancelElsewhere:
    async def test_it_stops_whoever_speaks_without_waiting_for_a_renewal(
        self, here: Process, there: Process, database: TestDatabase
    ) -> None:
        ada = await here.gateway.user()
        answer = await ada.generate((await ada.add_voice()).id)
        (running,) = here.supervisor._running.values()
        await here.stage.say(b"sound")
        here.keeper._listen_url = database.gateway_url
        await until_nobody_listens(database)
        async with anyio.create_task_group() as group:
            group.start_soon(here.keeper.hear)
            await until_it_listens(database)
            task_id = answer.json()["task_id"]
            assert (await Caller(there.gateway, ada.id).ask("POST", f"/api/tasks/{task_id}/cancel")).status == 200
            with anyio.fail_after(WAIT_SECONDS):
                await running.ended.wait()
            group.cancel_scope.cancel()
        assert running.end_reason is EndReason.CANCELLED
        assert (await ada.ask("GET", f"/api/tasks/{task_id}")).json()["status"] == "cancelled"
        assert await here.stored(running.order.object_key) is None
