"""Every named fault of the realtime endpoint, seen from a client's end."""

from __future__ import annotations

import io
import json
from contextlib import suppress
from itertools import pairwise
from typing import Any

import miniaudio
import pytest
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus

from bench.emulator.faults import SCENARIOS, Fault, FaultBook, UnknownFault, parse_faults
from tests.bench.realtime_client import Client, dial, speak
from tests.support.emulator import Emulator

pytestmark = pytest.mark.integration

TEXT = "A sentence of some length, so that there are several deltas to go wrong. And another one after it."


@pytest.fixture(scope="module")
def voice(emulator: Emulator) -> str:
    return emulator.clone("faulty")


def begin(client: Client, voice: str) -> None:
    """Say everything. A fault may close the socket before the last word; what was received then tells the test."""
    with suppress(ConnectionClosed):
        client.update(voice)
        client.append(TEXT)
        client.send("session.finish")


def outcome(emulator: Emulator) -> str:
    return str(emulator.sessions()[-1]["outcome"])


def test_every_fault_is_described_and_names_its_source() -> None:
    assert set(SCENARIOS) == set(Fault)
    assert all(about.reference and about.does.endswith(".") for about in SCENARIOS.values())


def test_unknown_fault_names_are_listed() -> None:
    assert parse_faults([" cut", "", "stall"]) == {Fault.CUT, Fault.STALL}
    with pytest.raises(UnknownFault, match="bogus, worse"):
        parse_faults(["cut", "bogus", "worse"])


def test_an_ordered_fault_is_used_up() -> None:
    book = FaultBook()
    book.order("v", frozenset({Fault.CUT}), times=2)
    assert [book.take("v"), book.take("other"), book.take("v"), book.take("v")] == [
        {Fault.CUT},
        frozenset(),
        {Fault.CUT},
        frozenset(),
    ]


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("wrong_key", 401, "InvalidApiKey"),
        ("wrong_region", 401, "InvalidApiKey"),
        ("model_gone", 404, "ModelNotFound"),
        ("throttled_upgrade", 429, "Throttling.RateQuota"),
        ("bogus", 400, "InvalidParameter"),
    ],
)
def test_refusals_at_the_upgrade(emulator: Emulator, fault: str, status: int, code: str) -> None:
    with pytest.raises(InvalidStatus) as refused, dial(emulator, faults=fault):
        pass
    assert refused.value.response.status_code == status
    assert json.loads(refused.value.response.body)["code"] == code


@pytest.mark.parametrize(
    ("fault", "code", "after"),
    [
        ("bad_voice", "invalid_value", "session.created"),
        ("bad_voice_late", "invalid_value", "session.updated"),
        ("throttled_event", "Throttling.RateQuota", "session.updated"),
        ("error_event", "InternalError", "response.content_part.added"),
        ("error_after_audio", "InternalError", "response.audio.delta"),
    ],
)
def test_errors_after_which_the_socket_stays_open(
    emulator: Emulator, voice: str, fault: str, code: str, after: str
) -> None:
    with dial(emulator, faults=fault) as client:
        begin(client, voice)
        assert client.receive_until("error")["error"]["code"] == code
        assert client.heard.types[-2] == after
        assert client.socket.ping().wait(5)
    assert outcome(emulator) == ("error:invalid_value" if fault == "bad_voice" else f"fault:{fault}")


@pytest.mark.parametrize(
    ("fault", "close_code", "has_error"),
    [("arrears", 1007, False), ("throttled_close", 1011, False), ("error_then_close", 1011, True)],
)
def test_closes_before_any_audio(emulator: Emulator, voice: str, fault: str, close_code: int, has_error: bool) -> None:
    with dial(emulator, faults=fault) as client:
        begin(client, voice)
        with pytest.raises(ConnectionClosedError) as closed:
            client.receive_until("session.finished")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == close_code
    assert closed.value.rcvd.reason
    assert ("error" in client.heard.types) == has_error
    assert client.heard.deltas == []
    assert outcome(emulator) == f"fault:{fault}"


def test_cut_ends_in_the_middle_of_a_delta_without_a_close_frame(emulator: Emulator, voice: str) -> None:
    with dial(emulator, faults="cut") as client:
        begin(client, voice)
        with pytest.raises(ConnectionClosedError) as closed:
            client.receive_until("session.finished")
    assert closed.value.rcvd is None
    assert len(client.heard.deltas) == 2
    assert outcome(emulator) == "fault:cut"


def test_stall_says_nothing_more_but_answers_pings(emulator: Emulator, voice: str) -> None:
    with dial(emulator, faults="stall") as client:
        begin(client, voice)
        for _ in range(2):
            client.receive_until("response.audio.delta")
        assert client.socket.ping().wait(5)
        with pytest.raises(TimeoutError):
            client.socket.recv(0.5)
    assert outcome(emulator) == "fault:stall"


def test_no_pong_speaks_but_answers_no_ping(emulator: Emulator, voice: str) -> None:
    with dial(emulator, faults="no_pong") as client:
        pong = client.socket.ping()
        begin(client, voice)
        client.receive_until("session.finished")
        assert not pong.is_set()


def test_several_responses_follow_each_other_and_make_the_same_bill(emulator: Emulator, voice: str) -> None:
    heard = speak(emulator, voice, TEXT, faults="several_responses")
    responses = [event["response"]["id"] for event in heard.of("response.created")]
    assert len(set(responses)) == len(responses) > 2
    assert [event["response"]["id"] for event in heard.of("response.done")] == responses
    order = [kind for kind in heard.types if kind in {"response.created", "response.done"}]
    assert order == ["response.created", "response.done"] * len(responses)
    usage = [event["response"]["usage"]["characters"] for event in heard.of("response.done")]
    assert sum(usage) == len(TEXT)


def test_late_deltas_come_after_their_response_and_nothing_is_lost(emulator: Emulator, voice: str) -> None:
    plain = speak(emulator, voice, TEXT)
    late = speak(emulator, voice, TEXT, faults="late_deltas")
    done = late.types.index("response.done")
    assert late.types[done + 1 :] == ["response.audio.delta", "response.audio.delta", "session.finished"]
    assert late.audio == plain.audio


@pytest.mark.parametrize("rate", [16000, 24000, 48000])
def test_id3_and_info_frames_stand_at_every_join(emulator: Emulator, voice: str, rate: int) -> None:
    asked: dict[str, Any] = {"response_format": "mp3", "sample_rate": rate}
    plain = speak(emulator, voice, TEXT, faults="several_responses", **asked)
    tagged = speak(emulator, voice, TEXT, faults="several_responses,id3_xing", **asked)
    joins = len(tagged.of("response.created"))
    for mark in (b"ID3\x04", b"TAGemulated", b"Info"):
        assert tagged.audio.count(mark) == joins
        assert plain.audio.count(mark) == 0
    info = tagged.audio.index(b"Info")
    frame = tagged.audio[tagged.audio.index(b"\xff", 0, info) : info]
    assert len(frame) in {4 + 9, 4 + 17}, "the tag must stand right behind the header and the side information"
    alone = io.BytesIO(tagged.audio)
    assert miniaudio.decode(alone.getvalue(), nchannels=1, sample_rate=rate).num_frames > 0


def test_zero_audio_completes_without_a_delta(emulator: Emulator, voice: str) -> None:
    heard = speak(emulator, voice, TEXT, faults="zero_audio")
    assert heard.deltas == []
    assert heard.of("response.done")[0]["response"]["status"] == "completed"


def test_a_failed_response_is_the_last_that_is_heard(emulator: Emulator, voice: str) -> None:
    with dial(emulator, faults="response_failed") as client:
        begin(client, voice)
        assert client.receive_until("response.done")["response"]["status"] == "failed"
        assert client.heard.deltas
    assert outcome(emulator) == "fault:response_failed"


def test_unknown_events_stand_between_the_deltas(emulator: Emulator, voice: str) -> None:
    heard = speak(emulator, voice, TEXT, faults="unknown_events")
    assert heard.types.count("response.audio.progress") == len(heard.deltas)


def test_duplicated_ids_are_one_for_all_events_and_one_for_all_responses(emulator: Emulator, voice: str) -> None:
    heard = speak(emulator, voice, TEXT, faults="duplicated_ids,several_responses")
    assert len({event["event_id"] for event in heard.events}) == 1
    responses = [event["response"]["id"] for event in heard.of("response.created")]
    assert len(responses) > 2
    assert len(set(responses)) == 1


def test_garbage_is_a_text_frame_that_is_not_json(emulator: Emulator, voice: str) -> None:
    with dial(emulator, faults="garbage") as client:
        begin(client, voice)
        with pytest.raises(json.JSONDecodeError):
            client.receive_until("session.finished")


def test_an_oversized_frame_is_past_four_mebibytes(emulator: Emulator, voice: str) -> None:
    with dial(emulator, faults="oversized_frame") as client:
        begin(client, voice)
        with pytest.raises(json.JSONDecodeError) as frame:
            client.receive_until("session.finished")
    assert len(frame.value.doc) > 4 * 1024 * 1024


def test_close_after_finished(emulator: Emulator, voice: str) -> None:
    with dial(emulator, faults="close_after_finished") as client:
        begin(client, voice)
        client.receive_until("session.finished")
        with pytest.raises(ConnectionClosed) as closed:
            client.receive()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1000


def test_faults_strike_short_texts_too(emulator: Emulator, voice: str) -> None:
    with dial(emulator, faults="cut") as client:
        client.update(voice)
        client.append("No.")
        client.send("session.finish")
        with pytest.raises(ConnectionClosedError):
            client.receive_until("session.finished")


def test_slow_drip_is_five_times_slower(emulator: Emulator, voice: str) -> None:
    def typical_gap(faults: str) -> float:
        times = speak(emulator, voice, TEXT, faults=faults).delta_times
        return (times[-1] - times[0]) / (len(times) - 1)

    assert typical_gap("slow_drip") > 3 * typical_gap("")


def test_faults_are_ordered_by_voice_through_the_control_endpoint(emulator: Emulator, voice: str) -> None:
    other = emulator.clone("healthy")
    emulator.order_faults(voice, "zero_audio", times=1)
    assert speak(emulator, other, TEXT).deltas
    assert not speak(emulator, voice, TEXT).deltas
    assert speak(emulator, voice, TEXT).deltas


def test_ids_and_pongs_can_be_ordered_by_voice_too(emulator: Emulator, voice: str) -> None:
    emulator.order_faults(voice, "duplicated_ids", "no_pong", times=1)
    with dial(emulator) as client:
        begin(client, voice)
        client.receive_until("session.updated")
        pong = client.socket.ping()
        client.receive_until("session.finished")
        assert not pong.is_set()
    created, *others = client.heard.events
    assert {event["event_id"] for event in others} == {"event_" + "A" * 21} != {created["event_id"]}


def test_faults_for_any_voice_last_until_they_are_cleared(emulator: Emulator, voice: str) -> None:
    emulator.order_faults("*", "late_deltas")
    for _ in range(2):
        assert speak(emulator, voice, TEXT).types[-2] == "response.audio.delta"
    emulator.clear_faults()
    assert speak(emulator, voice, TEXT).types[-2] == "response.done"


def test_gaps_between_deltas_are_kept_for_every_session(emulator: Emulator, voice: str) -> None:
    times = speak(emulator, voice, TEXT).delta_times
    assert all(later >= earlier for earlier, later in pairwise(times))
