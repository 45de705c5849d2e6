"""Calls an ASGI app in this process and keeps everything it said, also an answer without an end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message


@dataclass
class Answer:
    """What an app sent. `ended` is False when its last body message never came."""

    status: int | None = None
    headers: Headers = field(default_factory=Headers)
    body: bytes = b""
    ended: bool = False
    state: dict[str, Any] = field(default_factory=dict)


async def call(
    app: ASGIApp,
    method: str = "GET",
    path: str = "/",
    *,
    headers: Mapping[str, str] | None = None,
    body: Sequence[bytes] = (b"",),
    more_to_come: bool = False,
    http_version: str = "1.1",
    client: str = "127.0.0.1",
    query: str = "",
) -> Answer:
    """One request; its body arrives in the pieces of `body`. With `more_to_come` the rest never does."""
    messages: list[Message] = [{"type": "http.request", "body": piece, "more_body": True} for piece in body]
    messages[-1]["more_body"] = more_to_come
    answer = Answer()
    raw_headers = {"host": "utter.example", **(headers or {})}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.1"},
        "http_version": http_version,
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in raw_headers.items()],
        "client": (client, 50000),
        "server": ("127.0.0.1", 8080),
        "state": answer.state,
        "extensions": {},
    }

    async def receive() -> Message:
        if messages:
            return messages.pop(0)
        await anyio.sleep_forever()
        raise AssertionError("unreachable")

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            assert answer.status is None, "two answers to one request"
            answer.status = message["status"]
            answer.headers = Headers(raw=list(message["headers"]))
        else:
            assert answer.status is not None, "a body before its status"
            assert not answer.ended, "a body after its end"
            answer.body += message.get("body", b"")
            answer.ended = not message.get("more_body", False)

    await app(scope, receive, send)
    return answer
