"""The vendor's own Python SDK behind a FastAPI route. It calls back on a thread of its own, one per session."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import dashscope
import uvicorn
from dashscope.audio.qwen_tts_realtime import AudioFormat, QwenTtsRealtime, QwenTtsRealtimeCallback
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from bench.peers.options import HOST, MODEL, port, provider


class Speech(BaseModel):
    """The body of `POST /stream`."""

    voice_id: str
    text: str
    language: str = "Auto"


class Callback(QwenTtsRealtimeCallback):
    """Hands audio over to the event loop; None is the end."""

    def __init__(self) -> None:
        super().__init__()
        self.audio: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def on_event(self, message: Any) -> None:
        """On the SDK's thread."""
        if message["type"] == "response.audio.delta":
            self._put(base64.b64decode(message["delta"]))
        elif message["type"] in ("session.finished", "error"):
            self._put(None)

    def on_close(self, _close_status_code: int | None, _close_msg: str | None) -> None:
        """On the SDK's thread, also where the provider vanished."""
        self._put(None)

    def _put(self, audio: bytes | None) -> None:
        self._loop.call_soon_threadsafe(self.audio.put_nowait, audio)


def begin(callback: Callback, speech: Speech) -> Any:
    """Open a session and say everything; blocks, as the SDK does."""
    client = QwenTtsRealtime(MODEL, callback=callback, url=provider().url)
    client.connect()
    client.update_session(
        voice=speech.voice_id,
        response_format=AudioFormat.PCM_24000HZ_MONO_16BIT,
        audio_format="mp3",
        mode="server_commit",
        language_type=speech.language,
    )
    client.append_text(speech.text)
    client.finish()
    return client


app = FastAPI()


@app.post("/stream")
async def stream(speech: Speech) -> StreamingResponse:
    """`POST /stream`."""

    async def speak() -> AsyncIterator[bytes]:
        callback = Callback()
        client = await asyncio.to_thread(begin, callback, speech)
        try:
            while (audio := await callback.audio.get()) is not None:
                yield audio
        finally:
            await asyncio.to_thread(client.close)

    return StreamingResponse(speak(), media_type="audio/mpeg")


if __name__ == "__main__":
    dashscope.api_key = provider().key
    uvicorn.run(app, host=HOST, port=port(), log_level="warning", loop="uvloop", http="httptools")
