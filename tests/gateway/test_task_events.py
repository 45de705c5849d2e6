"""A task's states as server-sent events: what is sent, when it ends, and what it costs meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import anyio
import msgspec
import pytest

from gateway import task_events, task_news
from gateway.errors import ApiError
from gateway.request_tracker import PARTING_KEY
from gateway.running import ACTIVE
from gateway.sweeper import Chore, sweeping
from gateway.task_events import TaskEventsResponse
from gateway.task_news import TaskNews
from schema.http import Task
from storage import tasks
from storage.errors import DatabaseUnavailable, UnknownUser
from tests.support.desk import open_desk
from tests.support.exchange import WAIT_SECONDS, Exchange, open_request
from tests.support.gateway import Caller, Gateway
from tests.support.postgres import TestDatabase
from tests.support.workshop import LOOK_SECONDS

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

NEVER_SECONDS = 3600.0


@pytest.fixture
def looking_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_events, "LOOK_SECONDS", LOOK_SECONDS)


def states(exchange: Exchange) -> list[dict[str, object]]:
    """What the `task` events said so far."""
    events = exchange.body.decode().split("\n\n")
    return [msgspec.json.decode(event.partition("\ndata: ")[2]) for event in events if event.startswith("event: task")]


async def begun(caller: Caller) -> tuple[str, str]:
    """The task and the generation of a v1 generate."""
    voice = await caller.add_voice()
    accepted = (await caller.generate(voice.id)).json()
    return accepted["task_id"], accepted["generation_id"]


@pytest.mark.usefixtures("looking_often")
class TestOverHttp:
    async def test_each_state_comes_once_and_the_last_one_is_the_end(self, gateway: Gateway, ada: Caller) -> None:
        task, generation = await begun(ada)
        async with ada.listening(f"/api/tasks/{task}/events") as events:
            await gateway.stage.say(b"one")
            await events.holds(b'"status":"processing"')
            assert events.headers["content-type"] == "text/event-stream"
            assert events.headers["cache-control"] == "no-store"
            assert events.body.startswith(b"retry: 1000\n\n")
            gateway.stage.finish()
            await events.over()
        seen = states(events)
        assert events.complete
        assert [state["status"] for state in seen].count("completed") == 1
        assert (seen[-1]["status"], seen[-1]["id"]) == ("completed", task)
        assert seen[-1]["result"] == (await ada.ask("GET", f"/api/tasks/{task}")).json()["result"]
        shown = [(state["status"], state["provider_status"]) for state in seen]
        assert len(set(shown)) == len(shown)
        assert generation in str(seen[-1]["stream_url"])

    @pytest.mark.parametrize("header", [{}, {"last-event-id": "7"}])
    async def test_a_task_that_has_ended_is_told_at_once(self, ada: Caller, header: dict[str, str]) -> None:
        new = await ada.add_generation(b"speech")
        answer = await ada.ask("GET", f"/api/tasks/{new.task_id}/events", headers=header)
        assert answer.complete
        assert [state["status"] for state in states(answer)] == ["completed"]

    async def test_a_cancelled_task_says_so(self, ada: Caller) -> None:
        task, _ = await begun(ada)
        async with ada.listening(f"/api/tasks/{task}/events") as events:
            await events.holds(b"event: task")
            assert (await ada.ask("POST", f"/api/tasks/{task}/cancel")).status == 200
            await events.over()
        assert states(events)[-1]["status"] == "cancelled"

    async def test_a_deleted_task_is_gone(self, gateway: Gateway, ada: Caller) -> None:
        """As v1's code deletes one, which cancels nothing."""
        new = await ada.add_generation()
        async with ada.listening(f"/api/tasks/{new.task_id}/events") as events:
            await events.holds(b"event: task")
            async with gateway.services.database.as_user(ada.id) as transaction:
                assert await tasks.delete_task(transaction, ada.id, new.task_id)
            await events.over()
        assert events.body.endswith(b"event: gone\ndata: {}\n\n")
        assert events.complete

    async def test_anothers_task_is_unknown(self, gateway: Gateway, ada: Caller, bob: Caller) -> None:
        new = await ada.add_generation(b"speech")
        unknown = (await bob.ask("GET", f"/api/tasks/{uuid4()}/events")).json()
        for name in (str(new.task_id), str(new.task_id).upper(), "nonsense"):
            answer = await bob.ask("GET", f"/api/tasks/{name}/events")
            assert (answer.status, answer.json()) == (404, unknown)
        assert (await gateway.ask("GET", f"/api/tasks/{new.task_id}/events")).status == 401
        assert not gateway.services.task_news._watches

    async def test_head_has_no_events(self, gateway: Gateway, ada: Caller) -> None:
        new = await ada.add_generation()
        answer = await ada.ask("HEAD", f"/api/tasks/{new.task_id}/events")
        assert (answer.status, answer.headers["content-type"], answer.complete) == (200, "text/event-stream", True)
        assert not gateway.services.task_news._watches

    async def test_who_leaves_is_forgotten_and_one_too_many_is_told_to_poll(
        self, gateway: Gateway, ada: Caller, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(task_news, "MAX_WATCHES", 1)
        new = await ada.add_generation()
        path = f"/api/tasks/{new.task_id}/events"
        async with ada.listening(path) as events:
            await events.answered()
            refused = await ada.ask("GET", path)
            assert (refused.status, "retry-after" in refused.headers) == (503, True)
            events.leave()
            await events.over()
        assert not gateway.services.task_news._watches
        async with ada.listening(path) as events:
            await events.answered()
            assert events.status == 200


def task(status: str = "processing", **changes: object) -> Task:
    blank = Task(uuid4(), "generate", status, None, None, None, 0, "qwen", "streaming", 0)
    return msgspec.structs.replace(blank, **changes)


@asynccontextmanager
async def following(look: Callable[[], object], parting: anyio.Event | None = None) -> AsyncIterator[Exchange]:
    """The events of a task that is `task()` at first and then what `look` answers, or raises."""
    first, news = task(), TaskNews()

    async def asked() -> Task | None:
        found = look()
        return found if found is None or isinstance(found, Task) else first

    response = TaskEventsResponse(first, asked, news.watch(first.id), news, stall_seconds=WAIT_SECONDS)

    async def app(scope: object, receive: object, send: object) -> None:
        if parting is not None:
            scope["state"] = {PARTING_KEY: parting}  # type: ignore[index]
        await response(scope, receive, send)  # type: ignore[arg-type]

    async with open_request(app, "GET", "/") as exchange:
        yield exchange


@pytest.mark.usefixtures("looking_often")
class TestEndings:
    @pytest.mark.parametrize("trouble", [DatabaseUnavailable("away"), ApiError(503, "The server is restarting.")])
    async def test_an_outage_ends_nothing(self, trouble: Exception) -> None:
        answers: list[Exception | Task] = [trouble, trouble, task("completed")]

        def look() -> Task:
            found = answers.pop(0)
            if isinstance(found, Exception):
                raise found
            return found

        async with following(look) as events:
            await events.over()
        assert [state["status"] for state in states(events)] == ["processing", "completed"]
        assert events.complete

    async def test_a_user_who_was_deleted_has_no_task(self) -> None:
        def look() -> Task:
            raise UnknownUser("deleted")

        async with following(look) as events:
            await events.over()
        assert events.body.endswith(b"event: gone\ndata: {}\n\n")

    async def test_silence_is_broken_by_comments(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(task_events, "KEEP_ALIVE_SECONDS", 0.0)
        async with following(lambda: None if b"still" in events.body else "the same") as events:
            await events.over()
        assert b": still there\n\n" in events.body
        assert len(states(events)) == 1

    async def test_a_drain_sends_its_clients_away_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(task_events, "LOOK_SECONDS", NEVER_SECONDS)
        parting = anyio.Event()
        async with following(lambda: "the same", parting) as events:
            await events.holds(b"event: task")
            parting.set()
            await events.over()
        assert events.complete
        assert [state["status"] for state in states(events)] == ["processing"]

    async def test_nobody_stays_for_ever(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(task_events, "LIFE_SECONDS", 0.0)
        async with following(lambda: "the same") as events:
            await events.over()
        assert events.complete
        assert states(events)[-1]["status"] in ACTIVE


class TestNews:
    async def test_the_database_tells_of_what_others_change(self, database: TestDatabase) -> None:
        news = TaskNews(database.gateway_url)
        async with open_desk(database) as desk, sweeping([Chore("hear", news.hear)], LOOK_SECONDS):
            changed, left_alone, removed = [await desk.start(uuid4()) for _ in range(3)]
            with (
                news.watch(changed.task_id) as watch,
                news.watch(left_alone.task_id) as other,
                news.watch(removed.task_id) as third,
                anyio.fail_after(WAIT_SECONDS),
            ):
                for one in (watch, other, third):
                    await one.wait()  # it listens now
                assert news.hears_all
                polled = "update public.tasks set provider_poll_count = 9 where id = $1 returning id"
                await desk.sql.value(polled, left_alone.task_id)  # of no interest to anybody
                await desk.end(changed, "complete")
                await watch.wait()
                await desk.sql.value("delete from public.tasks where id = $1 returning id", removed.task_id)
                await third.wait()
                assert not other._changed.is_set()

    async def test_a_lost_connection_makes_everybody_look_and_is_made_again(self, database: TestDatabase) -> None:
        news = TaskNews(database.gateway_url)
        async with open_desk(database) as desk, sweeping([Chore("hear", news.hear)], LOOK_SECONDS):
            with news.watch(uuid4()) as watch, anyio.fail_after(WAIT_SECONDS):
                await watch.wait()
                await desk.sql.value(
                    "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'utter listener'"
                )
                await watch.wait()
                while not news.hears_all:
                    await watch.wait()

    async def test_nobody_is_listened_for_who_is_not_there(self) -> None:
        news = TaskNews("postgresql://nobody.invalid/")
        with anyio.move_on_after(LOOK_SECONDS):
            await news.hear()
        watch = news.watch(UUID(int=0))
        await news.hear()  # gives up, to be called again
        await watch.wait()
        assert not news.hears_all
        news.forget(watch)
        news.forget(watch)
        assert not news._watches
