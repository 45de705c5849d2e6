"""What a request may bring: bodies within their limits, and refusals that arrive although nobody read the rest."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import anyio
import pytest
import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.middleware import wrap
from gateway.middleware.body import MAX_FORM_BYTES, MAX_UPLOAD_BYTES, BodyLimit, BodyLimits
from gateway.middleware.boundary import ErrorBoundary
from gateway.middleware.lingering import LingeringClose
from gateway.middleware.paths import FORM_PATHS, ROUTE_PREFIXES, UPLOAD_PATHS
from gateway.settings import load_settings
from tests.support.asgi import Answer, call
from tests.support.backends import BACKENDS

pytestmark = pytest.mark.anyio

UPLOAD = "/api/objects/references/somebody/voice/reference.wav"
LOCAL = {"UTTER_ENV": "local", "DATABASE_URL": "postgresql:///u", "UTTER_TOKEN_SECRET": "k" * 32}


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Structlog as it comes draws every traceback with its locals, which takes seconds."""
    with structlog.testing.capture_logs():
        yield


class Taker:
    """An app that reads its request to the end, piece by piece."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        more = True
        while more:
            message = await receive()
            self.taken.append(message["body"])
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"taken"})


async def unreachable(_scope: Scope, _receive: Receive, _send: Send) -> None:
    pytest.fail("the app was called")


async def unreachable_send(_message: Message) -> None:
    pytest.fail("something was sent")


def limited(app: ASGIApp, *, max_bytes: int = 100, seconds: float = 30, upload_seconds: float = 30) -> ASGIApp:
    """The layers that a body and its refusal meet."""
    limits = BodyLimits(max_bytes=max_bytes, seconds=seconds, upload_seconds=upload_seconds)
    return LingeringClose(ErrorBoundary(BodyLimit(app, limits)), silence_seconds=0.05)


def detail(answer: Answer) -> str:
    said: str = json.loads(answer.body)["detail"]
    return said


def request_of(pieces: Sequence[bytes], *, more_to_come: bool = False) -> list[Message]:
    messages: list[Message] = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    messages[-1]["more_body"] = more_to_come
    return messages


class TestWholeBodies:
    @pytest.mark.parametrize("pieces", [[b""], [b"x" * 100], [b"x" * 50, b"", b"x" * 50], [b"x"] * 100])
    async def test_a_body_within_the_limit_arrives_whole(self, pieces: list[bytes]) -> None:
        taker = Taker()
        answer = await call(limited(taker), "POST", body=pieces)
        assert answer.body == b"taken"
        assert taker.taken == [b"".join(pieces)]

    @pytest.mark.parametrize(
        ("headers", "pieces"),
        [
            ({"Content-Length": "101"}, [b"x" * 101]),
            ({"Content-Length": "9" * 30}, [b""]),
            ({"Transfer-Encoding": "chunked"}, [b"x" * 60, b"x" * 41]),
        ],
    )
    async def test_a_larger_one_is_413_and_reaches_nobody(self, headers: dict[str, str], pieces: list[bytes]) -> None:
        answer = await call(limited(unreachable), "POST", headers=headers, body=pieces)
        assert (answer.status, answer.ended) == (413, True)
        assert answer.headers["connection"] == "close"
        assert answer.headers["x-utter-error-category"] == "validation"
        assert "100 bytes" in detail(answer)

    @pytest.mark.parametrize("encoding", ["gzip", "br", "gzip, identity", "GZIP", "nonsense"])
    async def test_a_compressed_one_is_415_and_is_not_even_read(self, encoding: str) -> None:
        answer = await call(limited(unreachable), "POST", headers={"Content-Encoding": encoding}, body=[b"{}"])
        assert (answer.status, answer.headers["connection"]) == (415, "close")
        assert "Compressed" in detail(answer)

    @pytest.mark.parametrize("encoding", ["identity", " Identity ", ""])
    async def test_a_plain_one_may_say_so(self, encoding: str) -> None:
        taker = Taker()
        answer = await call(limited(taker), "POST", headers={"Content-Encoding": encoding}, body=[b"{}"])
        assert (answer.status, b"".join(taker.taken)) == (200, b"{}")

    async def test_a_body_that_does_not_come_is_408(self) -> None:
        answer = await call(limited(unreachable, seconds=0.05), "POST", body=[b"x"], more_to_come=True)
        assert (answer.status, answer.headers["connection"]) == (408, "close")
        assert "0.05 seconds" in detail(answer)

    async def test_a_client_that_leaves_meanwhile_gets_and_does_nothing(self) -> None:
        messages: list[Message] = [*request_of([b"x"], more_to_come=True), {"type": "http.disconnect"}]

        async def receive() -> Message:
            return messages.pop(0)

        scope = {"type": "http", "headers": [], "method": "POST", "path": "/"}
        await limited(unreachable)(scope, receive, unreachable_send)

    async def test_the_layers_below_still_hear_of_a_disconnect(self) -> None:
        messages: list[Message] = [*request_of([b"x"]), {"type": "http.disconnect"}]
        heard: list[str] = []

        async def receive() -> Message:
            return messages.pop(0)

        async def listens(_scope: Scope, receive: Receive, _send: Send) -> None:
            heard.extend([(await receive())["type"], (await receive())["type"]])

        scope = {"type": "http", "headers": [], "method": "POST", "path": "/"}
        await limited(listens)(scope, receive, unreachable_send)
        assert heard == ["http.request", "http.disconnect"]

    @pytest.mark.parametrize("path", sorted(FORM_PATHS))
    async def test_a_form_may_bring_a_recording_whatever_json_may(self, path: str) -> None:
        taker = Taker()
        body = bytes(MAX_FORM_BYTES)
        assert (await call(limited(taker), "POST", path, body=[body])).status == 200
        assert taker.taken == [body]
        assert (await call(limited(unreachable), "POST", path, body=[body + b"x"])).status == 413
        assert (await call(limited(unreachable), "PUT", path, body=[body])).status == 413
        assert (await call(limited(unreachable), "POST", path + "/", body=[body])).status == 413

    async def test_the_settings_reach_it(self) -> None:
        settings = load_settings({**LOCAL, "UTTER_MAX_BODY_BYTES": "20000", "UTTER_UPLOAD_SECONDS": "0.1"})
        app = wrap(Taker(), settings)
        assert (await call(app, "POST", "/ok", body=[b"x" * 20_000])).status == 200
        refused = await call(app, "POST", "/ok", body=[b"x" * 20_001])
        assert (refused.status, refused.headers["access-control-allow-origin"]) == (413, "*")
        assert "x-request-id" in refused.headers
        late = await call(app, "PUT", UPLOAD, body=[b"x"], more_to_come=True)
        assert (late.status, late.headers["access-control-allow-origin"]) == (408, "*")
        assert "0.1 seconds" in detail(late)


class TestStreamedBodies:
    @pytest.mark.parametrize("mount", ROUTE_PREFIXES)
    async def test_an_upload_reaches_its_route_piece_by_piece(self, mount: str) -> None:
        taker = Taker()
        path = UPLOAD.replace("/api", mount, 1)
        answer = await call(limited(taker), "PUT", path, body=[b"x" * 1000, b"y" * 1000])
        assert (answer.status, taker.taken) == (200, [b"x" * 1000, b"y" * 1000])

    async def test_its_limit_is_exact(self) -> None:
        half = bytes(MAX_UPLOAD_BYTES // 2)
        assert (await call(limited(Taker()), "PUT", UPLOAD, body=[half, half])).status == 200
        taker = Taker()
        answer = await call(limited(taker), "PUT", UPLOAD, body=[half, half, b"x"])
        assert (answer.status, answer.headers["connection"], answer.ended) == (413, "close", True)
        assert taker.taken == [half, half]
        assert str(MAX_UPLOAD_BYTES) in detail(answer)

    async def test_a_declared_length_is_believed_before_anything_is_read(self) -> None:
        headers = {"Content-Length": str(MAX_UPLOAD_BYTES + 1)}
        answer = await call(limited(unreachable), "PUT", UPLOAD, headers=headers, body=[b""], more_to_come=True)
        assert (answer.status, answer.ended) == (413, True)

    async def test_its_time_is_that_of_the_whole_body(self) -> None:
        answer = await call(limited(Taker(), upload_seconds=0.05), "PUT", UPLOAD, body=[b"x"], more_to_come=True)
        assert (answer.status, answer.headers["connection"], answer.ended) == (408, "close", True)

    async def test_after_the_body_a_route_may_wait_for_the_client_to_leave(self) -> None:
        messages: list[Message] = request_of([b"x"])
        left = anyio.Event()
        heard: list[str] = []

        async def receive() -> Message:
            if messages:
                return messages.pop(0)
            await left.wait()
            return {"type": "http.disconnect"}

        async def listens(_scope: Scope, receive: Receive, _send: Send) -> None:
            await receive()
            with anyio.move_on_after(0.1):  # longer than the body may take
                heard.append((await receive())["type"])
            left.set()
            heard.append((await receive())["type"])

        scope = {"type": "http", "headers": [], "method": "PUT", "path": UPLOAD}
        await limited(listens, upload_seconds=0.05)(scope, receive, unreachable_send)
        assert heard == ["http.disconnect"]

    @pytest.mark.parametrize(
        "path", ["/api/objects/references", "/api/objects/references/", "/x/api/objects/a/b", "/api/objects//b", "/"]
    )
    async def test_only_the_upload_route_streams(self, path: str) -> None:
        assert UPLOAD_PATHS.fullmatch(path) is None
        assert (await call(limited(unreachable), "PUT", path, body=[b"x" * 101])).status == 413

    async def test_other_methods_of_its_path_do_not(self) -> None:
        assert (await call(limited(unreachable), "POST", UPLOAD, body=[b"x" * 101])).status == 413


class TestLingering:
    async def test_what_is_still_coming_is_read_before_the_answer_ends(self) -> None:
        pieces = request_of([b"x" * 60] * 20)
        sent: list[Message] = []
        left_when_sent: list[int] = []

        async def receive() -> Message:
            return pieces.pop(0)

        async def send(message: Message) -> None:
            sent.append(message)
            left_when_sent.append(len(pieces))

        scope = {"type": "http", "headers": [], "method": "POST", "path": "/"}
        await limited(unreachable)(scope, receive, send)
        assert [message.get("more_body") for message in sent] == [None, True, False]
        assert left_when_sent == [18, 18, 0]

    async def test_the_last_send_finds_room_however_much_is_still_coming(self) -> None:
        """Hypercorn's own queue: the end of the answer waits until somebody takes what is in it."""
        came, taken = anyio.create_memory_object_stream[Message](0)
        ended: list[Message] = []

        async def flood() -> None:
            while True:
                await came.send({"type": "http.request", "body": b"x", "more_body": True})

        async def send(message: Message) -> None:
            if message["type"] == "http.response.body" and not message["more_body"]:
                await came.send({"type": "http.disconnect"})  # waits for a reader
                ended.append(message)

        scope = {"type": "http", "headers": [], "method": "PUT", "path": UPLOAD}
        layers = LingeringClose(refuses, seconds=0.05)
        with anyio.fail_after(10):
            async with came, taken, anyio.create_task_group() as tasks:
                tasks.start_soon(flood)
                await layers(scope, taken.receive, send)
                tasks.cancel_scope.cancel()
        assert len(ended) == 1

    async def test_a_silent_client_is_not_waited_for(self) -> None:
        with anyio.fail_after(10):
            answer = await call(LingeringClose(refuses, silence_seconds=0.05), body=[b"x"], more_to_come=True)
        assert (answer.status, answer.headers["connection"], answer.ended) == (401, "close", True)

    async def test_a_request_that_was_read_keeps_its_connection(self) -> None:
        answer = await call(LingeringClose(Taker()), "POST", body=[b"x"])
        assert "connection" not in answer.headers
        assert answer.ended

    async def test_a_stream_is_passed_on_as_it_is(self) -> None:
        async def streams(_scope: Scope, receive: Receive, send: Send) -> None:
            await receive()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for piece in (b"a", b"b"):
                await send({"type": "http.response.body", "body": piece, "more_body": True})

        answer = await call(LingeringClose(streams))
        assert (answer.body, answer.ended) == (b"ab", False)


async def refuses(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 401, "headers": []})
    await send({"type": "http.response.body", "body": b"no"})
