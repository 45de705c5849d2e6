"""The realtime endpoint: order and fields of events in both modes, and what it refuses."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from tests.bench.realtime_client import RESPONSE, dial, speak
from tests.support.emulator import VC_MODEL, VD_MODEL, Emulator

pytestmark = pytest.mark.integration

TEXT = "Good morning to everyone. This is a voice that nobody has heard before."


@pytest.fixture(scope="module")
def voice(emulator: Emulator) -> str:
    return emulator.clone("narrator")


def squeezed(types: list[str]) -> list[str]:
    """Types in order, a run of deltas as one."""
    return [kind for at, kind in enumerate(types) if at == 0 or kind != types[at - 1]]


def id_of(event: dict[str, Any], prefix: str, *path: str) -> str:
    value: Any = event
    for key in path:
        value = value[key]
    assert re.fullmatch(prefix + "[A-Za-z0-9]{21}", value)
    return str(value)


def test_server_commit_speaks_one_response_in_recorded_order(emulator: Emulator, voice: str) -> None:
    heard = speak(emulator, voice, TEXT)
    assert squeezed(heard.types) == ["session.created", "session.updated", *RESPONSE, "session.finished"]
    assert len(heard.deltas) > 3
    assert len({event["event_id"] for event in heard.events}) == len(heard.events)


def test_events_carry_the_recorded_fields(emulator: Emulator, voice: str) -> None:
    heard = speak(emulator, voice, TEXT, response_format="pcm", sample_rate=16000, language_type="English")
    by_type = {event["type"]: event for event in heard.events}
    created, updated = by_type["session.created"]["session"], by_type["session.updated"]["session"]
    assert set(created) == {"object", "mode", "model", "voice", "response_format", "sample_rate", "id"}
    assert updated == created | {"voice": voice, "sample_rate": 16000, "language_type": "english"}
    response, item = (
        id_of(by_type["response.created"], "resp_", "response", "id"),
        id_of(by_type["response.output_item.added"], "item_", "item", "id"),
    )
    place = {"response_id": response, "item_id": item, "output_index": 0, "content_index": 0}
    for kind in ("response.content_part.added", "response.audio.delta", "response.audio.done"):
        event = by_type[kind]
        assert {key: event[key] for key in place} == place
    assert set(by_type["response.audio.delta"]) == {"event_id", "type", "delta", *place}
    done = by_type["response.done"]["response"]
    assert (done["id"], done["status"], done["voice"]) == (response, "completed", voice)
    assert done["usage"]["characters"] == len(TEXT)
    assert done["usage"]["total_tokens"] == done["usage"]["input_tokens"] + done["usage"]["output_tokens"]
    assert set(by_type["session.finished"]) == {"event_id", "type"}


def test_han_characters_are_billed_twice(emulator: Emulator, voice: str) -> None:
    before = emulator.billing()["characters"]
    heard = speak(emulator, voice, "今天天气很好我们去公园吧。")
    assert heard.of("response.done")[0]["response"]["usage"]["characters"] == 25
    assert emulator.billing()["characters"] == before + 25


def test_commit_mode_makes_one_response_per_commit_and_speaks_the_rest_at_finish(
    emulator: Emulator, voice: str
) -> None:
    with dial(emulator) as client:
        client.update(voice, mode="commit")
        for text in ("The first part.", "The second part."):
            client.append(text)
            client.send("input_text_buffer.commit")
            client.receive_until("response.done")
        client.append("Never committed.")
        client.send("session.finish")
        client.receive_until("session.finished")
        types = squeezed(client.heard.types)
    committed = ["input_text_buffer.committed", *RESPONSE]
    assert types == ["session.created", "session.updated", *committed, *committed, *RESPONSE, "session.finished"]
    responses = [event["response"]["id"] for event in client.heard.of("response.created")]
    assert len(set(responses)) == 3
    assert client.heard.of("input_text_buffer.committed")[0]["item_id"] == ""


def test_server_commit_starts_by_itself_but_holds_back_the_tail_until_finish(emulator: Emulator, voice: str) -> None:
    with dial(emulator) as client:
        client.update(voice)
        client.append("This sentence is long enough to be begun without any finish, but not to be ended.")
        client.receive_until("response.audio.delta")
        client.socket.ping().wait(5)
        client.send("session.finish")
        client.receive_until("session.finished")
    (record,) = [one for one in emulator.sessions() if one["session_id"] == session_id(client.heard.events)]
    assert record["responses"] == 1
    assert record["outcome"] == "finished"


def test_a_commit_in_server_commit_mode_ends_the_response(emulator: Emulator, voice: str) -> None:
    with dial(emulator) as client:
        client.update(voice)
        client.append("The first part is spoken.")
        client.send("input_text_buffer.commit")
        client.receive_until("response.done")
        client.append("The second part is spoken.")
        client.send("session.finish")
        client.receive_until("session.finished")
    assert len(client.heard.of("response.done")) == 2


def test_cleared_text_is_not_spoken(emulator: Emulator, voice: str) -> None:
    with dial(emulator) as client:
        client.update(voice, mode="commit")
        client.append("Forget this.")
        client.send("input_text_buffer.clear")
        client.receive_until("input_text_buffer.cleared")
        client.append("Say that.")
        client.send("input_text_buffer.commit")
        done = client.receive_until("response.done")
    assert done["response"]["usage"]["characters"] == len("Say that.")


def test_a_session_without_text_finishes_without_a_response(emulator: Emulator, voice: str) -> None:
    with dial(emulator) as client:
        client.update(voice)
        client.send("session.finish")
        client.receive_until("session.finished")
        assert client.heard.types == ["session.created", "session.updated", "session.finished"]


def test_text_in_pieces_is_the_same_speech(emulator: Emulator, voice: str) -> None:
    whole = speak(emulator, voice, TEXT)
    with dial(emulator) as client:
        client.update(voice)
        for word in re.findall(r"\S+\s*", TEXT):
            client.append(word)
        client.send("session.finish")
        client.receive_until("session.finished")
    assert client.heard.audio == whole.audio
    records = emulator.sessions()[-2:]
    assert {record["text_sha256"] for record in records} == {hashlib.sha256(TEXT.encode()).hexdigest()}


def test_the_socket_stays_open_after_finished_until_the_client_closes(emulator: Emulator, voice: str) -> None:
    with dial(emulator) as client:
        client.update(voice)
        client.append(TEXT)
        client.send("session.finish")
        client.receive_until("session.finished")
        assert client.socket.ping().wait(5), "no pong: the server closed by itself"
    assert client.socket.close_code == 1000


@pytest.mark.parametrize("key", ["", "sk-other"])
def test_a_wrong_key_is_refused_at_the_upgrade(emulator: Emulator, key: str) -> None:
    with pytest.raises(InvalidStatus) as refused, dial(emulator, key=key):
        pass
    assert refused.value.response.status_code == 401
    envelope = json.loads(refused.value.response.body)
    assert set(envelope) == {"request_id", "code", "message"}
    assert envelope["code"] == "InvalidApiKey"


@pytest.mark.parametrize(("model", "status", "code"), [("gone", 404, "ModelNotFound"), ("", 400, "InvalidParameter")])
def test_an_unknown_model_is_refused_at_the_upgrade(emulator: Emulator, model: str, status: int, code: str) -> None:
    with pytest.raises(InvalidStatus) as refused, dial(emulator, model):
        pass
    assert refused.value.response.status_code == status
    assert json.loads(refused.value.response.body)["code"] == code


def test_an_unknown_voice_and_one_of_another_model_are_not_supported(emulator: Emulator, voice: str) -> None:
    for model, name in ((VC_MODEL, "nobody"), (VD_MODEL, voice), ("qwen3-tts-vc-realtime-2025-11-27", voice)):
        with dial(emulator, model) as client:
            client.update(name)
            error = client.receive_until("error")["error"]
        assert error == {"code": "invalid_value", "message": f"The requested voice '{name}' is not supported."}


@pytest.mark.parametrize(
    "session", [{"response_format": "opus"}, {"sample_rate": 11025}, {"mode": "sometimes"}, {"language_type": "Latin"}]
)
def test_settings_outside_the_ranges_are_refused(emulator: Emulator, voice: str, session: dict[str, Any]) -> None:
    with dial(emulator) as client:
        client.update(voice, **session)
        assert client.receive_until("error")["error"]["code"] == "invalid_value"


def test_an_update_after_the_first_text_is_an_error_and_a_close(emulator: Emulator, voice: str) -> None:
    with dial(emulator) as client:
        client.update(voice)
        client.append(TEXT)
        client.update(voice)
        with pytest.raises(ConnectionClosedError) as closed:
            client.receive_until("session.finished")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1007
    assert "already started" in client.heard.of("error")[0]["error"]["message"]


def test_an_empty_commit_is_an_error_after_which_the_session_goes_on(emulator: Emulator, voice: str) -> None:
    with dial(emulator) as client:
        client.update(voice, mode="commit")
        client.send("input_text_buffer.commit")
        assert "no text" in client.receive_until("error")["error"]["message"]
        client.append("Now there is text.")
        client.send("input_text_buffer.commit")
        client.send("session.finish")
        client.receive_until("session.finished")


@pytest.mark.parametrize("message", ["not json", '{"type": 1}', '{"type":"input_text_buffer.append","text":7}'])
def test_a_message_that_cannot_be_read_ends_the_session(emulator: Emulator, message: str) -> None:
    with dial(emulator) as client:
        client.socket.send(message)
        with pytest.raises(ConnectionClosedError):
            client.receive_until("session.finished")
    assert client.heard.types == ["session.created", "error"]


def test_append_with_the_wrong_key_is_a_clean_session_without_audio(emulator: Emulator, voice: str) -> None:
    with dial(emulator) as client:
        client.update(voice)
        client.send("input_text_buffer.append", delta=TEXT)
        client.send("session.finish")
        client.receive_until("session.finished")
    assert client.heard.deltas == []


def test_delta_is_standard_base64(emulator: Emulator, voice: str) -> None:
    for event in speak(emulator, voice, TEXT).deltas:
        assert base64.b64encode(base64.b64decode(event["delta"], validate=True)).decode() == event["delta"]


def session_id(events: list[dict[str, Any]]) -> str:
    return str(events[0]["session"]["id"])
