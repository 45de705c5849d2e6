"""What most people would write: Starlette on uvicorn, the provider by `websockets`, events by `json`."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route
from websockets.asyncio.client import connect

from bench.peers.options import HOST, MODEL, opening_flight, port, provider


async def speak(voice: str, text: str, language: str) -> AsyncIterator[bytes]:
    """Audio as it arrives. Raises RuntimeError for an error of the provider's."""
    upstream = provider()
    async with connect(f"{upstream.url}?model={MODEL}", additional_headers=upstream.headers) as socket:
        for event in opening_flight(voice, text, language):
            await socket.send(json.dumps(event))
        async for message in socket:
            event = json.loads(message)
            if event["type"] == "response.audio.delta":
                yield base64.b64decode(event["delta"])
            elif event["type"] == "error":
                raise RuntimeError(event["error"]["message"])
            elif event["type"] == "session.finished":
                return


async def stream(request: Request) -> StreamingResponse:
    """`POST /stream`."""
    body = await request.json()
    return StreamingResponse(speak(body["voice_id"], body["text"], body["language"]), media_type="audio/mpeg")


app = Starlette(routes=[Route("/stream", stream, methods=["POST"])])

if __name__ == "__main__":
    # As `uvicorn[standard]` runs it: uvloop and httptools.
    uvicorn.run(app, host=HOST, port=port(), log_level="warning", loop="uvloop", http="httptools")
