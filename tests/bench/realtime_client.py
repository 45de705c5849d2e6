"""A plain realtime client on the `websockets` library: it knows JSON and nothing of our protocol code."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.support.emulator import VC_MODEL, Emulator

RECEIVE_SECONDS = 20.0
"""Longest wait for the next event before the test fails."""

RESPONSE = [
    "response.created",
    "response.output_item.added",
    "response.content_part.added",
    "response.audio.delta",
    "response.audio.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.done",
]
"""The events of one response, as recorded (protocol reference 1.5); any number of deltas."""


@dataclass
class Heard:
    """Everything a session sent, and when it came (time.monotonic)."""

    events: list[dict[str, Any]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.events]

    @property
    def audio(self) -> bytes:
        return b"".join(base64.b64decode(event["delta"]) for event in self.deltas)

    @property
    def deltas(self) -> list[dict[str, Any]]:
        return self.of("response.audio.delta")

    @property
    def delta_times(self) -> list[float]:
        kinds = zip(self.types, self.times, strict=True)
        return [at for kind, at in kinds if kind == "response.audio.delta"]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind]


class Client:
    """One socket."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.heard = Heard()

    def send(self, kind: str, **fields: Any) -> None:
        self.socket.send(json.dumps({"type": kind, "event_id": f"event_{kind}", **fields}))

    def update(self, voice: str, **session: Any) -> None:
        settings = {"voice": voice, "mode": "server_commit", "response_format": "pcm", "sample_rate": 24000}
        self.send("session.update", session=settings | session)

    def append(self, text: str) -> None:
        self.send("input_text_buffer.append", text=text)

    def receive(self) -> dict[str, Any]:
        """Next event; raises websockets' ConnectionClosed at the end, TimeoutError when nothing comes."""
        message = self.socket.recv(RECEIVE_SECONDS)
        event: dict[str, Any] = json.loads(message)
        self.heard.events.append(event)
        self.heard.times.append(time.monotonic())
        return event

    def receive_until(self, kind: str) -> dict[str, Any]:
        while (event := self.receive())["type"] != kind:
            pass
        return event


@contextmanager
def dial(emulator: Emulator, model: str = VC_MODEL, *, faults: str = "", key: str | None = None) -> Iterator[Client]:
    """Open a session's socket. Raises websockets' InvalidStatus when the upgrade is refused."""
    headers = {"Authorization": f"Bearer {emulator.api_key if key is None else key}"}
    if faults:
        headers["X-Emulator-Fault"] = faults
    with connect(
        f"{emulator.realtime_url}?model={model}",
        additional_headers=headers,
        proxy=None,
        compression=None,
        max_size=8 * 1024 * 1024,
        close_timeout=2,
    ) as socket:
        yield Client(socket)


def speak(
    emulator: Emulator,
    voice: str,
    text: str,
    model: str = VC_MODEL,
    *,
    faults: str = "",
    **session: Any,
) -> Heard:
    """Everything in one flight, then listen until session.finished."""
    with dial(emulator, model, faults=faults) as client:
        client.update(voice, **session)
        client.append(text)
        client.send("session.finish")
        client.receive_until("session.finished")
        return client.heard
