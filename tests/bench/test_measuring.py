"""The benches run, and say what they claim to say. Figures are guarded as ratios: absolute ones belong to a report."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bench import cancel, capacity, crowd, hostile, http_reader, latency, live_streams, readers, startup, v1
from tests.support.mp3_files import bare_mp3

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(240)]

MOST_FIRST_AUDIO_RATIO = 3.0
"""Request to first byte through the gateway, against straight from the emulator, which waits 100 ms itself. Measured
1.2; a gateway that waits for anything it need not wait for is far above."""


def test_latency_is_measured_in_pairs_and_the_gateway_adds_little(tmp_path: Path) -> None:
    report = tmp_path / "latency.json"
    assert latency.main(["--runs", "5", "--characters", "300", "--speed", "8", "--whole", "--json", str(report)]) == 0
    figures = json.loads(report.read_text())
    assert figures["first_audio"]["gateway"]["count"] == figures["first_audio"]["emulator"]["count"] == 5
    ratio = figures["first_audio"]["gateway"]["p50"] / figures["first_audio"]["emulator"]["p50"]
    assert 1.0 < ratio < MOST_FIRST_AUDIO_RATIO
    assert figures["behind_provider"]["gateway"]["smallest"] > 0
    # At eight times playback a text of 300 characters still takes over ten times as long as its first byte.
    assert figures["whole"]["last_s"] > figures["whole"]["first_s"] * 5


def test_each_way_to_cancel_is_timed_to_the_end_of_its_own_session(tmp_path: Path) -> None:
    report = tmp_path / "cancel.json"
    assert cancel.main(["--runs", "2", "--characters", "200", "--json", str(report)]) == 0
    figures = json.loads(report.read_text())
    assert {way: row["count"] for way, row in figures.items()} == {"cancel": 2, "delete": 2, "disconnect": 2}
    assert all(0 < row["smallest"] < cancel.END_SECONDS * 1000 for row in figures.values())


def test_a_start_is_timed_and_an_import_that_fails_is_no_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = tmp_path / "startup.json"
    assert startup.main(["--runs", "1", "--starts", "1", "--json", str(report)]) == 0
    figures = json.loads(report.read_text())
    assert figures["imports"]["gateway"]["p50"] > figures["imports"]["interpreter"]["p50"] > 0
    assert figures["memory"]["gateway"]["smallest"] > 1
    monkeypatch.setitem(startup.IMPORTS, "gateway", "import nothing_of_this_name")
    with pytest.raises(subprocess.CalledProcessError):
        startup.main(["--runs", "1", "--starts", "1"])


def test_polls_are_measured_in_turns_with_the_bare_handler(tmp_path: Path) -> None:
    report = tmp_path / "v1.json"
    assert v1.main(["--rounds", "2", "--slice", "0.2", "--clients", "2", "--json", str(report)]) == 0
    figures = json.loads(report.read_text())
    assert set(figures["rates"]) == {"gateway", "bare on hypercorn", "bare on uvicorn"}
    assert all(row["count"] == 2 and row["smallest"] > 0 for row in figures["ratios"].values())


def test_an_answer_other_than_200_is_told_from_one_that_counts() -> None:
    poller = v1.Poller(b"")
    poller.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{")
    assert (poller.answers, poller.failed) == (0, b"")
    poller.data_received(b"}")
    assert (poller.answers, poller.failed) == (1, b"")
    poller.data_received(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
    assert poller.failed.startswith(b"HTTP/1.1 401")


def test_every_stream_of_a_capacity_round_completes(tmp_path: Path) -> None:
    report = tmp_path / "capacity.json"
    options = ["--streams", "12", "--rounds", "2", "--characters", "400", "--speed", "8", "--json", str(report)]
    assert capacity.main(options) == 0
    rounds = json.loads(report.read_text())
    assert [(row["streams"], row["completed"]) for row in rounds] == [(12, 12), (12, 12)]
    # espeak's pauses depend a little on what it said before, so the rounds are alike, not equal.
    assert rounds[1]["megabytes"] == pytest.approx(rounds[0]["megabytes"], rel=0.02)
    assert all(row["gateway_cpu_seconds"] > 0 for row in rounds)


@pytest.mark.parametrize(
    ("peaks", "growth"), [([100.0], 0.0), ([100.0, 99.0], -0.5), ([100.0, 101.0, 104.0, 102.0], 2.0)]
)
def test_memory_growth_is_a_share_of_the_audio_of_a_round(peaks: list[float], growth: float) -> None:
    audio = 2 * 2**20 / 1e6
    rounds = [capacity.Round(12, 12, 1.0, audio, peak, peak, 1.0) for peak in peaks]
    assert capacity.memory_growth(rounds) == pytest.approx(growth)


def test_a_crowd_gets_the_stored_bytes_and_the_bad_ones_are_let_go(tmp_path: Path) -> None:
    report = tmp_path / "readers.json"
    options = ["--streams", "4", "--listeners", "40", "--stalled", "8", "--alone", "2", "--crowded", "8"]
    # Whether others were late is for the report: here something else may be busy.
    readers.main([*options, "--speed", "4", "--stall-limit", "1", "--json", str(report)])
    figures = json.loads(report.read_text())
    assert figures["visits"] == {
        "listens to the end": 32,
        "leaves half-way": 4,
        "half-closes": 4,
        "reads nothing": 8,
    }
    assert figures["wrong"] == 0
    assert figures["dropped"] == {
        "listens to the end": 0,
        "leaves half-way": 0,
        "half-closes": 4,
        "reads nothing": 4,  # the others are paused players, who may read nothing for longer
    }
    assert figures["memory"]["peak"] <= figures["memory"]["bound"]
    assert figures["alone"]["count"] > 0 < figures["crowded"]["count"]


def test_a_delta_has_arrived_with_the_first_byte_beyond_all_before_it() -> None:
    deltas = [(0, 100), (1_000_000, 100), (2_000_000, 100), (3_000_000, 100)]
    # The second piece comes with the third, the last bytes of the first with the second; the last is not there yet.
    arrivals = [(500_000, 90), (2_500_000, 290)]
    found = [delay.ms for delay in live_streams.delays(deltas, arrivals)]
    assert found == [0.5, 1.5, 0.5]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_chunks_are_read_however_they_come(size: int) -> None:
    wire = b"5\r\nhello\r\nA\r\n, listener\r\n0\r\n\r\n"
    chunks = http_reader.Chunks()
    heard = [piece for start in range(0, len(wire), size) for piece in chunks.feed(wire[start : start + size])]
    assert b"".join(heard) == b"hello, listener"
    assert chunks.ended


@pytest.mark.parametrize(
    ("visit", "right"),
    [
        ({"size": 6, "offset": 4, "complete": True}, True),
        ({"size": 6, "offset": 4, "complete": False}, False),
        ({"size": 5, "offset": 4, "complete": True}, False),
        ({"role": crowd.Role.LEAVE, "size": 3}, True),
        ({"role": crowd.Role.LEAVE, "size": 3, "offset": 1, "heard": b"012"}, False),
        ({"role": crowd.Role.STALL}, True),
    ],
)
def test_who_got_the_stored_bytes(visit: dict[str, Any], right: bool) -> None:
    stored = b"0123456789"
    offset, size = visit.get("offset", 0), visit.get("size", 0)
    heard = visit.pop("heard", stored[offset : offset + size])
    facts = {"role": crowd.Role.LISTEN, "offset": 0, "size": 0, "complete": False, **visit}
    digest = hashlib.sha256(heard).hexdigest()
    assert readers.is_right(crowd.Visit(status=200, sha256=digest, dropped=False, **facts), stored) is right


def test_streams_play_on_among_hostile_connections(tmp_path: Path) -> None:
    report = tmp_path / "hostile.json"
    options = ["--connections", "200", "--streams", "3", "--characters", "60", "--json", str(report)]
    assert hostile.main(options) == 0
    figures = json.loads(report.read_text())
    assert [(phase["name"], phase["whole"], phase["underruns"]) for phase in figures["phases"]] == [
        ("alone", 3, 0),
        ("attacked", 3, 0),
        ("afterwards", 3, 0),
    ]
    answers = figures["attack"]["answers"]
    assert set(answers["idle"]) == set(answers["half-open"]) == {"200"}
    assert set(answers["oversized head"]) == set(answers["many headers"]) == {"431"}
    assert set(answers["garbage"]) == {"400"}
    attacked = figures["phases"][1]
    assert attacked["most_descriptors"] > figures["descriptors"][0] + 100, "they were there"


class TestPlayer:
    """Playback by the clock, as `bench.hostile` judges it."""

    def test_sound_that_comes_in_time_is_a_reserve(self) -> None:
        player = hostile.Player()
        player.take(bare_mp3(seconds=1), 0.0)
        player.take(b"", 0.1)
        assert player.lowest_reserve == pytest.approx(player.seconds - 0.1)

    def test_sound_that_comes_late_is_an_underrun(self) -> None:
        player = hostile.Player()
        player.take(bare_mp3(seconds=1), 0.0)
        player.take(b"", player.seconds + 0.5)
        assert player.lowest_reserve == pytest.approx(-0.5)

    def test_it_waits_for_enough_before_it_starts(self) -> None:
        player = hostile.Player()
        player.take(bare_mp3(seconds=hostile.START_SECONDS / 2), 0.0)
        player.take(b"", 60.0)
        assert player.lowest_reserve == float("inf")
