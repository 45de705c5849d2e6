"""What every route asks of its request: who calls, which row, which page."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import structlog
from starlette.requests import Request

from gateway.auth import User
from gateway.errors import ApiError
from gateway.services import Services
from schema.body import BodyError, refuse_nul
from schema.javascript import is_uuid, page_number, trim

DEFAULT_PER_PAGE = 20
MAX_PER_PAGE = 100


@dataclass(frozen=True, slots=True)
class Paging:
    """Which page of a list, from 1, and how long a page is."""

    page: int
    per_page: int


def services_of(request: Request) -> Services:
    """The parts of the running gateway."""
    services: Services = request.app.state.services
    return services


def caller(request: Request) -> User:
    """The signed-in user. Raises Unauthorized (401); call it before looking at anything else (v1 contract 1.0)."""
    user = services_of(request).authenticator.verify(request.headers.get("authorization"))
    request.state.caller = user  # whose objects `gateway.routes.links` may sign for
    return user


def path_id(request: Request, name: str, what: str) -> UUID:
    """The id in the path, from now on also on the request's log lines under its `name`.

    A malformed one belongs to no row, so it is a 404 like an unknown one (product section 4).
    """
    text: str = request.path_params[name]
    if not is_uuid(text):
        raise unknown(what)
    found = UUID(text)
    structlog.contextvars.bind_contextvars(**{name: str(found)})
    return found


def unknown(what: str) -> ApiError:
    """404 for a row that is not there, or not the caller's: the two must look alike."""
    return ApiError(404, f"This {what} does not exist. It may have been deleted.")


def paging(request: Request) -> Paging:
    """`page` and `per_page` with v1's defaults and reading of numbers (v1 contract 1.0)."""
    query = request.query_params
    per_page = page_number(query.get("per_page"), DEFAULT_PER_PAGE)
    return Paging(page=page_number(query.get("page"), 1), per_page=min(per_page, MAX_PER_PAGE))


def filter_text(request: Request, name: str) -> str | None:
    """A trimmed query parameter, None when missing or blank. Raises ApiError 400 for a NUL character."""
    value = request.query_params.get(name, "")
    try:
        refuse_nul(value, name)
    except BodyError as error:
        raise ApiError(400, str(error)) from error
    return trim(value) or None


def belongs_to(owner: UUID, object_key: str) -> bool:
    """Whether `owner` may be given a link to the object: its key begins with their id (product section 9)."""
    return object_key.startswith(f"{owner}/")
