"""The customization endpoint: enrollment, design, refusals, the bill."""

from __future__ import annotations

import base64
import io
import re
import threading
import wave
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from tests.bench.realtime_client import dial, speak
from tests.support.emulator import VC_MODEL, VD_MODEL, Emulator, data_url, wav_recording

pytestmark = pytest.mark.integration


def enrollment(**fields: Any) -> dict[str, Any]:
    return {"model": "qwen-voice-enrollment", "input": fields}


def design(**fields: Any) -> dict[str, Any]:
    return {"model": "qwen-voice-design", "input": fields}


def clone_body(data: str, **fields: Any) -> dict[str, Any]:
    asked = {"action": "create", "target_model": VC_MODEL, "preferred_name": "me", "audio": {"data": data}}
    return enrollment(**asked | fields)


def design_body(**fields: Any) -> dict[str, Any]:
    asked = {
        "action": "create",
        "target_model": VD_MODEL,
        "preferred_name": "me",
        "voice_prompt": "A calm narrator.",
        "preview_text": "Hello, this is how I sound.",
        "language": "en",
    }
    return design(**asked | fields)


def test_a_clone_is_created_listed_billed_and_deleted(emulator: Emulator) -> None:
    before = emulator.billing()["clones"]
    answer = emulator.customize(clone_body(data_url(wav_recording()), text="A tone.", language="en"))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    voice = body["output"]["voice"]
    assert re.fullmatch(r"qwen-tts-vc-me-voice-\d{17}-[0-9a-f]{4}", voice)
    assert body["output"] == {"voice": voice, "target_model": VC_MODEL}
    assert body["usage"] == {"count": 1}
    assert body["request_id"]
    assert emulator.billing()["clones"] == before + 1

    listed = emulator.customize(enrollment(action="list", page_size=100)).json()
    assert listed["usage"] == {"count": 0}
    row = listed["output"]["voice_list"][0]
    assert row == row | {"voice": voice, "target_model": VC_MODEL, "language": "en"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", row["gmt_create"])

    assert emulator.customize(enrollment(action="delete", voice=voice)).json()["usage"] == {"count": 0}
    again = emulator.customize(enrollment(action="delete", voice=voice))
    assert (again.status_code, again.json()["code"]) == (400, "BadRequest.VoiceNotFound")


def test_lists_are_paged_newest_first(emulator: Emulator) -> None:
    made = [emulator.clone(f"page{number}") for number in range(3)]
    pages = [
        emulator.customize(enrollment(action="list", page_index=index, page_size=1)).json()["output"]["voice_list"]
        for index in range(3)
    ]
    assert [page[0]["voice"] for page in pages] == made[::-1]
    beyond = emulator.customize(enrollment(action="list", page_index=200, page_size=100)).json()
    assert beyond["output"]["voice_list"] == []


def test_a_design_answers_with_a_preview_in_the_new_voice(emulator: Emulator) -> None:
    before = emulator.billing()["designs"]
    body = emulator.customize(design_body()).json()
    output = body["output"]
    assert re.fullmatch(r"qwen-tts-vd-me-voice-\d{14}-[0-9a-f]{4}", output["voice"])
    assert (output["target_model"], body["usage"]) == (VD_MODEL, {"count": 1})
    assert emulator.billing()["designs"] == before + 1
    preview = output["preview_audio"]
    assert (preview["sample_rate"], preview["response_format"]) == (24000, "wav")
    with wave.open(io.BytesIO(base64.b64decode(preview["data"]))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24000, 1, 2)
        frames = file.readframes(file.getnframes())
    assert np.abs(np.frombuffer(frames, dtype="<i2")).max() > 3000
    spoken = speak(emulator, output["voice"], "Hello, this is how I sound.", VD_MODEL, language_type="English")
    assert spoken.audio == frames, "the preview is the voice"


def test_a_design_is_queried_listed_and_deleted(emulator: Emulator) -> None:
    voice = emulator.design("query")
    output = emulator.customize(design(action="query", voice=voice)).json()["output"]
    assert output == output | {"voice": voice, "voice_prompt": "A calm narrator.", "language": "en"}
    listed = emulator.customize(design(action="list", page_index=0, page_size=100)).json()["output"]
    assert listed["voice_list"][0]["voice"] == voice
    assert listed["total_count"] >= 1
    assert emulator.customize(design(action="delete", voice=voice)).json()["output"] == {"voice": voice}
    for action in ("query", "delete"):
        gone = emulator.customize(design(action=action, voice=voice))
        assert (gone.status_code, gone.json()["code"]) == (400, "VoiceNotFound")
        assert voice in gone.json()["message"]


def test_deleted_voices_speak_no_more(emulator: Emulator) -> None:
    voice = emulator.clone("doomed")
    emulator.customize(enrollment(action="delete", voice=voice)).raise_for_status()
    with dial(emulator) as client:
        client.update(voice)
        assert client.receive_until("error")["error"]["code"] == "invalid_value"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (data_url(wav_recording(seconds=2)), "Audio.PreprocessError"),
        (data_url(wav_recording(seconds=61)), "Audio.DurationLimitError"),
        (data_url(wav_recording(rate=16000)), "Audio.AudioRateError"),
        (data_url(wav_recording(amplitude=0.001)), "Audio.PreprocessError"),
        (data_url(b"RIFFnonsense"), "Audio.DecoderError"),
        (data_url(b"%PDF-1.4 not audio"), "BadRequest.UnsupportedFileFormat"),
        ("data:audio/wav;base64,!!!", "Audio.DecoderError"),
        ("data:audio/wav;base64," + "A" * (10 * 1024 * 1024), "BadRequest.TooLarge"),
        ("ftp://example.com/a.wav", "InvalidParameter"),
        ("http://127.0.0.1:1/a.wav", "BadRequest.InputDownloadFailed"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else None,
)
def test_unusable_recordings_are_refused_and_cost_nothing(emulator: Emulator, data: str, code: str) -> None:
    before = emulator.billing()
    answer = emulator.customize(clone_body(data))
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert set(answer.json()) == {"request_id", "code", "message"}
    assert emulator.billing() == before


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"model": "qwen-voice-enrollment"}, 400, "InvalidParameter"),
        (enrollment(action="query", voice="v"), 400, "InvalidParameter"),
        (enrollment(action="list", page_size=0), 400, "InvalidParameter"),
        (clone_body("data:", preferred_name="with space"), 400, "InvalidParameter"),
        (clone_body("data:", preferred_name="seventeen_letters"), 400, "InvalidParameter"),
        (clone_body("data:", target_model=VD_MODEL), 400, "InvalidParameter"),
        (clone_body("data:", language="xx"), 400, "InvalidParameter"),
        (design_body(voice_prompt="x" * 2049), 400, "InvalidParameter"),
        (design_body(preview_text="x" * 1025), 400, "InvalidParameter"),
        (design_body(target_model=VC_MODEL), 400, "InvalidParameter"),
        (design_body() | {"parameters": {"response_format": "opus"}}, 400, "InvalidParameter"),
        (design_body() | {"parameters": {"sample_rate": 11025}}, 400, "InvalidParameter"),
        ({"model": "qwen-voice-nothing", "input": {"action": "list"}}, 404, "ModelNotFound"),
    ],
)
def test_malformed_requests_are_refused(emulator: Emulator, body: dict[str, Any], status: int, code: str) -> None:
    answer = emulator.customize(body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_a_wrong_key_is_refused(emulator: Emulator) -> None:
    answer = emulator.customize(enrollment(action="list"), key="sk-other")
    assert (answer.status_code, answer.json()["code"]) == (401, "InvalidApiKey")
    assert answer.json()["message"] == "Invalid API-key provided."


@pytest.fixture
def recording_url() -> Iterator[str]:
    """A recording on a web server, as the gateway's signed URL will be."""

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            recording = wav_recording()
            self.send_response(200 if self.path == "/voice.wav" else 404)
            self.send_header("Content-Length", str(len(recording)))
            self.end_headers()
            self.wfile.write(recording)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 # the base class's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_recording_is_fetched_from_its_url(emulator: Emulator, recording_url: str) -> None:
    assert emulator.customize(clone_body(f"{recording_url}/voice.wav")).status_code == 200
    missing = emulator.customize(clone_body(f"{recording_url}/other.wav"))
    assert missing.json()["code"] == "BadRequest.InputDownloadFailed"


def test_faults_of_customization(emulator: Emulator) -> None:
    recording = clone_body(data_url(wav_recording()))
    emulator.order_faults("customization", "fallback_mode", times=1)
    assert emulator.customize(recording).json()["output"]["fallback_mode"] is True
    emulator.order_faults("customization", "throttled_upgrade", times=1)
    assert emulator.customize(recording).status_code == 429
    emulator.order_faults("customization", "model_gone", times=1)
    assert emulator.customize(recording).status_code == 404
    before = emulator.billing()["clones"]
    emulator.order_faults("customization", "lost_answer", times=1)
    assert emulator.customize(recording).status_code == 500
    assert emulator.billing()["clones"] == before + 1
    assert emulator.customize(recording).status_code == 200
