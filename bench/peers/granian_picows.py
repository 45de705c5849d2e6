"""The floor: raw ASGI on granian, whose HTTP is Rust, and the provider by picows, whose frames are Cython."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec
from granian import Granian
from granian.constants import Interfaces, Loops
from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from bench.peers.options import HOST, MODEL, Speech, opening_flight, port, provider

Message = MutableMapping[str, Any]

_HEADERS = [(b"content-type", b"audio/mpeg")]


class Event(msgspec.Struct):
    """All that is read of an event; msgspec turns base64 into bytes while it parses."""

    type: str
    delta: bytes = b""


_decode = msgspec.json.Decoder(Event).decode
_decode_body = msgspec.json.Decoder(Speech).decode


class Session(WSListener):
    """Puts audio into a queue; None is the end."""

    def __init__(self, speech: Speech) -> None:
        super().__init__()
        self.audio: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._flight = [
            msgspec.json.encode(event) for event in opening_flight(speech.voice_id, speech.text, speech.language)
        ]

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Say everything at once."""
        for event in self._flight:
            transport.send(WSMsgType.TEXT, event)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take one event of the provider's."""
        if frame.msg_type is not WSMsgType.TEXT:
            return
        event = _decode(frame.get_payload_as_memoryview())
        if event.type == "response.audio.delta":
            self.audio.put_nowait(event.delta)
        elif event.type in ("session.finished", "error"):
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()

    def on_ws_disconnected(self, _transport: WSTransport) -> None:
        """The provider vanished, or we let it go."""
        self.audio.put_nowait(None)


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """`POST /stream`, whatever the path."""
    if scope["type"] != "http":
        return
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    upstream = provider()
    session = Session(_decode_body(body))
    await ws_connect(lambda: session, f"{upstream.url}?model={MODEL}", extra_headers=upstream.headers)
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    while (audio := await session.audio.get()) is not None:
        await send({"type": "http.response.body", "body": audio, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


if __name__ == "__main__":
    Granian(
        "bench.peers.granian_picows:app",
        address=HOST,
        port=port(),
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        log_enabled=False,
    ).serve()
