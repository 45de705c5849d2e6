"""HTTP over a plain socket, byte by byte as a test wants it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from anyio.abc import ByteReceiveStream
from anyio.streams.buffered import BufferedByteReceiveStream
from starlette.datastructures import Headers

MAX_HEAD_BYTES = 65536


@dataclass(frozen=True)
class HttpAnswer:
    """An answer with a Content-Length."""

    status: int
    headers: Headers
    json: dict[str, Any]


class Reader:
    """Reads what a connection or a pipe delivers, piece by piece."""

    def __init__(self, source: ByteReceiveStream) -> None:
        self._source = BufferedByteReceiveStream(source)

    async def line(self) -> bytes:
        return await self._source.receive_until(b"\n", MAX_HEAD_BYTES)

    async def answer(self) -> HttpAnswer:
        status_line, *fields = (await self._source.receive_until(b"\r\n\r\n", MAX_HEAD_BYTES)).split(b"\r\n")
        pairs = [field.split(b": ", 1) for field in fields]
        headers = Headers(raw=[(name.lower(), value) for name, value in pairs])
        body = await self._source.receive_exactly(int(headers["content-length"]))
        return HttpAnswer(int(status_line.split()[1]), headers, json.loads(body))
