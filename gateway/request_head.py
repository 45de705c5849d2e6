"""What the head of a request may be, beyond what h11 demands.

Two readings of one request are how one is smuggled past a proxy (RFC 9112, 11.2), so a body whose length is said in
two ways is refused where the standard merely prefers one of them. And h11 applies its size limit to a head that is
still incomplete only: what arrives whole in one read would pass at any size.
"""

from __future__ import annotations

import h11

MAX_REQUEST_HEAD_BYTES = 16 * 1024
"""Request line and headers. An access token is 1 to 4 kB; nginx and Apache allow 8 kB for a line."""

MAX_REQUEST_HEADERS = 100
"""Headers of one request, Apache's default (`LimitRequestFields`). Browsers behind two proxies send about 40."""

_LINE_BYTES = len("  HTTP/\r\n")
"""Of a request line, beside method, target and version."""

_HEADER_BYTES = len(": \r\n")
"""Of a header, beside name and value."""


class StrictConnection(h11.Connection):
    """h11's server side, which refuses such a head as it refuses what is no HTTP, now and ever after."""

    def __init__(self, max_incomplete_event_size: int) -> None:
        super().__init__(h11.SERVER, max_incomplete_event_size)
        self._refusal: tuple[str, int] | None = None

    @property
    def they_are_waiting_for_100_continue(self) -> bool:
        """False: Hypercorn would send the 100 before anybody has looked at the request. See `gateway.http1`."""
        return False

    def next_event(self) -> h11.Event | type[h11.NEED_DATA | h11.PAUSED]:
        """As h11's. Raises h11.RemoteProtocolError, with the status to answer as its hint."""
        event = super().next_event() if self._refusal is None else h11.NEED_DATA
        if isinstance(event, h11.Request):
            self._refusal = _refusal(event)
        if self._refusal is not None:
            raise h11.RemoteProtocolError(*self._refusal)
        return event


def _refusal(request: h11.Request) -> tuple[str, int] | None:
    """Reason and status, None where there is nothing to refuse."""
    headers = request.headers.raw_items()
    size = len(request.method) + len(request.target) + len(request.http_version) + _LINE_BYTES
    size += sum(len(name) + len(value) + _HEADER_BYTES for name, value in headers)
    if size > MAX_REQUEST_HEAD_BYTES or len(headers) > MAX_REQUEST_HEADERS:
        return "the head is too large", 431
    names = {name.lower() for name, _ in headers}
    if b"transfer-encoding" not in names:
        return None
    if b"content-length" in names:
        return "the body's length is said in two ways", 400
    if request.http_version < b"1.1":  # RFC 9112, 6.1: its framing is faulty
        return "HTTP/1.0 has no transfer encodings", 400
    return None
