"""A row's request as it goes over the wire, and what every answer must carry."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import httpx

from tests.contract.rows import AUDIO, CATEGORY_OF_STATUS, ERROR, EVENTS, NOTHING, File, Form, Raw, Row
from tests.contract.shapes import Made, Shape, complaint
from tests.contract.things import Names
from tests.contract.world import User, World

API, SUPABASE = "/api", "/functions/v1/api"
"""The two mounts (1.0)."""

ALLOWED_METHODS = {"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"}
ALLOWED_HEADERS = {
    *("authorization", "x-client-info", "apikey", "content-type"),
    *("idempotency-key", "traceparent", "range"),
}
EXPOSED_HEADERS = {
    *("x-utter-provider", "x-utter-generation-id", "x-utter-task-id", "x-utter-stream-url", "x-utter-error-category"),
    *("x-request-id", "retry-after", "server-timing", "repr-digest", "content-range", "accept-ranges"),
}
"""Sections 1.0 of the contract and 4 of the product."""

VALIDATION, REJECTED, UNAVAILABLE, TIMEOUT, CANCELLED = (
    "validation",
    "provider_rejected",
    "provider_unavailable",
    "timeout",
    "cancelled",
)
"""The values of `X-Utter-Error-Category` (product section 4)."""

VENDOR_WORDS = ("dashscope", "emulat", "traceback", "asyncpg", "websocket", "api-key", "apikey", "http://", "errno")
"""None of which may reach a user: provider text never does raw (product section 4)."""


def make_things(world: World, owner: User, row: Row) -> Names:
    """The ids of what the row needs; in capitals too, for ids in upper case."""
    made = {"owner": str(owner.id), "mode": world.mode}
    for name, thing in row.given.items():
        made[name] = thing.make(world, owner, made)
        made[name.upper()] = made[name].upper()
    return made


def ask(world: World, user: User | None, row: Row, made: Names, mount: str = API, method: str = "") -> httpx.Response:
    """Send the row's request as `user`."""
    path = row.path.format(**made)
    # A signed link has its mount in it.
    target = path if path.startswith("/api/") else mount + path
    return world.ask(user, method or row.method, target, **content(row, made))


def content(row: Row, made: Names) -> dict[str, Any]:
    """The body and headers, as httpx takes them."""
    body, sends = row.body, dict(row.sends)
    if body is None:
        return {"headers": sends}
    if isinstance(body, Raw):
        return {"content": body.content, "headers": sends | _type(body.content_type)}
    if isinstance(body, Form):
        return {"files": [(name, _part(part, made)) for name, part in body.parts.items()], "headers": sends}
    return {"json": filled_in(body, made), "headers": sends}


def filled_in(value: Any, made: Names) -> Any:
    """`value` with the made things' ids where it names them."""
    if isinstance(value, Made):
        return value.template.format(**made)
    if isinstance(value, Mapping):
        return {name: filled_in(item, made) for name, item in value.items()}
    if isinstance(value, list):
        return [filled_in(item, made) for item in value]
    return value


def check(answer: httpx.Response, row: Row, made: Names, *, status: int, shape: Shape) -> None:
    """The whole answer: status, headers, fields."""
    assert answer.status_code == status, f"{answer.status_code} instead of {status}: {answer.text[:300]}"
    category = row.expected_category if status == row.status else CATEGORY_OF_STATUS.get(status)
    check_headers(answer, category=category, cors=row.answers.get("Access-Control-Allow-Origin", "*") == "*")
    if status >= 400:
        wanted = shape if status == row.status and shape is not None else ERROR
        assert complaint(_json(answer), wanted) is None, answer.text
    elif shape is NOTHING:
        assert answer.content == b""
    elif shape is AUDIO:
        assert answer.headers["Content-Type"] in {"audio/mpeg", "audio/wav"}
        assert answer.content
    elif shape is EVENTS:
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert re.fullmatch(r'retry: \d+\n\nevent: task\ndata: {.*"status":"(completed|failed)".*}\n\n', answer.text)
    else:
        found = complaint(_json(answer), filled_in(shape, made))
        assert found is None, found
    if status == row.status:
        for name, wanted in filled_in(row.answers, made).items():
            found = complaint(answer.headers.get(name), wanted, name)
            assert found is None, found


def check_headers(answer: httpx.Response, *, category: str | None, cors: bool = True) -> None:
    """What every answer carries, whoever asked for whatever."""
    headers, status = answer.headers, answer.status_code
    assert headers["X-Request-Id"]
    assert headers.get("X-Utter-Error-Category") == category
    signed_link = "/objects/" in answer.url.path or "token=" in str(answer.url)
    assert headers.get("WWW-Authenticate") == ("Bearer" if status == 401 and not signed_link else None)
    if status == 503:
        assert int(headers["Retry-After"]) > 0
    else:
        assert "Retry-After" not in headers
    if not cors:
        assert not [name for name in headers if name.startswith("access-control-")]
        return
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert _listed(headers["Access-Control-Allow-Methods"].upper()) == {name.lower() for name in ALLOWED_METHODS}
    assert _listed(headers["Access-Control-Allow-Headers"]) >= ALLOWED_HEADERS
    assert _listed(headers["Access-Control-Expose-Headers"]) >= EXPOSED_HEADERS
    assert headers["Access-Control-Max-Age"] == "86400"
    assert headers["Timing-Allow-Origin"] == "*"


def assert_told(answer: httpx.Response, status: int, category: str | None) -> None:
    """The one shape of every error, in words for people."""
    assert answer.status_code == status, answer.text
    check_headers(answer, category=category)  # which knows when there is a Retry-After
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json().keys() == {"detail"}
    detail = answer.json()["detail"]
    assert len(detail) > 10
    assert not [word for word in VENDOR_WORDS if word in detail.lower()], detail


def _listed(header: str) -> set[str]:
    return {name.strip().lower() for name in header.split(",")}


def _json(answer: httpx.Response) -> Any:
    assert answer.headers["Content-Type"] == "application/json", answer.headers["Content-Type"]
    return answer.json()


def _type(content_type: str | None) -> dict[str, str]:
    return {} if content_type is None else {"Content-Type": content_type}


def _part(part: str | bytes | File | Made, made: Names) -> tuple[str | None, bytes, str] | tuple[None, bytes]:
    if isinstance(part, File):
        return part.name, part.content, part.content_type
    text = part.template.format(**made) if isinstance(part, Made) else part
    return None, text.encode() if isinstance(text, str) else text
