"""An HTTP/1.1 client that costs next to nothing: one connection, one request, and what comes back, byte by byte.

A thousand of them have to fit beside what is measured; httpx takes as long for a piece as the gateway does.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from enum import Enum, auto
from typing import cast

MAX_HEAD_BYTES = 16 * 1024
"""Longer answers' heads are no answer of ours."""


class Reader(asyncio.Protocol):
    """Sends `request` and reads the answer to its end. `over` is done when the connection is.

    `complete` is whether the answer ended as HTTP says: a cut one never does. `arrivals` are times
    (`time.monotonic_ns`) and the bytes of the body until then, when `timed`. Without `digested`, which costs more than
    all else, there is no `sha256`.
    """

    def __init__(self, request: bytes, *, timed: bool = False, digested: bool = True) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.size = 0
        self.complete = False
        self.arrivals: list[tuple[int, int]] = []
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request = request
        self._timed = timed
        self._digested = digested
        self._digest = hashlib.sha256()
        self._head = b""
        self._body: Chunks | Length | None = None
        self._transport: asyncio.Transport | None = None

    @property
    def sha256(self) -> str:
        """Hex digest of the body so far."""
        return self._digest.hexdigest()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name
        self._transport.write(self._request)

    def half_close(self) -> None:
        """Say that nothing more will be sent; what is received from now on still counts."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write_eof()

    def leave(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._body is None:
            data = self._read_head(data)
        if self._body is None:
            return
        for piece in self._body.feed(data):
            self.size += len(piece)
            if self._digested:
                self._digest.update(piece)
        if self._timed:
            self.arrivals.append((time.monotonic_ns(), self.size))
        if self._body.ended:
            self.complete = True
            self.leave()

    def connection_lost(self, _error: Exception | None) -> None:
        for future in (self.answered, self.over):
            if not future.done():
                future.set_result(None)

    def _read_head(self, data: bytes) -> bytes:
        """What is left for the body."""
        self._head += data
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if not end:
            if len(head) > MAX_HEAD_BYTES:
                self.leave()
            return b""
        status, *fields = head.decode("latin-1").split("\r\n")
        self.status = int(status.split()[1])
        self.headers = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}
        length = self.headers.get("content-length")
        self._body = Chunks() if length is None else Length(int(length))
        self.answered.set_result(None)
        return rest


class Length:
    """A body of a known length."""

    def __init__(self, left: int) -> None:
        self._left = left

    @property
    def ended(self) -> bool:
        return self._left <= 0

    def feed(self, data: bytes) -> list[bytes]:
        """The next bytes of the body."""
        self._left -= len(data)
        return [data] if data else []


class _Part(Enum):
    SIZE = auto()
    DATA = auto()
    END_OF_DATA = auto()


class Chunks:
    """A chunked body (RFC 9112, 7.1) without extensions and trailers, which no answer of ours has."""

    def __init__(self) -> None:
        self.ended = False
        self._part = _Part.SIZE
        self._left = 0
        self._buffer = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The next bytes of the body, without their framing."""
        self._buffer += data
        pieces: list[bytes] = []
        while self._buffer and not self.ended and self._step(pieces):
            pass
        return pieces

    def _step(self, pieces: list[bytes]) -> bool:
        """Read one part. False when more has to come first."""
        match self._part:
            case _Part.SIZE:
                line, end, rest = self._buffer.partition(b"\r\n")
                if not end:
                    return False
                self._left, self._buffer, self._part = int(line, 16), rest, _Part.DATA
                self.ended = self._left == 0
            case _Part.DATA:
                piece, self._buffer = self._buffer[: self._left], self._buffer[self._left :]
                self._left -= len(piece)
                pieces.append(piece)
                if not self._left:
                    self._part = _Part.END_OF_DATA
            case _Part.END_OF_DATA:
                if len(self._buffer) < len(b"\r\n"):
                    return False
                self._buffer, self._part = self._buffer[len(b"\r\n") :], _Part.SIZE
        return True


def request_bytes(method: str, target: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    """An HTTP/1.1 request."""
    fields = {"Host": "gateway", **headers}
    if body:
        fields |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode() + body
