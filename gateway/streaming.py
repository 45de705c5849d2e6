"""An `AudioLog` as an HTTP response: bytes go out as soon as they exist.

A clean end (the last chunk) means that the provider finished. A failure is a connection closed without the last chunk,
so that no client can mistake half a speech for a whole one: curl exits with 18.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from starlette.types import Receive, Scope, Send

from gateway.audio_log import AudioLog
from gateway.metrics import LISTENERS
from gateway.push import Push, push_of
from gateway.sending import send_while_connected
from protocol.errors import ProviderFailure


class AudioLogResponse:
    """ASGI response that follows `log` from `offset` (bytes) to its end.

    The caller has awaited `log.wait_for(offset)`, so that whatever fails before the first byte was still a JSON
    error. `stall_seconds` bounds every single write; `on_end` is called when nothing more will be sent.
    """

    def __init__(
        self,
        log: AudioLog,
        *,
        offset: int,
        headers: Mapping[str, str],
        stall_seconds: float,
        on_end: Callable[[], None],
    ) -> None:
        self._log = log
        self._on_end = on_end
        self._offset = offset
        self._stall_seconds = stall_seconds
        self._headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in {"content-type": "audio/mpeg", "cache-control": "no-store", **headers}.items()
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with LISTENERS.track_inprogress():
                await send_while_connected(
                    partial(self._send_all, push_of(scope)),
                    scope,
                    receive,
                    send,
                    stall_seconds=self._stall_seconds,
                    cut_by=(ProviderFailure,),
                )
        finally:
            self._on_end()

    async def _send_all(self, push: Push | None, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self._headers})
        async for piece in self._log.read(self._offset, push):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
