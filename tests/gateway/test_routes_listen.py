"""`GET /generations/:id/stream` (product section 4): joining, resuming, ranges, links, and what comes afterwards."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from uuid import UUID

import anyio
import pytest
from starlette.types import Message

from gateway.app import create_app
from gateway.running import RunningGeneration
from protocol.errors import Fault, ProviderFailure
from storage.database import Database, Transaction
from tests.support.exchange import WAIT_SECONDS, Exchange, open_request, request
from tests.support.gateway import Caller, Gateway

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

BASE = "http://127.0.0.1:8080"
AUDIO = b"0123456789"


async def start(gateway: Gateway, caller: Caller) -> RunningGeneration:
    voice = await caller.add_voice()
    accepted = (await caller.generate(voice.id)).json()
    running = gateway.services.supervisor.get(UUID(accepted["generation_id"]))
    assert running is not None
    return running


def path(running: RunningGeneration) -> str:
    return f"/api/generations/{running.generation_id}/stream"


@asynccontextmanager
async def speaking(gateway: Gateway, caller: Caller) -> AsyncIterator[RunningGeneration]:
    """A generation that has said `AUDIO` and goes on."""
    running = await start(gateway, caller)
    await gateway.stage.say(AUDIO)
    yield running
    gateway.stage.finish()
    await running.ended.wait()


async def test_a_listener_joins_from_the_first_byte(gateway: Gateway, ada: Caller) -> None:
    async with (
        speaking(gateway, ada) as running,
        ada.listening(path(running)) as early,
        ada.listening(path(running)) as late,
    ):
        await early.received(len(AUDIO))
        await late.received(len(AUDIO))
        assert early.headers["x-utter-generation-id"] == str(running.generation_id)
        assert early.headers["content-type"] == "audio/mpeg"
        await gateway.stage.say(b"end")
        gateway.stage.finish()
        await early.over()
        await late.over()
        assert (early.body, early.complete) == (AUDIO + b"end", True)
        assert late.body == early.body


async def test_the_status_waits_for_the_first_byte(gateway: Gateway, ada: Caller) -> None:
    running = await start(gateway, ada)
    async with ada.listening(path(running)) as listener:
        await gateway.stage.began()
        assert not listener.begun
        gateway.stage.fail(Fault.OVERLOADED)
        await listener.over()
    assert listener.status == 410
    assert set(listener.json()) == {"detail"}


@pytest.mark.parametrize("offset", [0, 4, 9, 10])
async def test_resuming_is_exact(gateway: Gateway, ada: Caller, offset: int) -> None:
    async with speaking(gateway, ada) as running, ada.listening(f"{path(running)}?offset={offset}") as listener:
        if offset == len(AUDIO):
            assert not listener.begun, "at the live end there is nothing to say yet"
        await gateway.stage.say(b"end")
        gateway.stage.finish()
        await listener.over()
        assert (listener.status, listener.body, listener.complete) == (200, (AUDIO + b"end")[offset:], True)


async def test_an_offset_that_the_audio_never_reaches(gateway: Gateway, ada: Caller) -> None:
    async with speaking(gateway, ada) as running, ada.listening(f"{path(running)}?offset=11") as listener:
        gateway.stage.finish()
        await listener.over()
        assert listener.status == 416
        assert listener.headers["content-range"] == "bytes */10"


@pytest.mark.parametrize("offset", ["-1", "x", "", "1.5", "1e3", "9" * 30])
async def test_an_offset_that_is_no_number(gateway: Gateway, ada: Caller, offset: str) -> None:
    async with speaking(gateway, ada) as running:
        assert (await ada.ask("GET", f"{path(running)}?offset={offset}")).status == 400


async def test_a_waiting_listener_that_leaves_is_let_go(gateway: Gateway, ada: Caller) -> None:
    async with speaking(gateway, ada) as running, ada.listening(f"{path(running)}?offset=500") as listener:
        listener.leave()
        await listener.over()
        assert listener.status == 499


@pytest.mark.parametrize(("header", "part"), [("bytes=0-0", AUDIO[:1]), ("bytes=2-9", AUDIO[2:])])
async def test_a_range_whose_bytes_exist(gateway: Gateway, ada: Caller, header: str, part: bytes) -> None:
    async with speaking(gateway, ada) as running:
        answer = await ada.ask("GET", path(running), {"range": header})
    assert (answer.status, answer.body, answer.complete) == (206, part, True)
    assert answer.headers["content-range"] == f"{header.replace('=', ' ')}/*"
    assert answer.headers["content-length"] == str(len(part))
    assert answer.headers["x-utter-generation-id"] == str(running.generation_id)


async def test_a_reader_that_takes_nothing_of_a_range_is_dropped(gateway: Gateway, ada: Caller) -> None:
    impatient = dataclasses.replace(gateway.services.settings, write_stall_seconds=0.05)
    app = create_app(dataclasses.replace(gateway.services, settings=impatient))
    sent: list[str] = []

    async def stalled(message: Message) -> None:
        sent.append(message["type"])
        if message["type"] == "http.response.body":
            await anyio.sleep_forever()

    async with speaking(gateway, ada) as running:
        exchange = Exchange("GET", path(running), {**ada.headers, "range": "bytes=0-5"})
        with anyio.fail_after(WAIT_SECONDS):
            await app(exchange.scope, exchange.receive, stalled)
    assert sent == ["http.response.start", "http.response.body"]


@pytest.mark.parametrize("header", ["bytes=5-10", "bytes=20-30", "bytes=-3"])
async def test_a_range_whose_bytes_do_not(gateway: Gateway, ada: Caller, header: str) -> None:
    async with speaking(gateway, ada) as running:
        answer = await ada.ask("GET", path(running), {"range": header})
    assert answer.status == 416
    assert "content-range" not in answer.headers


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=4-", "bytes=0-1,4-5", "nonsense"])
async def test_an_open_range_is_everything(gateway: Gateway, ada: Caller, header: str) -> None:
    running = await start(gateway, ada)
    await gateway.stage.say(AUDIO)
    async with open_request(gateway.app, "GET", path(running), headers={**ada.headers, "range": header}) as listener:
        await listener.received(len(AUDIO))
        gateway.stage.finish()
        await listener.over()
    assert (listener.status, listener.body) == (200, AUDIO)


async def test_head_of_a_running_stream_answers_at_once(gateway: Gateway, ada: Caller) -> None:
    async with speaking(gateway, ada) as running:
        answer = await ada.ask("HEAD", path(running))
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"", "audio/mpeg")


async def test_a_failure_in_the_middle_never_looks_complete(gateway: Gateway, ada: Caller) -> None:
    running = await start(gateway, ada)
    await gateway.stage.say(AUDIO)
    async with ada.listening(path(running)) as listener:
        await listener.received(len(AUDIO))
        gateway.stage.fail(Fault.CONNECTION_LOST)
        await listener.over()
        assert not listener.complete
    await running.ended.wait()
    answer = await ada.ask("GET", path(running))
    assert answer.status == 410
    assert "failed" in answer.json()["detail"]


async def test_a_log_that_failed_is_gone_though_its_row_still_says_otherwise(gateway: Gateway, ada: Caller) -> None:
    async with speaking(gateway, ada) as running:
        running.log.fail(ProviderFailure(Fault.CONNECTION_LOST))
        for target, headers in (
            (path(running), {}),
            (f"{path(running)}?offset=2", {}),
            (path(running), {"range": "bytes=0-1"}),
        ):
            assert (await ada.ask("GET", target, headers)).status == 410
        await ada.ask("POST", f"/api/tasks/{running.task_id}/cancel")


async def test_a_cancelled_generation_is_gone(gateway: Gateway, ada: Caller) -> None:
    async with speaking(gateway, ada) as running:
        assert (await ada.ask("POST", f"/api/tasks/{running.task_id}/cancel")).status == 200
        answer = await ada.ask("GET", path(running))
    assert answer.status == 410
    assert answer.headers["x-utter-error-category"] == "cancelled"


async def test_the_same_bytes_afterwards_with_real_ranges_and_a_digest(gateway: Gateway, ada: Caller) -> None:
    async with speaking(gateway, ada) as running:
        pass
    whole = await ada.ask("GET", path(running))
    assert (whole.status, whole.body) == (200, AUDIO)
    digest = base64.b64encode(hashlib.sha256(AUDIO).digest()).decode()
    assert whole.headers["repr-digest"] == f"sha-256=:{digest}:"
    assert whole.headers["content-length"] == "10"
    part = await ada.ask("GET", path(running), {"range": "bytes=8-"})
    assert (part.status, part.body, part.headers["content-range"]) == (206, b"89", "bytes 8-9/10")
    assert (await ada.ask("GET", f"{path(running)}?offset=7")).body == b"789"
    assert (await ada.ask("GET", f"{path(running)}?offset=10")).body == b""
    assert (await ada.ask("GET", f"{path(running)}?offset=11")).status == 416
    assert (await ada.ask("GET", path(running), {"range": "bytes=10-"})).status == 416
    assert (await ada.ask("HEAD", path(running))).headers["content-length"] == "10"


async def test_a_log_that_is_whole_but_not_stored_yet_has_real_ranges(gateway: Gateway, ada: Caller) -> None:
    async with speaking(gateway, ada) as running:
        running.log.complete()
        part = await ada.ask("GET", path(running), {"range": "bytes=-2"})
        assert (part.status, part.body, part.headers["content-range"]) == (206, b"89", "bytes 8-9/10")
        assert part.headers["repr-digest"]
        assert (await ada.ask("GET", f"{path(running)}?offset=3")).body == AUDIO[3:]
        assert (await ada.ask("GET", f"{path(running)}?offset=11")).status == 416
        await ada.ask("POST", f"/api/tasks/{running.task_id}/cancel")


async def test_a_link_is_bound_to_its_generation(gateway: Gateway, ada: Caller) -> None:
    first = (await ada.add_generation(b"first")).generation_id
    second = (await ada.add_generation(b"second")).generation_id
    token = gateway.services.signer.sign("stream", str(first), 60)
    assert (await gateway.ask("GET", f"/api/generations/{first}/stream?token={token}")).body == b"first"
    assert (await gateway.ask("GET", f"/api/generations/{str(first).upper()}/stream?token={token}")).body == b"first"
    for wrong in (f"{second}/stream?token={token}", f"{first}/stream?token=x", f"x/stream?token={token}"):
        assert (await gateway.ask("GET", f"/api/generations/{wrong}")).status == 401
    assert (await gateway.ask("DELETE", f"/api/generations/{first}?token={token}")).status == 401
    object_token = gateway.services.signer.sign("object", str(first), 60)
    assert (await gateway.ask("GET", f"/api/generations/{first}/stream?token={object_token}")).status == 401


async def test_an_expired_link(gateway: Gateway, ada: Caller) -> None:
    generation_id = (await ada.add_generation(b"first")).generation_id
    token = gateway.services.signer.sign("stream", str(generation_id), -1)
    assert (await gateway.ask("GET", f"/api/generations/{generation_id}/stream?token={token}")).status == 401


async def test_a_link_to_a_deleted_generation(gateway: Gateway, ada: Caller) -> None:
    generation_id = (await ada.add_generation(b"first")).generation_id
    token = gateway.services.signer.sign("stream", str(generation_id), 60)
    await ada.ask("DELETE", f"/api/generations/{generation_id}")
    assert (await gateway.ask("GET", f"/api/generations/{generation_id}/stream?token={token}")).status == 404


async def test_anothers_running_generation_is_not_there(gateway: Gateway, ada: Caller, bob: Caller) -> None:
    async with speaking(gateway, ada) as running:
        assert (await bob.ask("GET", path(running))).status == 404


async def test_one_that_nobody_runs_is_503(ada: Caller) -> None:
    generation_id = (await ada.add_generation()).generation_id
    answer = await ada.ask("GET", f"/api/generations/{generation_id}/stream")
    assert answer.status == 503
    assert answer.headers["retry-after"]


class EndingInBetween(Database):
    """The database of a gateway whose generation completes right after somebody has read its row."""

    def __init__(self, real: Database, complete: Callable[[], Awaitable[object]]) -> None:
        super().__init__(real._pool)
        self._complete = complete
        self.reads = 0

    @asynccontextmanager
    async def as_user(self, user_id: UUID) -> AsyncIterator[Transaction]:
        async with super().as_user(user_id) as transaction:
            yield transaction
        self.reads += 1
        if self.reads == 1:
            await self._complete()


async def test_one_that_ends_between_the_looks_is_played(gateway: Gateway, ada: Caller) -> None:
    new = await ada.add_generation()
    database = EndingInBetween(gateway.services.database, partial(ada.complete, new, b"audio"))
    app = create_app(dataclasses.replace(gateway.services, database=database))
    answer = await request(app, "GET", f"/api/generations/{new.generation_id}/stream", headers=ada.headers)
    assert (answer.status, answer.body, database.reads) == (200, b"audio", 3)


async def test_a_modal_one_that_is_not_stored_yet_is_409(gateway: Gateway, ada: Caller) -> None:
    generation_id = (await ada.add_generation()).generation_id
    gateway.database.run("update public.generations set tts_provider = 'modal' where id = :'id'", id=str(generation_id))
    answer = await ada.ask("GET", f"/api/generations/{generation_id}/stream")
    assert answer.status == 409
    assert "poll" in answer.json()["detail"]


async def test_audio_that_the_store_lost(gateway: Gateway, ada: Caller) -> None:
    generation_id = (await ada.add_generation(b"first")).generation_id
    await gateway.services.objects.delete("generations", f"{ada.id}/{generation_id}.mp3")
    assert (await ada.ask("GET", f"/api/generations/{generation_id}/stream")).status == 404


async def test_no_digest_is_promised_for_other_bytes_than_the_rows(gateway: Gateway, ada: Caller) -> None:
    generation_id = (await ada.add_generation(b"first")).generation_id
    await gateway.services.objects.put("generations", f"{ada.id}/{generation_id}.mp3", b"longer", "audio/mpeg")
    answer = await ada.ask("GET", f"/api/generations/{generation_id}/stream")
    assert (answer.status, answer.body) == (200, b"longer")
    assert "repr-digest" not in answer.headers
