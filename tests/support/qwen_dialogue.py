"""The vendor's half of a session, written out by hand from the protocol reference (1.4, 1.6).

Independent of `protocol.server_session` on purpose: what both were wrong about together would not be found.
"""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Iterable
from typing import Any

import lameenc

from tests.support.websocket_servers import Peer, Script

SESSION_ID = "sess_F00000000000000000000"
SAMPLE_RATE = 24_000
DELTA_BYTES = 5_000
"""About 0.3 s of 128 kbit/s MP3, and not a multiple of its frames (protocol reference 1.9)."""

MP3_CHARACTERS_BILLED = 7


def tone_pcm(seconds: float, hertz: float = 440.0) -> bytes:
    """Signed 16-bit mono samples at `SAMPLE_RATE`."""
    count = int(seconds * SAMPLE_RATE)
    step = 2 * math.pi * hertz / SAMPLE_RATE
    return struct.pack(f"<{count}h", *(int(12_000 * math.sin(step * index)) for index in range(count)))


def tone_mp3(seconds: float, hertz: float = 440.0) -> bytes:
    """MPEG frames without any tag."""
    encoder = lameenc.Encoder()
    encoder.set_in_sample_rate(SAMPLE_RATE)
    encoder.set_channels(1)
    encoder.set_bit_rate(128)
    encoder.silence()
    return bytes(encoder.encode(tone_pcm(seconds, hertz)) + encoder.flush())


AUDIO_SECONDS = 1.0
AUDIO = tone_mp3(AUDIO_SECONDS)
"""What `speaks` sends."""
FRAME = AUDIO[:384]
"""One frame of it: 24 ms at 128 kbit/s."""


def event(kind: str, **fields: Any) -> str:
    """One server event as text."""
    return json.dumps({"event_id": f"event_{kind}", "type": kind, **fields})


def greet(peer: Peer) -> None:
    """`session.created`, which the server sends by itself."""
    session = {"object": "realtime.session", "id": SESSION_ID, "mode": "server_commit", "model": "m", "voice": "Cherry"}
    peer.send(event("session.created", session=session))


def read_flight(peer: Peer) -> list[dict[str, Any]]:
    """All client events up to and including `session.finish`."""
    flight: list[dict[str, Any]] = []
    while not flight or flight[-1]["type"] != "session.finish":
        flight.append(json.loads(peer.receive()))
    return flight


def accept(peer: Peer, flight: list[dict[str, Any]]) -> None:
    """`session.updated`, with the language lower-cased as the vendor does."""
    asked = flight[0]["session"]
    echo = {**asked, "id": SESSION_ID, "object": "realtime.session", "language_type": asked["language_type"].lower()}
    peer.send(event("session.updated", session=echo))


def begin(peer: Peer) -> list[dict[str, Any]]:
    """Greet, read the flight, accept it."""
    greet(peer)
    flight = read_flight(peer)
    accept(peer, flight)
    return flight


def deltas(audio: bytes, size: int = DELTA_BYTES) -> list[bytes]:
    """`audio` in pieces of `size` bytes."""
    return [audio[start : start + size] for start in range(0, len(audio), size)]


def open_response(peer: Peer, response: str) -> None:
    """The three events before the first delta."""
    body = {"id": response, "object": "realtime.response", "conversation_id": "", "status": "in_progress", "output": []}
    item = {"id": f"item_{response}", "object": "realtime.item", "type": "message", "status": "in_progress"}
    part = {"type": "audio", "text": ""}
    peer.send(event("response.created", response=body))
    peer.send(event("response.output_item.added", response_id=response, output_index=0, item=item))
    peer.send(event("response.content_part.added", response_id=response, item_id=item["id"], output_index=0, part=part))


def send_delta(peer: Peer, response: str, audio: bytes) -> None:
    """One `response.audio.delta`."""
    encoded = base64.b64encode(audio).decode()
    peer.send(event("response.audio.delta", response_id=response, item_id=f"item_{response}", delta=encoded))


def close_response(peer: Peer, response: str, *, status: str = "completed") -> None:
    """The four events after the last delta."""
    usage = {"characters": MP3_CHARACTERS_BILLED}
    body = {"id": response, "object": "realtime.response", "conversation_id": "", "status": status, "usage": usage}
    peer.send(event("response.audio.done", response_id=response))
    peer.send(event("response.content_part.done", response_id=response))
    peer.send(event("response.output_item.done", response_id=response))
    peer.send(event("response.done", response=body))


def respond(peer: Peer, response: str, pieces: Iterable[bytes], *, status: str = "completed") -> None:
    """One whole response."""
    open_response(peer, response)
    for piece in pieces:
        send_delta(peer, response, piece)
    close_response(peer, response, status=status)


def wait_for_goodbye(peer: Peer) -> None:
    """Stay open until the client closes, as the vendor was recorded to do (protocol reference 1.8)."""
    while True:
        peer.receive()


def finish(peer: Peer) -> None:
    """`session.finished`, then wait."""
    peer.send(event("session.finished"))
    wait_for_goodbye(peer)


def speaks(peer: Peer) -> None:
    """A whole good session: one response with `AUDIO`."""
    begin(peer)
    respond(peer, "resp_1", deltas(AUDIO))
    finish(peer)


def responds(*pieces: bytes, status: str = "completed") -> Script:
    """A session of one response with these deltas."""

    def script(peer: Peer) -> None:
        begin(peer)
        respond(peer, "resp_1", pieces, status=status)
        finish(peer)

    return script


def stalls_before_audio(peer: Peer) -> None:
    """Nothing comes after the configuration."""
    begin(peer)
    wait_for_goodbye(peer)


def stalls_in_the_middle(peer: Peer) -> None:
    """One delta, then nothing."""
    begin(peer)
    open_response(peer, "resp_1")
    send_delta(peer, "resp_1", AUDIO)
    wait_for_goodbye(peer)


def drips_for_ever(peer: Peer) -> None:
    """Delta after delta, each a frame, no end."""
    begin(peer)
    open_response(peer, "resp_1")
    while True:
        send_delta(peer, "resp_1", FRAME)


def cuts_at_once(peer: Peer) -> None:
    """The socket ends before the first message."""
    peer.cut()
