"""`Idempotency-Key` on both generate routes: the same request is one generation (product section 4)."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from uuid import UUID

import anyio
import pytest

from protocol.errors import Fault
from tests.support.exchange import Exchange, open_request
from tests.support.gateway import Caller, Gateway, speech

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

ROUTES = ("generate", "generate/stream")


async def ask(caller: Caller, voice: UUID, key: str, route: str = "generate", text: str = "Hello") -> Exchange:
    return await caller.ask("POST", f"/api/{route}", headers={"idempotency-key": key}, body=speech(voice, text))


async def test_a_task_that_is_asked_for_again_is_the_same_one(gateway: Gateway, ada: Caller) -> None:
    """It would be the second active one otherwise, which v1 refuses."""
    voice = (await ada.add_voice()).id
    first = await ask(ada, voice, "k")
    again = await ask(ada, voice, "k")
    assert (first.status, again.status) == (200, 200)
    assert again.json() == first.json()
    assert again.headers["x-utter-task-id"] == first.headers["x-utter-task-id"]
    assert gateway.services.supervisor.active == 1
    await gateway.stage.say(b"audio")
    gateway.stage.finish()
    await gateway.services.supervisor.wait_idle()
    assert (await ask(ada, voice, "k")).json() == first.json()
    assert gateway.services.supervisor.active == 0


async def test_two_at_once_are_one(gateway: Gateway, ada: Caller) -> None:
    voice = (await ada.add_voice()).id
    answers: list[Exchange] = []

    async def send() -> None:
        answers.append(await ask(ada, voice, "k"))

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(send)
    assert {answer.status for answer in answers} == {200}
    assert len({answer.json()["generation_id"] for answer in answers}) == 1
    assert gateway.services.supervisor.active == 1


def streaming(gateway: Gateway, caller: Caller, voice: UUID) -> AbstractAsyncContextManager[Exchange]:
    headers = {**caller.headers, "idempotency-key": "k"}
    return open_request(gateway.app, "POST", "/api/generate/stream", headers=headers, body=speech(voice, "Hello"))


async def test_a_stream_is_joined_from_its_first_byte_and_replayed_when_it_is_over(
    gateway: Gateway, ada: Caller
) -> None:
    voice = (await ada.add_voice()).id
    async with streaming(gateway, ada, voice) as one:
        await gateway.stage.say(b"first ")
        await one.received(6)
        async with streaming(gateway, ada, voice) as two:
            await two.received(6)
            await gateway.stage.say(b"second")
            gateway.stage.finish()
            await one.over()
            await two.over()
    assert one.body == two.body == b"first second"
    assert one.headers["x-utter-task-id"] == two.headers["x-utter-task-id"]
    await gateway.services.supervisor.wait_idle()
    replayed = await ask(ada, voice, "k", "generate/stream")
    assert (replayed.status, replayed.body) == (200, b"first second")
    assert replayed.headers["x-utter-generation-id"] == one.headers["x-utter-generation-id"]
    assert replayed.headers["x-utter-task-id"] == one.headers["x-utter-task-id"]


@pytest.mark.parametrize("route", ROUTES)
async def test_a_key_is_for_one_request(ada: Caller, route: str) -> None:
    voice = (await ada.add_voice()).id
    await ask(ada, voice, "k")
    text = "Something else" if route == "generate" else "Hello"
    refused = await ask(ada, voice, "k", route, text)
    assert refused.status == 409
    assert "different request" in refused.json()["detail"]


async def test_a_key_belongs_to_its_user(gateway: Gateway, ada: Caller, bob: Caller) -> None:
    first = await ask(ada, (await ada.add_voice()).id, "k")
    other = await ask(bob, (await bob.add_voice()).id, "k")
    assert other.status == 200
    assert other.json()["generation_id"] != first.json()["generation_id"]


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there", "é"])
async def test_a_key_that_cannot_be_kept_is_refused(ada: Caller, key: str) -> None:
    voice = (await ada.add_voice()).id
    refused = await ask(ada, voice, key)
    assert refused.status == 400
    assert "Idempotency-Key" in refused.json()["detail"]


async def test_a_refusal_before_there_are_rows_binds_nothing(gateway: Gateway, ada: Caller) -> None:
    voice = (await ada.add_voice()).id
    assert (await ask(ada, voice, "k", text="...")).status == 400
    gateway.services.supervisor.start_draining()
    assert (await ask(ada, voice, "k")).status == 503
    gateway.services.supervisor._draining = False
    assert (await ask(ada, voice, "k")).status == 200


@pytest.mark.parametrize(
    ("fault", "freed"), [(Fault.OVERLOADED, True), (Fault.ACCOUNT_ARREARS, False), (Fault.UNKNOWN, False)]
)
async def test_only_a_failure_that_repeating_may_mend_frees_the_key(
    gateway: Gateway, ada: Caller, fault: Fault, freed: bool
) -> None:
    voice = (await ada.add_voice()).id
    first = await ask(ada, voice, "k")
    await gateway.stage.began()
    gateway.stage.fail(fault)
    await gateway.services.supervisor.wait_idle()
    again = await ask(ada, voice, "k")
    if freed:
        assert again.status == 200
        assert again.json()["generation_id"] != first.json()["generation_id"]
    else:
        assert (again.status, again.json()["detail"]) == (fault.facts.status, fault.facts.detail)
        assert again.headers["x-utter-error-category"] == fault.facts.category.value


async def test_what_was_heard_in_part_is_never_begun_again(gateway: Gateway, ada: Caller) -> None:
    voice = (await ada.add_voice()).id
    await ask(ada, voice, "k")
    await gateway.stage.say(b"half")
    gateway.stage.fail(Fault.CONNECTION_LOST)
    await gateway.services.supervisor.wait_idle()
    again = await ask(ada, voice, "k")
    assert again.status == Fault.CONNECTION_LOST.facts.status


async def test_what_was_cancelled_stays_cancelled(gateway: Gateway, ada: Caller) -> None:
    voice = (await ada.add_voice()).id
    task = (await ask(ada, voice, "k")).json()["task_id"]
    assert (await ada.ask("POST", f"/api/tasks/{task}/cancel")).status == 200
    again = await ask(ada, voice, "k")
    assert (again.status, again.headers["x-utter-error-category"]) == (409, "cancelled")


async def test_deleting_the_generation_frees_its_key(gateway: Gateway, ada: Caller) -> None:
    voice = (await ada.add_voice()).id
    first = (await ask(ada, voice, "k")).json()["generation_id"]
    assert (await ada.ask("DELETE", f"/api/generations/{first}")).status == 200
    assert (await ask(ada, voice, "k")).json()["generation_id"] != first
