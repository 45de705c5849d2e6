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

from tests.bench.realtime_client import RESPONSE
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
        self.close_code: int | None = None
        self.close_reason: str | None = None

    def on_event(self, message: Any) -> None:
        self.events.put(message)

    def on_close(self, close_status_code: int | None, close_msg: str | None) -> None:
        self.close_code, self.close_reason = close_status_code, close_msg
        self.closed.set()

    def wait_for(self, kind: str) -> dict[str, Any]:
        while True:
            event = self.events.get(timeout=EVENT_SECONDS)
            self.seen.append(event)
            assert kind == "error" or event["type"] != "error", event
            if event["type"] == kind:
                return event

    @property
    def types(self) -> list[str]:
        """In order, a run of deltas as one."""
        kinds = [event["type"] for event in self.seen]
        return [kind for at, kind in enumerate(kinds) if at == 0 or kind != kinds[at - 1]]

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
    websocket: Any = client.ws
    connection = websocket.sock.sock
    yield client
    if websocket.sock is not None:
        # A goodbye first: close() alone takes the socket from under the SDK's reader, which then waits for 10 s.
        websocket.sock.send_close()
        listener.closed.wait(EVENT_SECONDS)
    client.close()
    assert listener.closed.wait(EVENT_SECONDS)
    client.thread.join(EVENT_SECONDS)
    connection.close()  # after a close code that it takes for an error, the SDK's WebSocket library does not


def test_server_commit(emulator: Emulator, client: Any, listener: Listener) -> None:
    client.update_session(emulator.clone("sdk"), AudioFormat.PCM_24000HZ_MONO_16BIT, language_type="English")
    for text in TEXT:
        client.append_text(text)
    client.finish()
    listener.wait_for("session.finished")
    assert client.get_session_id() == listener.seen[0]["session"]["id"]
    assert client.get_last_response_id().startswith("resp_")
    assert listener.types == ["session.created", "session.updated", *RESPONSE, "session.finished"]
    assert client.get_first_audio_delay() > 0
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
    one = ["input_text_buffer.committed", *RESPONSE]
    after = ["input_text_buffer.cleared", "session.finished"]
    assert listener.types == ["session.created", "session.updated", *one * len(TEXT), *after]
    responses = [event["response"]["id"] for event in listener.seen if event["type"] == "response.done"]
    assert len(set(responses)) == len(TEXT)
    assert emulator.sessions()[-1]["samples"] * 2 == len(listener.audio)
    assert emulator.sessions()[-1]["characters"] == sum(map(len, TEXT))


def test_server_commit_with_commits_and_a_clear(emulator: Emulator, client: Any, listener: Listener) -> None:
    client.update_session(emulator.clone("sdk"), AudioFormat.PCM_24000HZ_MONO_16BIT)
    for text in ("No full stop here", "Nor is there one here"):
        client.append_text(text)
        client.commit()
        listener.wait_for("response.done")
    client.append_text("This is forgotten")
    client.clear_appended_text()
    listener.wait_for("input_text_buffer.cleared")
    client.finish()
    listener.wait_for("session.finished")
    one = ["input_text_buffer.committed", *RESPONSE]
    after = ["input_text_buffer.cleared", "session.finished"]
    assert listener.types == ["session.created", "session.updated", *one, *one, *after]
    assert emulator.sessions()[-1]["characters"] == len("No full stop here") + len("Nor is there one here")


@pytest.mark.parametrize("mode", ["server_commit", "commit"])
def test_an_empty_commit_is_an_error_that_the_session_survives(
    emulator: Emulator, client: Any, listener: Listener, mode: str
) -> None:
    client.update_session(emulator.clone("sdk"), AudioFormat.PCM_24000HZ_MONO_16BIT, mode=mode)
    client.commit()
    error = listener.wait_for("error")["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_value")
    client.append_text(TEXT[0])
    client.commit()
    listener.wait_for("response.done")
    client.finish()
    listener.wait_for("session.finished")


@pytest.mark.parametrize("mode", ["server_commit", "commit"])
def test_a_voice_that_nobody_made_is_an_error_event(client: Any, listener: Listener, mode: str) -> None:
    client.update_session("nobody", AudioFormat.PCM_24000HZ_MONO_16BIT, mode=mode)
    error = listener.wait_for("error")["error"]
    assert error == {"code": "invalid_value", "message": "The requested voice 'nobody' is not supported."}


def test_a_late_update_is_an_error_and_the_end(emulator: Emulator, client: Any, listener: Listener) -> None:
    voice = emulator.clone("sdk")
    client.update_session(voice, AudioFormat.PCM_24000HZ_MONO_16BIT)
    client.append_text(TEXT[0])
    client.update_session(voice, AudioFormat.PCM_24000HZ_MONO_16BIT)
    words = "Session update error: session already started or finished or failed."
    assert listener.wait_for("error")["error"] == {"code": "invalid_value", "message": words}
    assert listener.closed.wait(EVENT_SECONDS)
    assert (listener.close_code, listener.close_reason) == (1007, words)


def test_arrears_are_a_close_without_an_error(emulator: Emulator, client: Any, listener: Listener) -> None:
    voice = emulator.clone("sdk")
    emulator.order_faults(voice, "arrears", times=1)
    client.update_session(voice, AudioFormat.PCM_24000HZ_MONO_16BIT, mode="commit")
    client.append_text(TEXT[0])
    client.commit()
    listener.wait_for("input_text_buffer.committed")
    assert listener.closed.wait(EVENT_SECONDS)
    assert listener.close_code == 1007
    assert "good standing" in (listener.close_reason or "")


def test_cancelling_a_response_does_nothing(emulator: Emulator, client: Any, listener: Listener) -> None:
    """The SDK has the call, the documents of this API do not."""
    client.update_session(emulator.clone("sdk"), AudioFormat.PCM_24000HZ_MONO_16BIT)
    client.append_text(TEXT[0])
    client.cancel_response()
    client.finish()
    listener.wait_for("session.finished")
    assert emulator.sessions()[-1]["samples"] * 2 == len(listener.audio)


@pytest.mark.slow
def test_a_wrong_key_is_no_connection(emulator: Emulator, listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashscope, "api_key", "sk-wrong")
    client = QwenTtsRealtime(VC_MODEL, callback=listener, url=emulator.realtime_url)
    with pytest.raises(TimeoutError):
        client.connect()
    client.thread.join(EVENT_SECONDS)
    assert not client.thread.is_alive()


def test_mp3(emulator: Emulator, client: Any, listener: Listener) -> None:
    voice = emulator.clone("sdk")
    client.update_session(voice, audio_format="mp3", sample_rate=48000, bit_rate=64, speech_rate=1.2, volume=60)
    client.append_text("".join(TEXT))
    client.finish()
    listener.wait_for("session.finished")
    assert listener.audio[0] == 0xFF
    assert listener.audio[1] & 0xE0 == 0xE0
