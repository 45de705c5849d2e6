"""The official Python SDK plays a voice through: what that client accepts is the measure of faithful."""

from __future__ import annotations

import base64
import queue
import threading
from collections.abc import Iterator
from typing import Any

import dashscope
import numpy as np
import pytest
from dashscope.audio.qwen_tts_realtime import AudioFormat, QwenTtsRealtime, QwenTtsRealtimeCallback

from tests.support.emulator import VC_MODEL, Emulator

pytestmark = pytest.mark.integration

EVENT_SECONDS = 20.0
"""Longest wait for the next event before the test fails."""

TEXT = ("Good morning to everyone who is listening. ", "This is read aloud for the official client.")


class Listener(QwenTtsRealtimeCallback):
    """Collects what the SDK hands out on its own thread."""

    def __init__(self) -> None:
        self.events: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.seen: list[dict[str, Any]] = []
        self.closed = threading.Event()

    def on_event(self, message: Any) -> None:
        self.events.put(message)

    def on_close(self, *_: Any) -> None:
        self.closed.set()

    def wait_for(self, kind: str) -> dict[str, Any]:
        while True:
            event = self.events.get(timeout=EVENT_SECONDS)
            self.seen.append(event)
            assert event["type"] != "error", event
            if event["type"] == kind:
                return event

    @property
    def audio(self) -> bytes:
        deltas = [event["delta"] for event in self.seen if event["type"] == "response.audio.delta"]
        return b"".join(base64.b64decode(delta) for delta in deltas)


@pytest.fixture
def api_key(emulator: Emulator) -> Iterator[None]:
    """The SDK keeps the key in its module."""
    before, dashscope.api_key = dashscope.api_key, emulator.api_key
    yield
    dashscope.api_key = before


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def client(emulator: Emulator, listener: Listener, api_key: None) -> Iterator[Any]:
    client = QwenTtsRealtime(VC_MODEL, callback=listener, url=emulator.realtime_url)
    client.connect()
    yield client
    client.close()
    assert listener.closed.wait(EVENT_SECONDS)
    client.thread.join(EVENT_SECONDS)


def test_server_commit(emulator: Emulator, client: Any, listener: Listener) -> None:
    client.update_session(emulator.clone("sdk"), AudioFormat.PCM_24000HZ_MONO_16BIT, language_type="English")
    for text in TEXT:
        client.append_text(text)
    client.finish()
    listener.wait_for("session.finished")
    assert client.get_session_id() == listener.seen[0]["session"]["id"]
    assert client.get_last_response_id().startswith("resp_")
    assert np.abs(np.frombuffer(listener.audio, dtype="<i2")).max() > 3000
    record = emulator.sessions()[-1]
    assert record["samples"] * 2 == len(listener.audio)
    assert record["outcome"] == "finished"


def test_commit(emulator: Emulator, client: Any, listener: Listener) -> None:
    client.update_session(emulator.clone("sdk"), AudioFormat.PCM_24000HZ_MONO_16BIT, mode="commit")
    for text in TEXT:
        client.append_text(text)
        client.commit()
        listener.wait_for("response.done")
    client.append_text("This is forgotten.")
    client.clear_appended_text()
    listener.wait_for("input_text_buffer.cleared")
    client.finish()
    listener.wait_for("session.finished")
    assert [event["type"] for event in listener.seen].count("response.created") == len(TEXT)
    assert emulator.sessions()[-1]["samples"] * 2 == len(listener.audio)
    assert emulator.sessions()[-1]["characters"] == sum(map(len, TEXT))


def test_mp3(emulator: Emulator, client: Any, listener: Listener) -> None:
    voice = emulator.clone("sdk")
    client.update_session(voice, audio_format="mp3", sample_rate=48000, bit_rate=64, speech_rate=1.2, volume=60)
    client.append_text("".join(TEXT))
    client.finish()
    listener.wait_for("session.finished")
    assert listener.audio[0] == 0xFF
    assert listener.audio[1] & 0xE0 == 0xE0
