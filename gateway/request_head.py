"""What the head of a request may be, beyond what h11 demands.

Two readings of one request are how one is smuggled past a proxy (RFC 9112, 11.2), so a body whose length is said in
two ways is refused where the standard merely prefers one of them. And a head is measured before h11 reads it: h11
applies its limit to one that is still incomplete only, and takes a millisecond and more over some thousand headers.
"""

from __future__ import annotations

import re

import h11

MAX_REQUEST_HEAD_BYTES = 16 * 1024
"""Request line and headers. An access token is 1 to 4 kB; nginx and Apache allow 8 kB for a line."""

MAX_REQUEST_HEADERS = 100
"""Headers of one request, Apache's default (`LimitRequestFields`). Browsers behind two proxies send about 40."""

_END = re.compile(rb"\n\r?\n")
"""Of a head, as h11 finds it."""


class StrictConnection(h11.Connection):
    """h11's server side, which refuses such a head as it refuses what is no HTTP, now and ever after."""

    def __init__(self, max_incomplete_event_size: int) -> None:
        super().__init__(h11.SERVER, max_incomplete_event_size)
        self._refusal: tuple[str, int] | None = None

    @property
    def they_are_waiting_for_100_continue(self) -> bool:
        """False: Hypercorn would send the 100 before anybody has looked at the request. See `gateway.connection`."""
        return False

    def next_event(self) -> h11.Event | type[h11.NEED_DATA | h11.PAUSED]:
        """As h11's. Raises h11.RemoteProtocolError, with the status to answer as its hint."""
        if self._refusal is None and self.their_state is h11.IDLE:
            self._refusal = _too_large(self.trailing_data[0])
        event = self._read() if self._refusal is None else h11.NEED_DATA
        if isinstance(event, h11.Request):
            self._refusal = _ambiguous(event)
        if self._refusal is not None:
            raise h11.RemoteProtocolError(*self._refusal)
        return event

    def _read(self) -> h11.Event | type[h11.NEED_DATA | h11.PAUSED]:
        try:
            return super().next_event()
        except h11.RemoteProtocolError as error:
            error.__traceback__ = None  # h11 raises it from a method of its own: a cycle with that method's frame
            self._refusal = str(error), error.error_status_hint
            return h11.NEED_DATA


def _too_large(received: bytes) -> tuple[str, int] | None:
    """Reason and status where a head is in `received`, or the beginning of one, that is more than we read."""
    end = _END.search(received)
    head = received[: end.start()] if end else received
    if len(head) > MAX_REQUEST_HEAD_BYTES or head.count(b"\n") > MAX_REQUEST_HEADERS:
        return "the head is too large", 431
    return None


def _ambiguous(request: h11.Request) -> tuple[str, int] | None:
    """Reason and status where somebody else could see another end of this request."""
    names = {name for name, _ in request.headers}
    if b"transfer-encoding" not in names:
        return None
    if b"content-length" in names:
        return "the body's length is said in two ways", 400
    if request.http_version < b"1.1":  # RFC 9112, 6.1: its framing is faulty
        return "HTTP/1.0 has no transfer encodings", 400
    return None
