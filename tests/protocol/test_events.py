"""The codec: what is read, what is a value although unknown, and that nothing but RemoteProtocolError comes out."""

from __future__ import annotations

import json
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocol import events
from protocol.errors import LocalProtocolError, RemoteProtocolError
from protocol.events import (
    MAX_ID_CHARS,
    MAX_MESSAGE_BYTES,
    MAX_TYPE_CHARS,
    UnknownEvent,
    decode_client_event,
    decode_server_event,
    encode,
    type_of,
)
from tests.protocol import samples

MAX_DESCRIPTION_CHARS = 200
"""What an unreadable message is described in, however long it is itself; the longest take about a hundred."""

SERVER_MESSAGES = [
    samples.CREATED,
    samples.UPDATED,
    samples.COMMITTED,
    samples.CLEARED,
    *samples.whole_response(),
    samples.FINISHED,
    samples.SHORT_ERROR,
]

CLIENT_EVENTS: list[events.AnyClientEvent] = [
    events.SessionUpdate(
        event_id="1", session=events.SessionSettings(voice="v", sample_rate=24000, speech_rate=1.5, enable_tn=True)
    ),
    events.InputTextBufferAppend(event_id="2", text="Grüße, 世界 👩‍👩‍👧"),
    events.InputTextBufferCommit(event_id="3"),
    events.InputTextBufferClear(event_id="4"),
    events.SessionFinish(event_id="5"),
]


@pytest.mark.parametrize("message", SERVER_MESSAGES, ids=lambda text: json.loads(text)["type"])
def test_a_server_event_survives_reading_and_writing(message: str) -> None:
    event = decode_server_event(message)
    assert not isinstance(event, UnknownEvent)
    assert json.loads(encode(event)) == json.loads(message)
    assert decode_server_event(message.encode()) == event


@pytest.mark.parametrize("event", CLIENT_EVENTS, ids=type_of)
def test_a_client_event_survives_writing_and_reading(event: events.AnyClientEvent) -> None:
    assert decode_client_event(encode(event)) == event


def test_the_samples_cover_the_whole_vocabulary() -> None:
    assert {json.loads(text)["type"] for text in SERVER_MESSAGES} == events.SERVER_EVENT_TYPES
    assert {type_of(event) for event in CLIENT_EVENTS} == events.CLIENT_EVENT_TYPES
    assert len(get_args(events.AnyServerEvent)) == len(events.SERVER_EVENT_TYPES)


def test_audio_is_bytes_here_and_base64_on_the_wire() -> None:
    event = decode_server_event(samples.delta(b"\x00\xff sound"))
    assert isinstance(event, events.AudioDelta)
    assert event.delta == b"\x00\xff sound"


def test_the_text_of_an_append_travels_under_the_key_text() -> None:
    # Any other key is answered with silence by the vendor (protocol reference 1.3).
    assert json.loads(encode(CLIENT_EVENTS[1])) == {
        "type": "input_text_buffer.append",
        "event_id": "2",
        "text": "Grüße, 世界 👩‍👩‍👧",
    }
    event = decode_client_event('{"type":"input_text_buffer.append","delta":"lost"}')
    assert event == events.InputTextBufferAppend(text="")


def test_settings_left_out_are_not_sent() -> None:
    sent = json.loads(encode(events.SessionUpdate(event_id="1", session=events.SessionSettings(voice="v"))))
    assert sent["session"] == {"voice": "v"}


def test_a_label_that_changed_its_shape_does_not_cost_the_audio() -> None:
    strange = samples.message(
        "response.audio.delta", response_id="r", item_id=None, output_index="0", content_index={}, delta="AAAA", new=[1]
    )
    event = decode_server_event(strange)
    assert isinstance(event, events.AudioDelta)
    assert event.delta == b"\0\0\0"


def test_a_bill_of_any_shape_can_be_read() -> None:
    bills: list[object] = [None, [], "free", {"characters": "25"}]
    for usage in bills:
        event = decode_server_event(samples.response_done(usage=usage))
        assert isinstance(event, events.ResponseDone)


def test_an_unknown_type_is_a_value_and_bounded() -> None:
    text = '{"type":"response.text.delta","delta":5}'
    assert decode_server_event(text) == UnknownEvent("response.text.delta", len(text))
    assert decode_client_event('{"type":"response.cancel"}') == UnknownEvent("response.cancel", 26)
    long = decode_server_event(json.dumps({"type": "x" * 1000}))
    assert long == UnknownEvent("x" * MAX_TYPE_CHARS, 1012)


def test_a_clients_event_is_unknown_to_a_client() -> None:
    assert isinstance(decode_server_event('{"type":"session.finish"}'), UnknownEvent)
    assert isinstance(decode_client_event('{"type":"session.finished"}'), UnknownEvent)


@pytest.mark.parametrize(
    "message",
    [
        "",
        " ",
        "null",
        "[]",
        "{}",
        '"session.finished"',
        '{"type":5}',
        '{"type":null}',
        '{"type":"session.finished"',
        '{"type":"session.finished"} {}',
        '{"type":"no.such.type","x":',
        '{"type":"no.such.type","x":"\\ud800"',
        '{"type":"session.finished","event_id":5}',
        '{"type":"session.created"}',
        '{"type":"session.created","session":{}}',
        '{"type":"response.done","response":{"id":7,"status":"completed"}}',
        '{"type":"response.audio.delta","delta":"AAAA"}',
        '{"type":"response.audio.delta","response_id":"r"}',
        '{"type":"response.audio.delta","response_id":"r","delta":null}',
        '{"type":"response.audio.delta","response_id":"r","delta":"AAA"}',
        '{"type":"response.audio.delta","response_id":"r","delta":"A-_A"}',
        '{"type":"response.audio.delta","response_id":"r","delta":"AA\\nAA"}',
        b"\xff\xfe",
        b"\x00\x01\x02",
        b'{"type":"session.finished","event_id":"\xff"}',
        '{"type":"session.finished","event_id":"\ud800"}',
        '{"type":"x","y":' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"type":"session.finished","y":' + '{"a":' * 100_000 + "1" + "}" * 100_000 + "}",
        json.dumps({"type": "session.finished", "event_id": "e" * (MAX_ID_CHARS + 1)}),
    ],
)
def test_what_cannot_be_read_is_the_peers_fault(message: str | bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_server_event(message)
    assert len(str(caught.value)) < MAX_DESCRIPTION_CHARS


def test_the_longest_message_is_read_and_a_longer_one_refused() -> None:
    text = '{"type":"session.finished","padding":"%s"}'
    longest = text % ("x" * (MAX_MESSAGE_BYTES - len(text) + 2))
    assert decode_server_event(longest) == events.SessionFinished()
    with pytest.raises(RemoteProtocolError, match=f"limit of {MAX_MESSAGE_BYTES}"):
        decode_server_event(longest + " ")


def test_an_unreadable_message_is_described_without_its_words() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_client_event('{"type":"input_text_buffer.append","text":["my secret"]}')
    assert "input_text_buffer.append" in str(caught.value)
    assert "at `$.text`" in str(caught.value), "the place"
    assert "secret" not in str(caught.value)
    start = '{"type":"input_text_buffer.append","text":"my secret '
    for message in (start + '\ud800"}', start.encode() + b'\xff"}'):
        with pytest.raises(RemoteProtocolError, match=r"^a message of \d+ is not JSON: invalid Unicode$"):
            decode_client_event(message)


def test_text_that_is_not_unicode_is_our_own_fault() -> None:
    with pytest.raises(LocalProtocolError, match=r"input_text_buffer\.append"):
        encode(events.InputTextBufferAppend(event_id="1", text="\ud83d"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
FIELD_NAMES = st.sampled_from(["response", "response_id", "session", "delta", "error", "event_id", "id", "status"])
ALMOST_EVENTS = st.builds(
    lambda event_type, fields: json.dumps({"type": event_type, **fields}),
    st.sampled_from(sorted(events.SERVER_EVENT_TYPES | events.CLIENT_EVENT_TYPES)),
    st.dictionaries(FIELD_NAMES, JSON | st.dictionaries(FIELD_NAMES, JSON, max_size=3), max_size=4),
)


@st.composite
def damaged_messages(draw: st.DrawFn) -> bytes:
    """A good message with a few bytes cut out, put in or changed."""
    good = draw(st.sampled_from(SERVER_MESSAGES)).encode()
    start = draw(st.integers(0, len(good)))
    stop = draw(st.integers(start, min(len(good), start + 6)))
    return good[:start] + draw(st.binary(max_size=4)) + good[stop:]


@given(st.binary() | st.text() | JSON.map(json.dumps) | ALMOST_EVENTS | damaged_messages())
@example('{"type":"response.audio.delta","response_id":"r","delta":"===="}')
def test_garbage_is_an_event_a_value_or_the_peers_fault(message: str | bytes) -> None:
    for decode in (decode_server_event, decode_client_event):
        event: Any = None
        description = ""
        try:
            event = decode(message)
        except RemoteProtocolError as error:
            description = str(error)
        assert isinstance(event, UnknownEvent | msgspec.Struct) or 0 < len(description) < MAX_DESCRIPTION_CHARS
