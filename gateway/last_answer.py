"""The last answer of a connection: to what never reaches the app, being no request, or too late, or too many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import h11
import structlog

from gateway.errors import RETRY_AFTER_SECONDS, error_body
from gateway.middleware.context import REQUEST_ID_HEADER, new_request_id

_DETAILS: Mapping[int, str] = {
    400: "The request could not be read as HTTP.",
    408: "The request did not arrive in time. Please try again.",
    431: "The request's headers are too large.",
    501: "The request uses a transfer encoding that this server does not know.",
    503: "This server has as many connections as it can hold. Please try again in a moment.",
}
_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.http")


def last_answer(status: int, headers: Sequence[tuple[bytes, bytes]]) -> tuple[h11.Response, h11.Data, h11.EndOfMessage]:
    """It as h11's events, with `headers` beside its own. Says in the log that there was one."""
    request_id = new_request_id()
    _log.info("http.unreadable", status=status, request_id=request_id)
    body = error_body(_DETAILS.get(status, _DETAILS[400]))
    own = {
        b"content-type": b"application/json",
        b"content-length": str(len(body)).encode(),
        b"connection": b"close",
        REQUEST_ID_HEADER.encode(): request_id.encode(),
    }
    if status == 503:
        own[b"retry-after"] = str(RETRY_AFTER_SECONDS).encode()
    return (
        h11.Response(status_code=status, headers=[*own.items(), *headers]),
        h11.Data(data=body),
        h11.EndOfMessage(),
    )


def last_bytes(status: int, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """It as bytes, where there was no request to answer."""
    machine = h11.Connection(h11.SERVER)
    return b"".join(machine.send(event) or b"" for event in last_answer(status, headers))
