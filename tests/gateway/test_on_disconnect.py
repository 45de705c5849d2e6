"""`on_disconnect`: what becomes of a generation when its last listener leaves (product section 4)."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from uuid import UUID

import anyio
import msgspec
import pytest

from gateway.running import RunningGeneration
from tests.support.exchange import WAIT_SECONDS, Exchange, open_request
from tests.support.gateway import Caller, Gateway

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


@pytest.fixture
async def voice_id(ada: Caller) -> UUID:
    return (await ada.add_voice()).id


def streaming(
    gateway: Gateway, ada: Caller, voice_id: UUID, on_disconnect: str
) -> AbstractAsyncContextManager[Exchange]:
    body = msgspec.json.encode({"voice_id": str(voice_id), "text": "Hello", "on_disconnect": on_disconnect})
    return open_request(gateway.app, "POST", "/api/generate/stream", headers=ada.headers, body=body)


async def the_one(gateway: Gateway) -> RunningGeneration:
    await gateway.stage.began()
    (running,) = gateway.services.supervisor._running.values()
    return running


async def ended(running: RunningGeneration) -> None:
    with anyio.fail_after(WAIT_SECONDS):
        await running.ended.wait()


async def status_of(ada: Caller, running: RunningGeneration) -> str:
    answer = await ada.ask("GET", f"/api/tasks/{running.task_id}")
    return str(answer.json()["status"])


@pytest.mark.parametrize("heard", [b"", b"one"])
async def test_cancel_ends_it_when_the_only_listener_leaves(
    gateway: Gateway, ada: Caller, voice_id: UUID, heard: bytes
) -> None:
    async with streaming(gateway, ada, voice_id, "cancel") as stream:
        running = await the_one(gateway)
        if heard:
            await gateway.stage.say(heard)
            await stream.received(len(heard))
        stream.leave()
        await ended(running)
    assert await status_of(ada, running) == "cancelled"


@pytest.mark.parametrize("heard", [b"", b"one"])
async def test_finish_keeps_what_is_paid_for(gateway: Gateway, ada: Caller, voice_id: UUID, heard: bytes) -> None:
    async with streaming(gateway, ada, voice_id, "finish") as stream:
        running = await the_one(gateway)
        if heard:
            await gateway.stage.say(heard)
            await stream.received(len(heard))
        stream.leave()
        await stream.over()
        await gateway.stage.say(b"two")
        gateway.stage.finish()
        await ended(running)
    assert await status_of(ada, running) == "completed"


async def test_only_the_last_to_leave_ends_it(gateway: Gateway, ada: Caller, voice_id: UUID) -> None:
    async with streaming(gateway, ada, voice_id, "cancel") as first:
        running = await the_one(gateway)
        await gateway.stage.say(b"one")
        await first.received(3)
        async with ada.listening(f"/api/generations/{running.generation_id}/stream") as second:
            await second.received(3)
            first.leave()
            await first.over()
            await gateway.stage.say(b"two")
            await second.received(6)
            assert not running.ended.is_set()
            second.leave()
            await ended(running)
    assert await status_of(ada, running) == "cancelled"


async def test_who_hears_it_to_the_end_cancels_nothing(gateway: Gateway, ada: Caller, voice_id: UUID) -> None:
    async with streaming(gateway, ada, voice_id, "cancel") as stream:
        running = await the_one(gateway)
        await gateway.stage.say(b"all")
        gateway.stage.finish()
        await stream.over()
        await ended(running)
    assert stream.complete
    assert await status_of(ada, running) == "completed"


async def test_other_words_are_refused(ada: Caller, voice_id: UUID) -> None:
    body = msgspec.json.encode({"voice_id": str(voice_id), "text": "Hello", "on_disconnect": "explode"})
    refused = await ada.ask("POST", "/api/generate/stream", body=body)
    assert (refused.status, refused.json()["detail"]) == (400, "on_disconnect must be finish or cancel.")
