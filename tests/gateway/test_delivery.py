"""Finished bytes over HTTP: ranges, conditions, digests, slow and vanishing readers."""

from __future__ import annotations

import base64
import hashlib
import weakref
from collections.abc import AsyncIterator, Callable, Mapping

import anyio
import pytest
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from gateway.delivery import Body, ClientGone, SpanResponse, quoted, repr_digest, respond, while_connected
from gateway.errors import ApiError
from storage.objects import ObjectMissing, ObjectStoreUnavailable
from tests.support.collector import collector_off
from tests.support.exchange import Exchange, open_request, request

pytestmark = pytest.mark.anyio

AUDIO = bytes(range(256)) * 40
DIGEST = hashlib.sha256(AUDIO).hexdigest()
STALL_SECONDS = 0.05


async def pieces(start: int, stop: int) -> AsyncIterator[bytes]:
    for position in range(start, stop, 1000):
        yield AUDIO[position : min(position + 1000, stop)]


def failing(error: Exception) -> Callable[[int, int], AsyncIterator[bytes]]:
    async def read(start: int, stop: int) -> AsyncIterator[bytes]:
        if start < stop:
            raise error
        yield b""

    return read


def body(**changes: object) -> Body:
    facts = {"size": len(AUDIO), "content_type": "audio/mpeg", "read": pieces, "sha256": DIGEST, "etag": quoted(DIGEST)}
    return Body(**{**facts, **changes})  # type: ignore[arg-type]  # a test's shorthand


class App:
    """Serves one body."""

    def __init__(self, served: Body, offset: int = 0) -> None:
        self._served = served
        self._offset = offset

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = respond(Request(scope), self._served, stall_seconds=STALL_SECONDS, offset=self._offset)
        await response(scope, receive, send)


async def get(headers: Mapping[str, str] | None = None, *, method: str = "GET", **changes: object) -> Exchange:
    return await request(App(body(**changes)), method, "/", headers=headers)


async def test_the_whole_body() -> None:
    answer = await get()
    assert (answer.status, answer.body, answer.complete) == (200, AUDIO, True)
    assert answer.headers["content-length"] == str(len(AUDIO))
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-type"] == "audio/mpeg"
    assert answer.headers["repr-digest"] == f"sha-256=:{base64.b64encode(hashlib.sha256(AUDIO).digest()).decode()}:"


async def test_head_has_the_same_headers_and_no_body() -> None:
    full, head = await get(), await get(method="HEAD")
    assert head.body == b""
    assert dict(head.headers) == dict(full.headers)


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-2099", 100, 2100),
        ("bytes=10000-", 10_000, 10_240),
        ("bytes=-7", 10_233, 10_240),
    ],
)
async def test_a_range(header: str, start: int, stop: int) -> None:
    answer = await get({"range": header})
    assert (answer.status, answer.body) == (206, AUDIO[start:stop])
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(AUDIO)}"
    assert answer.headers["content-length"] == str(stop - start)
    assert answer.headers["repr-digest"] == repr_digest(DIGEST)


async def test_a_range_behind_the_end_names_the_size() -> None:
    with pytest.raises(ApiError) as caught:
        await get({"range": "bytes=10240-"})
    assert caught.value.status == 416
    assert caught.value.headers["content-range"] == f"bytes */{len(AUDIO)}"


async def test_head_ignores_ranges() -> None:
    assert (await get({"range": "bytes=0-1"}, method="HEAD")).status == 200


@pytest.mark.parametrize(("condition", "status"), [(quoted(DIGEST), 206), ('"other"', 200), ("Tue, 03 Feb 2026", 200)])
async def test_if_range_must_name_these_bytes(condition: str, status: int) -> None:
    assert (await get({"range": "bytes=0-1", "if-range": condition})).status == status


@pytest.mark.parametrize("condition", ["*", quoted(DIGEST), f'"x", W/{quoted(DIGEST)}'])
async def test_what_the_client_has_is_not_sent_again(condition: str) -> None:
    answer = await get({"if-none-match": condition})
    assert (answer.status, answer.body) == (304, b"")
    assert answer.headers["etag"] == quoted(DIGEST)


async def test_another_etag_is_answered_in_full() -> None:
    assert (await get({"if-none-match": '"x"'})).status == 200


async def test_without_a_digest_no_promise_is_made() -> None:
    answer = await get({"if-none-match": "*"}, sha256=None, etag=None)
    assert answer.status == 200
    assert not {"etag", "repr-digest"} & set(answer.headers)


async def test_an_offset_is_a_body_of_its_own() -> None:
    answer = await request(App(body(), offset=10_000), "GET", "/", headers={"range": "bytes=0-1"})
    assert (answer.status, answer.body) == (200, AUDIO[10_000:])
    assert not {"etag", "repr-digest", "content-range"} & set(answer.headers)


async def test_an_offset_at_the_end_has_nothing_left() -> None:
    answer = await request(App(body(), offset=len(AUDIO)), "GET", "/")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "0")


async def test_an_offset_past_the_end() -> None:
    with pytest.raises(ApiError) as caught:
        await request(App(body(), offset=len(AUDIO) + 1), "GET", "/")
    assert caught.value.headers["content-range"] == f"bytes */{len(AUDIO)}"


async def test_an_empty_body() -> None:
    answer = await get(size=0)
    assert (answer.status, answer.body, answer.complete) == (200, b"", True)


async def test_a_store_that_fails_before_the_first_byte_is_an_error_answer() -> None:
    with pytest.raises(ObjectStoreUnavailable):
        await get(read=failing(ObjectStoreUnavailable("down")))


async def test_an_object_that_vanished_meanwhile_is_404() -> None:
    with pytest.raises(ApiError) as caught:
        await get(read=failing(ObjectMissing("gone")))
    assert caught.value.status == 404


async def test_a_store_that_fails_in_the_middle_never_looks_complete() -> None:
    async def breaking(_start: int, _stop: int) -> AsyncIterator[bytes]:
        yield AUDIO[:1000]
        raise ObjectStoreUnavailable("down")

    answer = await get(read=breaking)
    assert (answer.status, answer.body, answer.complete) == (200, AUDIO[:1000], False)


async def test_a_reader_that_leaves_ends_the_reading() -> None:
    started, ended = anyio.Event(), anyio.Event()

    async def endless(_start: int, _stop: int) -> AsyncIterator[bytes]:
        try:
            yield b"first"
            started.set()
            await anyio.sleep_forever()
        finally:
            ended.set()

    async with open_request(App(body(read=endless)), "GET", "/") as exchange:
        await started.wait()
        exchange.leave()
        await exchange.over()
        assert ended.is_set()
        assert not exchange.complete


async def test_a_reader_that_takes_nothing_is_dropped() -> None:
    exchange = Exchange("GET", "/")
    sent: list[Message] = []

    async def stalled(message: Message) -> None:
        sent.append(message)
        if message["type"] == "http.response.body":
            await anyio.sleep_forever()

    response = SpanResponse(200, {}, pieces(0, len(AUDIO)), STALL_SECONDS)
    with anyio.fail_after(10):
        await response(exchange.scope, exchange.receive, stalled)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]


async def test_while_connected_gives_the_result() -> None:
    exchange = Exchange("GET", "/")

    async def work() -> int:
        return 7

    assert await while_connected(exchange.receive, work) == 7


async def test_watching_the_client_leaves_nothing_to_the_collector() -> None:
    """Of each answer it would be thirty objects, and to look through them stops everybody."""

    class Client:
        async def receive(self) -> Message:
            await anyio.sleep_forever()
            raise AssertionError

    with collector_off():
        client = Client()
        left = weakref.ref(client)
        await while_connected(client.receive, anyio.wait_all_tasks_blocked)
        del client
        assert left() is None


async def test_while_connected_ends_with_the_client() -> None:
    exchange = Exchange("GET", "/")
    exchange.leave()
    with pytest.raises(ClientGone):
        await while_connected(exchange.receive, anyio.sleep_forever)
