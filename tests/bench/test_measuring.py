"""The benches run, and say what they claim to say. Figures are guarded as ratios: absolute ones belong to a report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import capacity, latency

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
