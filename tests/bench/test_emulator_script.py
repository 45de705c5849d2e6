"""The script form: these events, with these gaps, whatever the protocol says."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosedError

from tests.bench.realtime_client import dial, speak
from tests.support.emulator import Emulator

pytestmark = pytest.mark.integration

CREATED = {"event_id": "event_1", "type": "session.created", "session": {"id": "sess_1", "zero": 0}}


@pytest.fixture(autouse=True)
def nothing_left(emulator: Emulator) -> Iterator[None]:
    """A script that a failed test left behind would strike in the next."""
    yield
    emulator.clear_script()


def test_events_go_out_as_written_with_their_gaps(emulator: Emulator) -> None:
    delta = {"type": "response.audio.delta", "response_id": "nobody's", "delta": "AAEC"}
    steps: list[dict[str, Any]] = [
        {"do": "send", "event": CREATED},
        *[{"do": "send", "event": delta, "after": 0.2}] * 3,
    ]
    assert emulator.play_script(*steps).status_code == 204
    with dial(emulator) as client:
        for _ in steps:
            client.receive()
    assert client.heard.events == [CREATED, delta, delta, delta]
    assert all(later - earlier > 0.15 for earlier, later in pairwise(client.heard.times))


def test_what_follows_a_wait_comes_after_what_the_client_said(emulator: Emulator) -> None:
    steps: list[dict[str, Any]] = [
        {"do": "wait", "for": "session.finish"},
        {"do": "send", "event": {"type": "session.finished"}},
    ]
    emulator.play_script(*steps)
    with dial(emulator) as client:
        client.socket.send("no event")
        client.socket.send("[]")
        client.append("Hello.")
        with pytest.raises(TimeoutError):
            client.socket.recv(timeout=0.2)
        client.send("session.finish")
        assert client.receive() == {"type": "session.finished"}


def test_text_and_bytes_of_anything(emulator: Emulator) -> None:
    binary = base64.b64encode(b"\0\1\2").decode()
    emulator.play_script({"do": "send_text", "text": "{"}, {"do": "send_bytes", "data": binary})
    with dial(emulator) as client:
        assert [client.socket.recv(5), client.socket.recv(5)] == ["{", b"\0\1\2"]


def test_a_close_with_its_reason(emulator: Emulator) -> None:
    emulator.play_script({"do": "close", "code": 1007, "reason": "words"})
    with dial(emulator) as client, pytest.raises(ConnectionClosedError) as caught:
        client.receive()
    assert caught.value.rcvd is not None
    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1007, "words")


def test_a_cut_in_the_middle_of_a_frame(emulator: Emulator) -> None:
    emulator.play_script({"do": "cut", "event": CREATED})
    with dial(emulator) as client, pytest.raises(ConnectionClosedError) as caught:
        client.receive()
    assert caught.value.rcvd is None
    assert emulator.sessions()[-1]["outcome"] == "script"


def test_a_script_is_silent_after_its_end_until_the_client_leaves(emulator: Emulator) -> None:
    emulator.play_script()
    with dial(emulator) as client, pytest.raises(TimeoutError):
        client.socket.recv(timeout=0.2)
    assert wait_for_outcome(emulator) == "client_closed"


def wait_for_outcome(emulator: Emulator) -> str:
    for _ in range(200):
        outcome = str(emulator.sessions()[-1]["outcome"])
        if outcome != "running":
            return outcome
    return "running"


def test_it_counts_connections_and_then_the_protocol_is_back(emulator: Emulator) -> None:
    emulator.play_script({"do": "send", "event": CREATED}, times=2)
    for _ in range(2):
        with dial(emulator) as client:
            assert client.receive() == CREATED
    assert speak(emulator, emulator.clone("after"), "Hello there.").types[-1] == "session.finished"


@pytest.mark.parametrize(
    ("steps", "named"),
    [
        ([{"do": "dance"}], "dance"),
        ([{"do": "send"}], "event"),
        ([{"do": "send", "event": {}, "before": 1}], "before"),
        ([{"do": "wait", "for": "x", "after": -1}], "after"),
        ([{"do": "send_bytes", "data": "?"}], "data"),
    ],
)
def test_a_script_that_cannot_be_read_is_refused(emulator: Emulator, steps: list[dict[str, Any]], named: str) -> None:
    answer = emulator.play_script(*steps)
    assert answer.status_code == 400
    assert named in json.dumps(answer.json())
    with dial(emulator) as client:
        assert client.receive()["type"] == "session.created"


def test_a_withdrawn_script_is_not_played(emulator: Emulator) -> None:
    emulator.play_script({"do": "send", "event": {"type": "scripted"}})
    emulator.clear_script()
    with dial(emulator) as client:
        assert client.receive()["type"] == "session.created"
