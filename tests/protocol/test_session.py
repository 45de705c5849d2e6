"""The client's end: one good session, each way to fail, and what is defined about everything odd."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest

from protocol.errors import Fault, LocalProtocolError, RemoteProtocolError
from protocol.session import (
    MAX_APPEND_CHARS,
    MAX_UNKNOWN_EVENTS,
    MAX_UNKNOWN_TYPES,
    AudioReceived,
    ClientSession,
    Ignored,
    Output,
    ResponseFinished,
    SessionConfig,
    SessionConfigured,
    SessionFailed,
    SessionFinished,
    SessionOpened,
)
from tests.protocol import samples

UNSUPPORTED = "The requested voice 'x' is not supported."
CONFIG = SessionConfig(voice="v", response_format="mp3", sample_rate=24000, language_type="English")
MANUAL = SessionConfig(voice="v", response_format="mp3", sample_rate=24000, language_type="English", mode="commit")


def receive(session: ClientSession, messages: Iterable[str]) -> list[Output]:
    return [output for message in messages for output in session.receive(message)]


def opened() -> ClientSession:
    session = ClientSession()
    session.receive(samples.CREATED)
    return session


def in_flight(text: str = "Hello.") -> ClientSession:
    """Everything sent, session.updated received."""
    session = opened()
    session.configure(CONFIG, "1")
    session.append(text, "2")
    session.finish("3")
    session.receive(samples.UPDATED)
    return session


def audio_of(outputs: Iterable[Output]) -> bytes:
    return b"".join(output.data for output in outputs if isinstance(output, AudioReceived))


def failure_of(outputs: list[Output]) -> Fault:
    assert isinstance(outputs[-1], SessionFailed)
    return outputs[-1].failure.fault


# ---------------------------------------------------------------------------------------- the good way


def test_a_whole_session() -> None:
    session = ClientSession()
    assert session.receive(samples.CREATED) == [SessionOpened("sess_1")]
    flight = [
        session.configure(CONFIG, "event_a"),
        session.append("Hello, ", "event_b"),
        session.append("world.", "event_c"),
        session.finish("event_d"),
    ]
    assert [json.loads(message) for message in flight] == [
        {
            "type": "session.update",
            "event_id": "event_a",
            "session": {
                "voice": "v",
                "mode": "server_commit",
                "response_format": "mp3",
                "sample_rate": 24000,
                "language_type": "English",
            },
        },
        {"type": "input_text_buffer.append", "event_id": "event_b", "text": "Hello, "},
        {"type": "input_text_buffer.append", "event_id": "event_c", "text": "world."},
        {"type": "session.finish", "event_id": "event_d"},
    ]
    [configured] = session.receive(samples.UPDATED)
    assert isinstance(configured, SessionConfigured)
    assert configured.session.language_type == "english"
    heard = receive(session, samples.whole_response(usage={"characters": 13, "total_tokens": 4}))
    assert heard == [AudioReceived(samples.AUDIO, "resp_1"), ResponseFinished("resp_1")]
    assert session.receive(samples.FINISHED) == [
        SessionFinished("sess_1", characters=13, responses=1, usage={"characters": 13, "total_tokens": 4})
    ]
    assert session.finished
    assert session.closed(1000) is None
    assert session.closed(1006) is None


def test_audio_of_several_responses_comes_in_arrival_order() -> None:
    session = in_flight()
    outputs = receive(
        session,
        [
            samples.response_created("a"),
            samples.delta(b"1", "a"),
            samples.response_created("b"),
            samples.delta(b"2", "b"),
            samples.delta(b"3", "a"),
            samples.response_done("a"),
            samples.delta(b"4", "b"),
            samples.response_done("b"),
            samples.FINISHED,
        ],
    )
    assert audio_of(outputs) == b"1234"
    assert isinstance(outputs[-1], SessionFinished)
    assert outputs[-1].responses == 2


def test_late_audio_is_kept_where_it_arrives() -> None:
    outputs = receive(
        in_flight(),
        [
            *samples.whole_response("a", b"1"),
            samples.delta(b"2", "a"),
            *samples.whole_response("b", b"3"),
            samples.delta(b"4", "a"),
            samples.FINISHED,
        ],
    )
    assert audio_of(outputs) == b"1234"
    assert isinstance(outputs[-1], SessionFinished)


def test_audio_done_may_come_where_the_documents_put_it() -> None:
    created, item_added, part_added, delta, audio_done, part_done, item_done, done = samples.whole_response()
    documented = [created, delta, audio_done, item_added, part_added, part_done, item_done, done, samples.FINISHED]
    outputs = receive(in_flight(), documented)
    assert isinstance(outputs[-1], SessionFinished)


def test_the_confirmation_may_come_before_or_after_the_text_is_sent() -> None:
    session = opened()
    session.configure(CONFIG, "1")
    session.receive(samples.UPDATED)
    session.append("Hello.", "2")
    session.receive(samples.response_created())
    session.finish("3")
    outputs = receive(session, [samples.delta(), samples.response_done(), samples.FINISHED])
    assert isinstance(outputs[-1], SessionFinished)


def test_commit_mode() -> None:
    session = opened()
    session.configure(MANUAL, "1")
    session.append("Hello.", "2")
    with pytest.raises(LocalProtocolError, match=r"session\.finish .* MANUAL_HOLDING"):
        session.finish("3")
    assert json.loads(session.commit("4")) == {"type": "input_text_buffer.commit", "event_id": "4"}
    session.append("dropped", "5")
    assert json.loads(session.clear("6")) == {"type": "input_text_buffer.clear", "event_id": "6"}
    session.finish("7")
    outputs = receive(
        session,
        [samples.UPDATED, samples.COMMITTED, *samples.whole_response(), samples.CLEARED, samples.FINISHED],
    )
    assert isinstance(outputs[-1], SessionFinished)


# ---------------------------------------------------------------------------------------- the bill


def test_characters_are_summed_over_responses() -> None:
    messages = [
        *samples.whole_response("a", usage={"characters": 25, "output_tokens": 36, "input_tokens_details": {"x": 1}}),
        *samples.whole_response("b", usage={"characters": 7}),
        samples.FINISHED,
    ]
    finished = receive(in_flight(), messages)[-1]
    assert isinstance(finished, SessionFinished)
    assert (finished.characters, finished.usage) == (32, {"characters": 32, "output_tokens": 36})


@pytest.mark.parametrize("usage", [None, {}, [], {"characters": None}, {"characters": "25"}, {"characters": -1}])
def test_a_bill_that_is_missing_is_counted_here(usage: object) -> None:
    messages = [
        *samples.whole_response("a", usage={"characters": 25}),
        *samples.whole_response("b", usage=usage),
        samples.FINISHED,
    ]
    finished = receive(in_flight("你好, world"), messages)[-1]
    assert isinstance(finished, SessionFinished)
    assert finished.characters == 2 * 2 + 7


def test_a_repeated_end_is_billed_once() -> None:
    whole = samples.whole_response("a", b"1", usage={"characters": 5})
    outputs = receive(in_flight(), [*whole, whole[-1], samples.FINISHED])
    assert outputs.count(ResponseFinished("a")) == 1
    finished = outputs[-1]
    assert isinstance(finished, SessionFinished)
    assert (finished.characters, finished.responses) == (5, 1)


def test_an_id_that_is_used_again_is_another_response() -> None:
    twice = samples.whole_response("a", b"1", usage={"characters": 5}) * 2
    outputs = receive(in_flight(), [*twice, samples.FINISHED])
    assert audio_of(outputs) == b"11"
    assert outputs.count(ResponseFinished("a")) == 2
    finished = outputs[-1]
    assert isinstance(finished, SessionFinished)
    assert (finished.characters, finished.responses) == (10, 2)


def test_an_id_that_is_used_again_must_end_again() -> None:
    messages = [*samples.whole_response("a"), *samples.whole_response("a")[:-1], samples.FINISHED]
    assert failure_of(receive(in_flight(), messages)) is Fault.RESPONSE_FAILED


def test_repeated_event_ids_mean_nothing() -> None:
    outputs = receive(in_flight(), [samples.response_created(), samples.delta(b"1"), samples.delta(b"1")])
    assert audio_of(outputs) == b"11"


# ---------------------------------------------------------------------------------------- failures


def test_an_end_without_audio() -> None:
    session = in_flight()
    outputs = receive(session, [*samples.whole_response(audio=b""), samples.FINISHED])
    assert failure_of(outputs) is Fault.NO_AUDIO
    assert audio_of(outputs) == b""
    assert not session.finished


def test_an_end_without_a_response() -> None:
    assert failure_of(receive(in_flight(), [samples.FINISHED])) is Fault.NO_AUDIO


@pytest.mark.parametrize("status", ["failed", "incomplete", "cancelled", "in_progress", ""])
def test_a_response_that_is_not_completed(status: str) -> None:
    session = in_flight()
    outputs = receive(session, [samples.response_created(), samples.delta(), samples.response_done(status=status)])
    assert audio_of(outputs) == samples.AUDIO
    assert failure_of(outputs) is Fault.RESPONSE_FAILED
    with pytest.raises(LocalProtocolError, match="CLOSED"):
        session.append("more", "9")


@pytest.mark.parametrize(
    ("details", "fault"),
    [
        ({"error": {"code": "DataInspectionFailed", "message": "no"}}, Fault.CONTENT_REFUSED),
        ({"error": {"code": "Throttling.RateQuota"}}, Fault.RATE_LIMITED),
        ({"error": "words"}, Fault.RESPONSE_FAILED),
        ("words", Fault.RESPONSE_FAILED),
        (None, Fault.RESPONSE_FAILED),
    ],
)
def test_a_failed_response_may_say_why(details: object, fault: Fault) -> None:
    done = samples.response_done(status="failed", status_details=details)
    assert failure_of(receive(in_flight(), [samples.response_created(), done])) is fault


def test_an_end_before_a_response_is_done() -> None:
    messages = [samples.response_created(), samples.delta(), samples.audio_done(), samples.FINISHED]
    assert failure_of(receive(in_flight(), messages)) is Fault.RESPONSE_FAILED


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        (
            {"error": {"code": "invalid_value", "message": "The requested voice 'x' is not supported."}},
            Fault.VOICE_MISMATCH,
        ),
        ({"error": {"code": "Throttling.RateQuota", "message": "slow down"}}, Fault.RATE_LIMITED),
        ({"error": {"code": "invalid_value", "message": "w", "param": "session.voice"}}, Fault.BAD_INPUT),
        ({"message": "request timeout"}, Fault.SESSION_EXPIRED),
        ({"error": {"code": 418, "message": None}}, Fault.UNKNOWN),
        ({"error": None, "code": "Arrearage", "message": "pay"}, Fault.ACCOUNT_ARREARS),
        ({"error": "Throttling.RateQuota: slow down"}, Fault.RATE_LIMITED),
        ({"error": [{"code": "Arrearage"}]}, Fault.UNKNOWN),
        ({"error": {"code": "Arrearage"}, "event_id": None}, Fault.ACCOUNT_ARREARS),
        ({}, Fault.UNKNOWN),
    ],
)
def test_an_error_event_ends_the_session(fields: dict[str, object], fault: Fault) -> None:
    for session in (ClientSession(), opened(), in_flight()):
        assert failure_of(session.receive(samples.message("error", **fields))) is fault
        with pytest.raises(LocalProtocolError):
            session.finish("9")


def test_a_failure_carries_the_ids_and_the_vendors_words() -> None:
    session = in_flight()
    error = {"code": "InternalError", "message": "m" * 10_000, "request_id": "req_1"}
    [failed] = session.receive(samples.message("error", error=error))
    assert isinstance(failed, SessionFailed)
    assert (failed.failure.session_id, failed.failure.last_event_id) == ("sess_1", "event_error")
    assert (failed.failure.vendor.code, failed.failure.vendor.request_id) == ("InternalError", "req_1")
    assert len(failed.failure.vendor.message) == 500


def test_the_first_reason_outlives_the_close_that_follows_it() -> None:
    session = in_flight()
    [failed] = session.receive(samples.SHORT_ERROR)
    assert isinstance(failed, SessionFailed)
    assert session.closed(1007, "something else") is failed.failure


@pytest.mark.parametrize(
    ("code", "reason", "fault"),
    [
        (1007, "Access denied, please make sure your account is in good standing.", Fault.ACCOUNT_ARREARS),
        (1007, "bad json", Fault.BAD_INPUT),
        (1011, "", Fault.OVERLOADED),
        (1011, "request timeout", Fault.SESSION_EXPIRED),
        (1013, "Throttling.RateQuota", Fault.RATE_LIMITED),
        (1000, "", Fault.CONNECTION_LOST),
        (1006, "", Fault.CONNECTION_LOST),
    ],
)
def test_a_close_before_the_end_is_a_failure(code: int, reason: str, fault: Fault) -> None:
    for session in (ClientSession(), opened(), in_flight()):
        failure = session.closed(code, reason)
        assert failure is not None
        assert failure.fault is fault
        assert (failure.vendor.close_code, failure.vendor.message) == (code, reason)
        assert session.closed(1006) is failure


# ---------------------------------------------------------------------------------------- the peer breaks the protocol


@pytest.mark.parametrize(
    ("before", "bad", "named"),
    [
        ([], samples.UPDATED, "CONNECTING|WAITING"),
        ([samples.CREATED], samples.CREATED, "OPEN|CREATED"),
        ([samples.CREATED], samples.UPDATED, "OPEN"),
        ([samples.CREATED], samples.response_created(), "CREATED"),
        ([samples.CREATED], samples.FINISHED, "OPEN"),
    ],
)
def test_an_event_out_of_order(before: list[str], bad: str, named: str) -> None:
    session = ClientSession()
    receive(session, before)
    with pytest.raises(RemoteProtocolError, match=named):
        session.receive(bad)


@pytest.mark.parametrize(
    "bad",
    [
        samples.delta(response_id="nobody"),
        samples.response_done("nobody"),
        samples.item_added("nobody"),
        "garbage",
        b"\x00\xff",
        '{"type":"response.audio.delta","response_id":"r","delta":"!"}',
    ],
)
def test_a_broken_session_stays_broken(bad: str | bytes) -> None:
    session = in_flight()
    with pytest.raises(RemoteProtocolError):
        session.receive(bad)
    with pytest.raises(RemoteProtocolError):
        session.receive(samples.response_created())
    with pytest.raises(LocalProtocolError, match="CLOSED"):
        session.finish("9")
    failure = session.closed(1000)
    assert failure is not None
    assert failure.fault is Fault.PROTOCOL_BROKEN
    assert failure.session_id == "sess_1"


def test_nothing_is_heard_after_the_end_but_the_success_stands() -> None:
    session = in_flight()
    receive(session, [*samples.whole_response(), samples.FINISHED])
    with pytest.raises(RemoteProtocolError, match="FINISHED"):
        session.receive(samples.delta())
    assert session.finished
    assert session.closed(1006) is None


def test_unknown_events_are_kept_counted_and_bounded() -> None:
    session = in_flight()
    [ignored] = session.receive('{"type":"response.mood"}')
    assert isinstance(ignored, Ignored)
    assert ignored.event.type == "response.mood"
    for number in range(MAX_UNKNOWN_EVENTS - 1):
        session.receive(json.dumps({"type": f"new.{number % 100}"}))
    finished = receive(session, [*samples.whole_response(), samples.FINISHED])[-1]
    assert isinstance(finished, SessionFinished)
    assert finished.unknown_events[:2] == ("response.mood", "new.0")
    assert len(finished.unknown_events) == MAX_UNKNOWN_TYPES


def test_too_many_unknown_events_are_another_protocol() -> None:
    session = in_flight()
    for _ in range(MAX_UNKNOWN_EVENTS):
        session.receive('{"type":"x"}')
    with pytest.raises(RemoteProtocolError, match=str(MAX_UNKNOWN_EVENTS)):
        session.receive('{"type":"x"}')


# ---------------------------------------------------------------------------------------- we break the protocol


def test_nothing_is_sent_before_the_greeting() -> None:
    session = ClientSession()
    with pytest.raises(LocalProtocolError, match=r"session\.update .* WAITING"):
        session.configure(CONFIG, "1")


def test_no_text_before_a_voice() -> None:
    with pytest.raises(LocalProtocolError, match=r"append .* OPEN"):
        opened().append("Hello.", "1")


def test_no_second_voice_once_text_was_sent() -> None:
    session = opened()
    session.configure(CONFIG, "1")
    session.configure(CONFIG, "2")
    session.append("Hello.", "3")
    with pytest.raises(LocalProtocolError, match=r"session\.update .* SPEAKING"):
        session.configure(CONFIG, "4")


def test_no_empty_commit() -> None:
    session = opened()
    session.configure(CONFIG, "1")
    session.append("Hello.", "2")
    session.commit("3")
    with pytest.raises(LocalProtocolError, match=r"commit .* EMPTY"):
        session.commit("4")


def test_no_text_after_the_end() -> None:
    session = in_flight()
    with pytest.raises(LocalProtocolError, match=r"append .* FINISHING"):
        session.append("more", "9")
    with pytest.raises(LocalProtocolError, match=r"finish .* FINISHING"):
        session.finish("9")
    with pytest.raises(LocalProtocolError, match=r"clear .* FINISHING"):
        session.clear("9")


@pytest.mark.parametrize("text", ["", "x" * (MAX_APPEND_CHARS + 1), "\ud83d"])
def test_text_that_cannot_be_sent_changes_nothing(text: str) -> None:
    session = opened()
    session.configure(CONFIG, "1")
    with pytest.raises(LocalProtocolError):
        session.append(text, "2")
    session.append("x" * MAX_APPEND_CHARS, "3")


def test_after_a_failed_send_nothing_is_sent_but_the_reason_is_heard() -> None:
    session = opened()
    session.configure(CONFIG, "1")
    session.append("Hello.", "2")
    session.send_failed()
    with pytest.raises(LocalProtocolError, match="CLOSED"):
        session.append("more", "3")
    session.receive(samples.UPDATED)
    error = samples.message("error", error={"code": "Arrearage", "message": "pay"})
    assert failure_of(session.receive(error)) is Fault.ACCOUNT_ARREARS


def test_an_end_proves_that_a_flight_arrived_although_its_send_seemed_to_fail() -> None:
    session = in_flight()
    session.send_failed()
    assert isinstance(receive(session, [*samples.whole_response(), samples.FINISHED])[-1], SessionFinished)
