"""Every failure as an HTTP answer: a status, `{"detail": ...}` for people, and the error category where there is one.

The table is product section 4. Two rules are in it: a 409 has a category only when it means "cancelled", and a 503
always says when to come back.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ExceptionHandler

from gateway.frames import forget_frames
from protocol.errors import Category, ProviderFailure
from storage.errors import ActiveTaskExists, DatabaseUnavailable, RequestKeyTaken, UnknownUser
from storage.objects import ObjectStoreUnavailable

CATEGORY_HEADER = "X-Utter-Error-Category"

RETRY_AFTER_SECONDS = 5
"""Advice with every 503. Long enough for a rate limit of three starts a second to move, short enough for a person."""

CATEGORY_OF_STATUS: Mapping[int, Category] = {
    400: Category.VALIDATION,
    413: Category.VALIDATION,
    502: Category.PROVIDER_REJECTED,
    504: Category.TIMEOUT,
}
"""What a status means by itself. A 409 or 503 means several things, so whoever raises it says the category."""

_ACTIVE_TASK = "You already have a generation in progress. Wait for it, or cancel it, then try again."
_SAME_REQUEST = "The same request was sent twice at once. Please send it again."
_NO_ACCOUNT = "This account no longer exists. Please sign in again."
_INTERNAL = "Something went wrong on our side. Please try again; if it keeps happening, send us the X-Request-Id."
_UNAVAILABLE = "The service is not available right now. Please try again in a moment."
_STATUS_DETAILS: Mapping[int, str] = {
    404: "There is nothing at this address.",
    405: "This address does not answer that method.",
}


class ApiError(Exception):
    """An answer that is not a success. `detail` is for people and goes to the client as it is.

    Without a `category` the status decides (`CATEGORY_OF_STATUS`). A 503 gets `Retry-After` (seconds).
    """

    def __init__(
        self,
        status: int,
        detail: str,
        category: Category | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status = HTTPStatus(status)
        self.detail = detail
        self.category = category or CATEGORY_OF_STATUS.get(status)
        self.headers = dict(headers or {})
        if self.category is not None:
            self.headers[CATEGORY_HEADER] = self.category.value
        if self.status is HTTPStatus.SERVICE_UNAVAILABLE:
            self.headers.setdefault("Retry-After", str(RETRY_AFTER_SECONDS))
        super().__init__(f"{status}: {detail}")


def from_failure(failure: ProviderFailure) -> ApiError:
    """The answer for a provider's failure: our words, never the vendor's."""
    facts = failure.fault.facts
    if facts.status == HTTPStatus.CONFLICT and facts.category is not Category.CANCELLED:
        return ApiError(facts.status, facts.detail)
    return ApiError(facts.status, facts.detail, facts.category)


def as_api_error(error: BaseException) -> ApiError:
    """The answer for anything that can be raised while a request is served. What is not known here is a 500."""
    match error:
        case ApiError():
            return error
        case ProviderFailure():
            return from_failure(error)
        case HTTPException():
            detail = _STATUS_DETAILS.get(error.status_code, error.detail)
            return ApiError(error.status_code, detail, headers=error.headers)
        case DatabaseUnavailable() | ObjectStoreUnavailable():
            # No category: it is not the speech provider that failed.
            return ApiError(503, _UNAVAILABLE)
        case ActiveTaskExists():
            return ApiError(409, _ACTIVE_TASK)
        case RequestKeyTaken():
            return ApiError(409, _SAME_REQUEST)
        case UnknownUser():
            return ApiError(401, _NO_ACCOUNT, headers={"WWW-Authenticate": "Bearer"})
        case BaseExceptionGroup(exceptions=(single,)):
            return as_api_error(single)
        case _:
            return ApiError(500, _INTERNAL)


def error_body(detail: str) -> bytes:
    """The body of every error."""
    return msgspec.json.encode({"detail": detail})


def error_response(error: ApiError) -> Response:
    """The whole answer."""
    return Response(
        error_body(error.detail), status_code=error.status, headers=error.headers, media_type="application/json"
    )


async def _answer(_request: Request, error: Exception) -> Response:
    response = error_response(as_api_error(error))
    forget_frames(error)
    return response


def exception_handlers() -> dict[type[Exception], ExceptionHandler]:
    """For Starlette(exception_handlers=...). `Exception` is there because Starlette would answer in plain text."""
    kinds = (
        ApiError,
        ProviderFailure,
        HTTPException,
        DatabaseUnavailable,
        ObjectStoreUnavailable,
        ActiveTaskExists,
        RequestKeyTaken,
        UnknownUser,
        Exception,
    )
    return dict.fromkeys(kinds, _answer)
