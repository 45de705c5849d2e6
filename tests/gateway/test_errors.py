"""Causes and their answers: the table of product section 4."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.errors import (
    CATEGORY_HEADER,
    RETRY_AFTER_SECONDS,
    ApiError,
    as_api_error,
    error_response,
    exception_handlers,
    from_failure,
)
from gateway.middleware.boundary import ErrorBoundary
from protocol.errors import Category, Fault, ProviderFailure, VendorError
from storage.errors import ActiveTaskExists, DatabaseUnavailable, UnknownUser
from storage.objects import ObjectStoreUnavailable
from tests.support.asgi import call


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Structlog as it comes draws every traceback with its locals, which takes seconds."""
    with structlog.testing.capture_logs():
        yield


ONCE_RAISED: list[tuple[Exception, int, str | None]] = [
    (ApiError(400, "x"), 400, "validation"),
    (ApiError(413, "x"), 413, "validation"),
    (ApiError(401, "x"), 401, None),
    (ApiError(404, "x"), 404, None),
    (ApiError(409, "x"), 409, None),
    (ApiError(409, "x", Category.CANCELLED), 409, "cancelled"),
    (ApiError(502, "x", Category.PROVIDER_UNAVAILABLE), 502, "provider_unavailable"),
    (ApiError(503, "x"), 503, None),
    (ProviderFailure(Fault.BAD_INPUT), 400, "validation"),
    (ProviderFailure(Fault.RECORDING_UNUSABLE), 400, "validation"),
    (ProviderFailure(Fault.VOICE_UNKNOWN), 409, None),
    (ProviderFailure(Fault.VOICE_MISMATCH), 409, None),
    (ProviderFailure(Fault.CANCELLED), 409, "cancelled"),
    (ProviderFailure(Fault.KEY_REFUSED), 502, "provider_rejected"),
    (ProviderFailure(Fault.ACCOUNT_ARREARS), 502, "provider_rejected"),
    (ProviderFailure(Fault.MODEL_GONE), 502, "provider_rejected"),
    (ProviderFailure(Fault.RATE_LIMITED), 503, "provider_unavailable"),
    (ProviderFailure(Fault.UNREACHABLE), 503, "provider_unavailable"),
    (ProviderFailure(Fault.FIRST_AUDIO_TIMEOUT), 504, "timeout"),
    (DatabaseUnavailable("db-7 refused"), 503, None),
    (ObjectStoreUnavailable("bucket gone"), 503, None),
    (ActiveTaskExists("x"), 409, None),
    (UnknownUser("x"), 401, None),
    (HTTPException(404), 404, None),
    (HTTPException(405, headers={"Allow": "GET"}), 405, None),
    (ExceptionGroup("tasks", [ProviderFailure(Fault.UNREACHABLE)]), 503, "provider_unavailable"),
    (ExceptionGroup("tasks", [ValueError(), KeyError()]), 500, None),
    (RuntimeError("the text of a user"), 500, None),
]


@pytest.mark.parametrize(("error", "status", "category"), ONCE_RAISED, ids=lambda value: repr(value)[:60])
def test_each_cause_has_its_status_and_category(error: Exception, status: int, category: str | None) -> None:
    response = error_response(as_api_error(error))
    assert response.status_code == status
    assert response.headers.get(CATEGORY_HEADER) == category
    assert response.headers["content-type"] == "application/json"
    body = json.loads(bytes(response.body))
    assert list(body) == ["detail"]
    assert body["detail"]


@pytest.mark.parametrize("fault", Fault)
def test_every_fault_has_an_answer_in_our_words(fault: Fault) -> None:
    vendor = VendorError(code="VendorCode", message="vendor words about 'what the user wrote'")
    error = from_failure(ProviderFailure(fault, vendor))
    assert error.detail == fault.facts.detail
    assert error.status == fault.facts.status
    assert "vendor words" not in str(error)
    if error.status == 409:
        assert (CATEGORY_HEADER in error.headers) == (fault is Fault.CANCELLED)
    else:
        assert error.headers[CATEGORY_HEADER] == fault.facts.category


@pytest.mark.parametrize("error", [error for error, status, _ in ONCE_RAISED if status == 503], ids=repr)
def test_every_503_says_when_to_come_back(error: Exception) -> None:
    assert as_api_error(error).headers["Retry-After"] == str(RETRY_AFTER_SECONDS)


def test_a_503_may_say_it_itself() -> None:
    assert ApiError(503, "x", headers={"Retry-After": "60"}).headers["Retry-After"] == "60"


def test_allowed_methods_are_kept() -> None:
    assert as_api_error(HTTPException(405, headers={"Allow": "GET"})).headers["Allow"] == "GET"


def test_starlette_s_own_words_are_replaced() -> None:
    assert as_api_error(HTTPException(404)).detail == "There is nothing at this address."


@pytest.mark.anyio
@pytest.mark.parametrize(("error", "status", "category"), ONCE_RAISED, ids=lambda value: repr(value)[:60])
async def test_a_route_that_raises_it_answers_it(error: Exception, status: int, category: str | None) -> None:
    async def route(_request: Request) -> Response:
        raise error

    app = Starlette(routes=[Route("/", route)], exception_handlers=exception_handlers())
    answer = await call(ErrorBoundary(app))
    assert (answer.status, answer.headers.get(CATEGORY_HEADER), answer.ended) == (status, category, True)
    assert b"the text of a user" not in answer.body
    assert json.loads(answer.body)["detail"] == as_api_error(error).detail


@pytest.mark.anyio
async def test_an_unknown_route_and_method_answer_in_json() -> None:
    async def route(_request: Request) -> Response:
        return Response("ok")

    app = ErrorBoundary(Starlette(routes=[Route("/", route)], exception_handlers=exception_handlers()))
    unknown = await call(app, path="/nowhere")
    assert (unknown.status, json.loads(unknown.body)) == (404, {"detail": "There is nothing at this address."})
    wrong_method = await call(app, "DELETE", "/")
    assert (wrong_method.status, set(wrong_method.headers["allow"].split(", "))) == (405, {"GET", "HEAD"})
    assert list(json.loads(wrong_method.body)) == ["detail"]
