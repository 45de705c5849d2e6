"""The server's end: the fields and the order of protocol reference 1.4 and 1.5, its refusals, and a client's end
talking to it over a wire that cuts and joins bytes as it likes."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import Fault, LocalProtocolError, RemoteProtocolError
from protocol.events import UnknownEvent, Usage
from protocol.server_session import (
    MAX_BUFFERED_CHARS,
    ClearRequested,
    CommitRequested,
    ConfigureRequested,
    FinishRequested,
    Ignored,
    Refused,
    ServerOutput,
    ServerSession,
    TextAppended,
)
from protocol.session import (
    AudioReceived,
    ClientSession,
    Output,
    SessionConfig,
    SessionFailed,
    SessionFinished,
)
from tests.protocol.wire import wire_pair


def numbered_ids() -> Callable[[str], str]:
    numbers = count(1)
    return lambda prefix: f"{prefix}{next(numbers)}"


def new_session() -> ServerSession:
    return ServerSession(model="m", new_id=numbered_ids())


def client_message(event_type: str, **fields: object) -> str:
    return json.dumps({"type": event_type, "event_id": "client_1", **fields})


UPDATE = client_message("session.update", session={"voice": "v", "response_format": "mp3", "language_type": "English"})
APPEND = client_message("input_text_buffer.append", text="Hello.")
COMMIT = client_message("input_text_buffer.commit")
CLEAR = client_message("input_text_buffer.clear")
FINISH = client_message("session.finish")


def ready() -> ServerSession:
    session = new_session()
    session.created()
    session.receive(UPDATE)
    session.updated()
    return session


def parsed(messages: list[str]) -> list[dict[str, Any]]:
    events = [json.loads(message) for message in messages]
    assert all(event.pop("event_id").startswith("event_") for event in events)
    return events


# ---------------------------------------------------------------------------------------- what it says


def test_the_greeting_carries_the_defaults() -> None:
    session = new_session()
    [event] = parsed([session.created()])
    assert event == {
        "type": "session.created",
        "session": {
            "id": session.session_id,
            "object": "realtime.session",
            "mode": "server_commit",
            "model": "m",
            "voice": "Cherry",
            "response_format": "pcm",
            "sample_rate": 24000,
        },
    }


def test_an_update_is_echoed_with_the_language_in_lower_case() -> None:
    session = new_session()
    session.created()
    [asked] = session.receive(UPDATE)
    assert isinstance(asked, ConfigureRequested)
    assert (asked.settings.voice, asked.event_id, asked.problem) == ("v", "client_1", "")
    [event] = parsed([session.updated()])
    assert event["type"] == "session.updated"
    assert event["session"] == {
        "id": session.session_id,
        "object": "realtime.session",
        "mode": "server_commit",
        "model": "m",
        "voice": "v",
        "response_format": "mp3",
        "sample_rate": 24000,
        "language_type": "english",
    }
    assert (session.voice, session.language_type) == ("v", "English")


def test_what_an_update_leaves_out_stays_as_it_was() -> None:
    session = ready()
    session.receive(client_message("session.update", session={"sample_rate": 48000, "mode": "commit"}))
    session.updated()
    assert (session.voice, session.response_format, session.sample_rate, session.mode) == ("v", "mp3", 48000, "commit")


def test_a_response_from_beginning_to_end() -> None:
    session = ready()
    session.receive(APPEND)
    usage = Usage(characters=25, total_tokens=44, output_tokens=36, output_tokens_details={"audio_tokens": 36})
    events = parsed([*session.begin_response(), session.audio(b"\0\1\2"), *session.end_response(usage)])
    response_id, item_id = events[0]["response"]["id"], events[1]["item"]["id"]
    assert (response_id[:5], item_id[:5]) == ("resp_", "item_")
    place = {"response_id": response_id, "item_id": item_id, "output_index": 0, "content_index": 0}
    part = {"type": "audio", "text": ""}
    item = {"id": item_id, "object": "realtime.item", "type": "message", "role": "assistant"}
    token_bill = {"output_tokens": 36, "total_tokens": 44, "output_tokens_details": {"audio_tokens": 36}}
    assert events == [
        {
            "type": "response.created",
            "response": {
                "id": response_id,
                "object": "realtime.response",
                "conversation_id": "",
                "status": "in_progress",
                "voice": "v",
                "output": [],
            },
        },
        {
            "type": "response.output_item.added",
            "response_id": response_id,
            "output_index": 0,
            "item": {**item, "status": "in_progress", "content": []},
        },
        {"type": "response.content_part.added", **place, "part": part},
        {"type": "response.audio.delta", **place, "delta": "AAEC"},
        {"type": "response.audio.done", **place},
        {"type": "response.content_part.done", **place, "part": part},
        {
            "type": "response.output_item.done",
            "response_id": response_id,
            "output_index": 0,
            "item": {**item, "status": "completed", "output": {"usage": token_bill}},
        },
        {
            "type": "response.done",
            "response": {
                "id": response_id,
                "object": "realtime.response",
                "conversation_id": "",
                "status": "completed",
                "modalities": ["text", "audio"],
                "voice": "v",
                "output": [{**item, "status": "completed", "content": [{"type": "audio", "transcript": ""}]}],
                "usage": {"characters": 25, **token_bill},
            },
        },
    ]


def test_the_small_answers() -> None:
    session = ready()
    assert parsed([session.committed(), session.cleared()]) == [
        {"type": "input_text_buffer.committed", "item_id": ""},
        {"type": "input_text_buffer.cleared"},
    ]
    session.receive(FINISH)
    assert parsed([session.finished()]) == [{"type": "session.finished"}]


def test_the_two_forms_of_an_error() -> None:
    session = ready()
    [long] = parsed([session.refuse("invalid_value", "words", param="session.voice", client_event_id="client_1")])
    assert long["error"] == {
        "type": "invalid_request_error",
        "code": "invalid_value",
        "message": "words",
        "param": "session.voice",
        "event_id": "client_1",
    }
    assert session.receive(APPEND) == [TextAppended("Hello.")]
    [short] = parsed([session.error("invalid_value", "words")])
    assert short == {"type": "error", "error": {"code": "invalid_value", "message": "words"}}
    assert session.over
    assert session.receive(APPEND) == []


def test_every_id_is_new() -> None:
    session = ready()
    session.receive(APPEND)
    messages = [*session.begin_response(), *session.end_response(Usage()), *session.begin_response()]
    ids = [json.loads(message)["event_id"] for message in messages]
    assert len(set(ids)) == len(ids)


# ---------------------------------------------------------------------------------------- what it takes


def test_text_is_buffered_until_it_is_taken_committed_or_finished() -> None:
    session = ready()
    assert session.receive(APPEND) == [TextAppended("Hello.")]
    assert session.buffered == "Hello."
    assert session.take_text(2) == "He"
    assert session.receive(COMMIT) == [CommitRequested("llo.")]
    session.receive(APPEND)
    assert session.receive(CLEAR) == [ClearRequested()]
    session.receive(APPEND)
    assert session.receive(FINISH) == [FinishRequested("Hello.")]
    assert session.buffered == ""


def test_text_under_another_key_is_taken_in_silence() -> None:
    session = ready()
    assert session.receive(client_message("input_text_buffer.append", delta="lost")) == [TextAppended("")]
    assert session.receive(FINISH) == [FinishRequested("")]


def test_uncommitted_text_is_handed_over_by_a_finish_in_commit_mode_too() -> None:
    session = new_session()
    session.created()
    session.receive(client_message("session.update", session={"voice": "v", "mode": "commit"}))
    session.updated()
    session.receive(APPEND)
    assert session.receive(FINISH) == [FinishRequested("Hello.")]


def test_an_event_the_vendor_does_not_have() -> None:
    text = '{"type":"response.cancel"}'
    assert ready().receive(text) == [Ignored(UnknownEvent("response.cancel", len(text)))]


def refusal(outputs: list[ServerOutput]) -> Refused:
    [refused] = outputs
    assert isinstance(refused, Refused)
    assert (refused.code, refused.event_id) == ("invalid_value", "client_1")
    return refused


def test_a_late_update_is_refused_and_closes() -> None:
    session = ready()
    session.receive(APPEND)
    refused = refusal(session.receive(UPDATE))
    assert refused.message == "Session update error: session already started or finished or failed."
    assert refused.close_code == 1007


def test_an_empty_commit_is_refused_and_leaves_the_session_open() -> None:
    session = ready()
    session.receive(APPEND)
    session.receive(COMMIT)
    assert refusal(session.receive(COMMIT)).close_code is None
    assert session.receive(APPEND) == [TextAppended("Hello.")]


@pytest.mark.parametrize("message", [APPEND, CLEAR, FINISH])
def test_nothing_is_taken_before_an_update_or_after_the_end(message: str) -> None:
    session = new_session()
    session.created()
    assert refusal(session.receive(message)).close_code == 1007
    finishing = ready()
    finishing.receive(FINISH)
    assert refusal(finishing.receive(message)).close_code == 1007


def test_a_missing_event_id_is_accepted() -> None:
    session = ready()
    assert session.receive('{"type":"input_text_buffer.append","text":"x"}') == [TextAppended("x")]


def test_the_buffer_is_bounded() -> None:
    session = ready()
    half = client_message("input_text_buffer.append", text="x" * (MAX_BUFFERED_CHARS // 2))
    session.receive(half)
    session.receive(half)
    assert refusal(session.receive(APPEND)).close_code == 1007
    assert len(session.buffered) == MAX_BUFFERED_CHARS


@pytest.mark.parametrize("message", ["", "garbage", b"\xff", '{"type":"session.update","session":5}'])
def test_what_cannot_be_read_raises(message: str | bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        ready().receive(message)


def test_what_is_said_out_of_order_is_our_own_fault() -> None:
    session = new_session()
    with pytest.raises(LocalProtocolError, match=r"session\.updated .* WAITING"):
        session.updated()
    session.created()
    with pytest.raises(LocalProtocolError, match=r"session\.created"):
        session.created()
    with pytest.raises(LocalProtocolError, match=r"response\.created .* CREATED"):
        session.begin_response()
    unspoken = ready()
    with pytest.raises(LocalProtocolError, match=r"response\.audio\.delta .* ABSENT"):
        unspoken.audio(b"x")
    with pytest.raises(LocalProtocolError, match=r"session\.finished .* CONFIGURED"):
        unspoken.finished()


def test_a_closed_session_drops_what_comes() -> None:
    session = ready()
    session.closed()
    assert session.over
    assert session.receive(APPEND) == []


# ---------------------------------------------------------------------------------------- both ends


def test_the_end_without_audio_fails_on_both_ends() -> None:
    server, client = new_session(), ClientSession()
    client.receive(server.created())
    server.receive(client.configure(SessionConfig("v", "mp3", 24000, "Auto"), "1"))
    client.receive(server.updated())
    server.receive(client.finish("2"))
    [failed] = client.receive(server.finished())
    assert isinstance(failed, SessionFailed)
    assert failed.failure.fault is Fault.NO_AUDIO
    assert server.over


CHUNKS = st.lists(st.binary(max_size=200), max_size=3)
RESPONSES = st.lists(st.tuples(CHUNKS, CHUNKS), max_size=4)
TEXTS = st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=5)


class Dialogue:
    """A client that sends everything in one flight, a server that speaks as soon as it has text, and the wire."""

    def __init__(self, texts: list[str], responses: list[tuple[list[bytes], list[bytes]]], mode: str) -> None:
        self._texts = texts
        self._responses = responses
        self._mode = mode
        self._client = ClientSession()
        self._server = new_session()
        self._up, self._down = wire_pair()
        self._frame_chars = 10_000
        self.heard: list[Output] = []
        self.taken = ""

    def play(self, cuts: list[int], frame_chars: int) -> None:
        """Deliver `cuts` bytes at a time, both ways in turn, until nothing is on the wire."""
        self._frame_chars = frame_chars
        self._say(self._server.created())
        while self._up.pending or self._down.pending:
            for cut in cuts:
                for message in self._down.deliver(cut):
                    self._to_client(message)
                for message in self._up.deliver(cut):
                    self._to_server(message)

    def _to_client(self, message: str) -> None:
        self.heard += self._client.receive(message)
        if json.loads(message)["type"] == "session.created":
            for sent in self._flight():
                self._up.send(sent, self._frame_chars)

    def _flight(self) -> list[str]:
        client = self._client
        flight = [client.configure(SessionConfig("v", "mp3", 24000, "Auto", self._mode), "u")]
        flight += [client.append(text, f"a{number}") for number, text in enumerate(self._texts)]
        if self._mode == "commit":
            flight.append(client.commit("c"))
        return [*flight, client.finish("f")]

    def _to_server(self, message: str) -> None:
        for output in self._server.receive(message):
            match output:
                case ConfigureRequested():
                    self._say(self._server.updated())
                case TextAppended() if self._mode == "server_commit":
                    self.taken += self._server.take_text()
                    self._speak(self._responses[:1])
                    self._responses = self._responses[1:]
                case CommitRequested():
                    self.taken += output.text
                    self._say(self._server.committed())
                case FinishRequested():
                    self.taken += output.text
                    self._speak(self._responses)
                    self._say(self._server.finished())

    def _speak(self, responses: list[tuple[list[bytes], list[bytes]]]) -> None:
        for audio, late in responses:
            self._say(*self._server.begin_response())
            self._say(*(self._server.audio(data) for data in audio))
            self._say(*self._server.end_response(Usage(characters=3)))
            self._say(*(self._server.audio(data) for data in late))

    def _say(self, *messages: str) -> None:
        for message in messages:
            self._down.send(message, self._frame_chars)


@given(
    texts=TEXTS,
    responses=RESPONSES,
    mode=st.sampled_from(["server_commit", "commit"]),
    cuts=st.lists(st.integers(3, 5000), min_size=1, max_size=6),
    frame_chars=st.integers(30, 10_000),
)
def test_the_audio_that_arrives_is_the_audio_that_was_spoken(
    texts: list[str],
    responses: list[tuple[list[bytes], list[bytes]]],
    mode: str,
    cuts: list[int],
    frame_chars: int,
) -> None:
    dialogue = Dialogue(texts, responses, mode)
    dialogue.play(cuts, frame_chars)
    spoken = b"".join(data for audio, late in responses for data in [*audio, *late])
    heard = b"".join(output.data for output in dialogue.heard if isinstance(output, AudioReceived))
    assert heard == spoken
    assert dialogue.taken == "".join(texts)
    last = dialogue.heard[-1]
    if spoken:
        assert isinstance(last, SessionFinished)
        assert (last.responses, last.characters) == (len(responses), 3 * len(responses))
    else:
        assert isinstance(last, SessionFailed)
        assert last.failure.fault is Fault.NO_AUDIO


def test_a_wire_that_carries_one_byte_at_a_time() -> None:
    dialogue = Dialogue(["Hello."], [([b"sound"], [b" and more"])], "server_commit")
    dialogue.play([1], 40)
    assert isinstance(dialogue.heard[-1], SessionFinished)
