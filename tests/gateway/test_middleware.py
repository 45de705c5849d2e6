"""The layers around every request, each alone and all together."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.errors import exception_handlers
from gateway.middleware import wrap
from gateway.middleware.body import BodyLimit, BodyLimits
from gateway.middleware.boundary import ErrorBoundary
from gateway.middleware.context import RequestContext, trace_id_of
from gateway.middleware.cors import ALLOWED_METHODS, CorsHeaders
from gateway.middleware.http_version import HttpVersionGuard
from gateway.middleware.lingering import LingeringClose
from gateway.middleware.paths import DEV_TOKEN_PATHS, STREAM_PATHS
from gateway.settings import load_settings
from gateway.tracing import Trace
from tests.support.asgi import Answer, call
from tests.support.backends import BACKENDS

pytestmark = pytest.mark.anyio

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
LOCAL = {"UTTER_ENV": "local", "DATABASE_URL": "postgresql:///u", "UTTER_TOKEN_SECRET": "k" * 32}
EVERY_PATH = ["/ok", "/moved", "/raises", "/nowhere", "/api/generate/stream"]


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Structlog as it comes draws every traceback with its locals, which takes seconds."""
    with structlog.testing.capture_logs():
        yield


async def breaks_off(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"half of it", "more_body": True})
    raise RuntimeError("the provider went away")


class Half:
    """An ASGI class is what Starlette passes through as it is; a function would be a route."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await breaks_off(scope, receive, send)


async def ok(request: Request) -> Response:
    return JSONResponse({"bytes": len(await request.body()), "trace_id": request.state.trace_id})


async def moved(_request: Request) -> Response:
    return RedirectResponse("/elsewhere", 302)


async def raises(_request: Request) -> Response:
    raise RuntimeError("what a user wrote")


def whole_app(**environ: str) -> ASGIApp:
    routes = [
        Route("/ok", ok, methods=["GET", "POST"]),
        Route("/moved", moved),
        Route("/raises", raises),
        Route("/api/generate/stream", Half()),
        *(Route(path, ok) for path in DEV_TOKEN_PATHS),
    ]
    app = Starlette(routes=routes, exception_handlers=exception_handlers())
    return wrap(app, load_settings({**LOCAL, **environ}))


async def hello(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


def detail(answer: Answer) -> str:
    body: dict[str, str] = json.loads(answer.body)
    assert list(body) == ["detail"]
    return body["detail"]


class TestRequestContext:
    @pytest.mark.parametrize("path", EVERY_PATH)
    async def test_every_answer_carries_an_id_of_its_own(self, path: str) -> None:
        app = whole_app()
        ids = [(await call(app, path=path)).headers["x-request-id"] for _ in range(2)]
        assert len(set(ids)) == 2
        assert all(len(request_id) == 32 for request_id in ids)

    async def test_only_a_trusted_proxy_may_choose_the_id(self) -> None:
        app = RequestContext(hello, trusted_proxies=[ipaddress.ip_network("10.0.0.0/8")])
        given_id = {"X-Request-Id": "edge-12345678"}
        trusted = await call(app, headers=given_id, client="10.0.0.1")
        assert trusted.headers["x-request-id"] == "edge-12345678"
        stranger = await call(app, headers=given_id, client="192.0.2.1")
        assert stranger.headers["x-request-id"] != "edge-12345678"
        strange = await call(app, headers={"X-Request-Id": "a\x1b[31mb" * 2}, client="10.0.0.1")
        assert len(strange.headers["x-request-id"]) == 32

    async def test_the_caller_s_trace_goes_on(self) -> None:
        answer = await call(whole_app(), path="/ok", headers={"traceparent": TRACEPARENT})
        assert json.loads(answer.body)["trace_id"] == TRACE
        assert answer.state["trace_id"] == TRACE
        assert answer.state["request_id"] == answer.headers["x-request-id"]

    async def test_both_ids_are_on_log_lines_written_below_and_gone_afterwards(self) -> None:
        seen: list[dict[str, Any]] = []

        async def logs(scope: Scope, receive: Receive, send: Send) -> None:
            seen.append(structlog.contextvars.get_contextvars())
            await hello(scope, receive, send)

        app = RequestContext(logs, trusted_proxies=[])
        answer = await call(app, headers={"traceparent": TRACEPARENT})
        assert seen == [{"request_id": answer.headers["x-request-id"], "trace_id": TRACE}]
        assert structlog.contextvars.get_contextvars() == {}

    @pytest.mark.parametrize(
        ("path", "status", "outcome", "size"),
        [("/moved", 302, "completed", 0), ("/api/generate/stream", 200, "cut", len("half of it"))],
    )
    async def test_one_access_line_without_the_query(self, path: str, status: int, outcome: str, size: int) -> None:
        with structlog.testing.capture_logs() as logs:
            await call(whole_app(), path=path, query="token=secret&offset=1")
        (line,) = [line for line in logs if line["event"] == "http.request"]
        assert (line["method"], line["path"], line["status"]) == ("GET", path, status)
        assert (line["outcome"], line["bytes_sent"]) == (outcome, size)
        assert line["duration_ms"] >= 0
        assert "secret" not in str(logs)

    async def test_an_unanswered_request_is_logged_too(self) -> None:
        async def nothing(_scope: Scope, _receive: Receive, _send: Send) -> None:
            return

        with structlog.testing.capture_logs() as logs:
            await call(RequestContext(nothing, trusted_proxies=[]))
        assert [(line["status"], line["outcome"]) for line in logs] == [(None, "unanswered")]


class TestTraceparent:
    async def test_a_good_one(self) -> None:
        assert trace_id_of(TRACEPARENT) == TRACE
        assert trace_id_of(f"01-{TRACE}-00f067aa0ba902b7-01-later-fields") == TRACE

    @pytest.mark.parametrize(
        "value",
        [
            "",
            TRACE,
            TRACEPARENT.upper(),
            f"ff-{TRACE}-00f067aa0ba902b7-01",
            f"00-{'0' * 32}-00f067aa0ba902b7-01",
            f"00-{TRACE}-{'0' * 16}-01",
            f"{TRACEPARENT}-extra",
            f"00-{TRACE[:-1]}g-00f067aa0ba902b7-01",
        ],
    )
    async def test_a_bad_one_is_ignored(self, value: str) -> None:
        assert trace_id_of(value) is None

    async def test_ours_is_a_good_one(self) -> None:
        trace = Trace(trace_id=TRACE)
        assert trace_id_of(trace.outgoing_headers()["traceparent"]) == TRACE
        assert trace.outgoing_headers() != trace.outgoing_headers(), "each request is a span of its own"
        assert Trace().outgoing_headers() == {}


@given(st.text())
def test_any_traceparent_is_read_or_ignored(value: str) -> None:
    found = trace_id_of(value)
    assert found is None or len(found) == 32


class TestCors:
    @pytest.mark.parametrize("path", EVERY_PATH)
    @pytest.mark.parametrize("origin", [None, "https://app.example"])
    async def test_every_answer_has_the_headers(self, path: str, origin: str | None) -> None:
        answer = await call(whole_app(), path=path, headers={"Origin": origin} if origin else {})
        headers = answer.headers
        assert headers["access-control-allow-origin"] == "*"
        assert headers["timing-allow-origin"] == "*"
        assert headers["access-control-allow-methods"] == ALLOWED_METHODS
        assert headers["access-control-max-age"] == "86400"
        assert {"authorization", "x-client-info", "apikey", "content-type", "idempotency-key", "range"} <= set(
            headers["access-control-allow-headers"].split(", ")
        )
        exposed = headers["access-control-expose-headers"].split(", ")
        assert {"X-Request-Id", "X-Utter-Stream-Url", "Server-Timing", "Content-Range", "Repr-Digest"} <= set(exposed)
        assert "vary" not in headers

    @pytest.mark.parametrize(
        ("origin", "allowed"),
        [
            ("https://b.example", "https://b.example"),
            ("https://evil.example", "https://a.example"),
            (None, "https://a.example"),
        ],
    )
    async def test_a_list_answers_with_one_origin(self, origin: str | None, allowed: str) -> None:
        app = CorsHeaders(hello, allowed_origins=["https://a.example", "https://b.example"])
        answer = await call(app, headers={"Origin": origin} if origin else {})
        assert answer.headers["access-control-allow-origin"] == allowed
        assert answer.headers["vary"] == "Origin"

    async def test_vary_keeps_what_a_route_says(self) -> None:
        async def varies(_scope: Scope, _receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"vary", b"Accept")]})
            await send({"type": "http.response.body", "body": b""})

        answer = await call(CorsHeaders(varies, allowed_origins=["https://a.example"]))
        assert answer.headers["vary"] == "Accept, Origin"

    @pytest.mark.parametrize("path", [*EVERY_PATH, "*", "/api/tasks/not-a-uuid"])
    async def test_options_on_any_path_is_204_and_empty(self, path: str) -> None:
        answer = await call(whole_app(), "OPTIONS", path)
        assert (answer.status, answer.body, answer.ended) == (204, b"", True)
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "x-request-id" in answer.headers

    @pytest.mark.parametrize("path", sorted(DEV_TOKEN_PATHS))
    @pytest.mark.parametrize("method", ["GET", "OPTIONS"])
    async def test_the_development_token_is_for_no_other_origin(self, path: str, method: str) -> None:
        answer = await call(whole_app(), method, path, headers={"Origin": "https://evil.example"})
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert "x-request-id" in answer.headers


class TestHttpVersion:
    @pytest.mark.parametrize("prefix", ["/api", "/functions/v1/api"])
    @pytest.mark.parametrize("route", ["/generate/stream", "/generations/1f/stream"])
    async def test_http_1_0_gets_no_stream(self, prefix: str, route: str) -> None:
        answer = await call(HttpVersionGuard(hello), path=prefix + route, http_version="1.0")
        assert answer.status == 426
        assert answer.headers["upgrade"] == "HTTP/1.1"
        assert "proxy_http_version" in detail(answer)

    @pytest.mark.parametrize("path", ["/api/health", "/api/generations/1f/audio", "/api/generate", "/"])
    async def test_http_1_0_gets_everything_else(self, path: str) -> None:
        answer = await call(HttpVersionGuard(hello), path=path, http_version="1.0")
        assert (answer.status, answer.body) == (200, b"hello")

    @pytest.mark.parametrize("version", ["2", "2.0", "3", "0.9", "1.2"])
    async def test_other_versions_are_refused(self, version: str) -> None:
        answer = await call(HttpVersionGuard(hello), "PRI", "*", http_version=version)
        assert (answer.status, answer.headers["connection"]) == (505, "close")
        assert "HTTP/1.1" in detail(answer)

    @pytest.mark.parametrize(
        "path", ["/api/generate/streams", "/api/generations/a/b/stream", "/x/api/generate/stream", "/api/tasks/a"]
    )
    async def test_stream_paths_are_exact(self, path: str) -> None:
        assert STREAM_PATHS.fullmatch(path) is None


class TestErrorBoundary:
    async def test_an_exception_before_the_answer_is_a_500_without_a_trace_of_it(self) -> None:
        answer = await call(whole_app(), path="/raises")
        assert answer.status == 500
        assert "X-Request-Id" in detail(answer)
        assert b"what a user wrote" not in answer.body

    async def test_an_exception_after_it_leaves_the_answer_unfinished(self) -> None:
        with structlog.testing.capture_logs() as logs:
            answer = await call(ErrorBoundary(breaks_off))
        assert (answer.status, answer.body, answer.ended) == (200, b"half of it", False)
        assert [(line["event"], line["answer_started"]) for line in logs] == [("http.failed", True)]

    async def test_cancellation_passes(self) -> None:
        async def waits(_scope: Scope, _receive: Receive, _send: Send) -> None:
            await anyio.sleep_forever()

        with anyio.move_on_after(0.01) as scope:
            await call(ErrorBoundary(waits))
        assert scope.cancelled_caught


async def unreachable_send(_message: Message) -> None:
    pytest.fail("something was sent")


@pytest.mark.parametrize(
    "layer",
    [
        HttpVersionGuard,
        ErrorBoundary,
        LingeringClose,
        lambda app: BodyLimit(app, BodyLimits(1, 1, 1)),
        lambda app: CorsHeaders(app, allowed_origins=["*"]),
        lambda app: RequestContext(app, trusted_proxies=[]),
    ],
)
async def test_every_layer_lets_the_lifespan_through(layer: Callable[[ASGIApp], ASGIApp]) -> None:
    seen: list[str] = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.append(scope["type"])

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    await layer(app)({"type": "lifespan"}, receive, unreachable_send)
    assert seen == ["lifespan"]
