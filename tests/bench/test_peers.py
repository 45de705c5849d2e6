"""The peers speak, they are compared in pairs, and the guard says when the gateway has become slower."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from bench import growth, guard
from bench.compare import Results, added_ms, compare, figures, in_turn, ratios
from bench.relay_load import Load, Round
from bench.sides import COMMON, DIRECT, GATEWAY, PEERS
from bench.source.audio import Recording
from bench.statistics import summarize
from protocol.mp3 import Mp3FrameReader

ALL = [DIRECT, GATEWAY, *PEERS]


def round_of(cpu_us: float, delay_ms: float = 1.0) -> Round:
    return Round(3, 3, 30, cpu_us, cpu_us, 0.0, 0.1, 40.0, 0.0, [delay_ms], [100.0])


def results_of(gateway: float, peer: float) -> Results:
    """Of a gateway that takes so much of everything, and a peer."""
    rounds = {GATEWAY: [round_of(gateway, gateway)] * 3, COMMON: [round_of(peer, peer)] * 3}
    return Results(rounds, {GATEWAY: [gateway] * 3, COMMON: [peer] * 3})


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.timeout(240)
def test_every_side_brings_all_of_the_speech_and_is_measured() -> None:
    results = compare(ALL, Load(streams=3, seconds=0.3), rounds=1, firsts=1)
    assert list(results.first_ms) == list(results.rounds) == ALL
    found = json.loads(json.dumps(figures(results)))["sides"]
    for name in ALL:
        assert min(results.first_ms[name]) > 100, f"{name}: the source waits that long"
        assert [one.whole for one in results.rounds[name]] == [3], name
        assert all(len(one.delays_ms) == one.deltas > 0 for one in results.rounds[name]), name
        assert (found[name]["cpu_us_per_delta"][0] > 0) is (name != DIRECT)
        assert found[name]["relay_ms"]["p50"] > 0


def test_each_begins_a_round_in_turn() -> None:
    assert [in_turn("abc", number) for number in range(4)] == [
        ["a", "b", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
        list("abc"),
    ]


def test_what_is_compared_are_pairs() -> None:
    results = Results(
        {GATEWAY: [round_of(2.0), round_of(9.0)], COMMON: [round_of(1.0), round_of(3.0)]},
        {GATEWAY: [105.0, 103.0], DIRECT: [101.0, 102.0]},
    )
    assert ratios(results, GATEWAY, COMMON) == [2.0, 3.0]
    assert added_ms(results, GATEWAY) == [4.0, 1.0]


@pytest.mark.parametrize(("gateway", "status", "looks"), [(1.2, 0, 1), (2.0, 1, 2)], ids=["as before", "slower"])
def test_the_guard_fails_when_it_is_slower_each_time(
    monkeypatch: pytest.MonkeyPatch, gateway: float, status: int, looks: int
) -> None:
    played: list[float] = []

    def compared(*_arguments: object, **_options: object) -> Results:
        played.append(gateway)
        return results_of(gateway, 1.0)

    monkeypatch.setattr(guard, "compare", compared)
    assert (guard.main(["--tries", "2"]), len(played)) == (status, looks)


def test_one_good_look_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    gateways = iter([5.0, 1.0])
    monkeypatch.setattr(guard, "compare", lambda *_, **__: results_of(next(gateways), 1.0))
    assert guard.main(["--tries", "3"]) == 0


def test_a_ratio_without_a_bound_is_no_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bounds = tmp_path / "guard.json"
    bounds.write_text('{"cpu_per_delta": {"at_most": 2}}')
    monkeypatch.setattr(guard, "compare", lambda *_, **__: results_of(1.0, 1.0))
    with pytest.raises(KeyError, match="relay_p50"):
        guard.main(["--bounds", str(bounds)])


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.timeout(240)
def test_growth_says_up_to_which_number_one_core_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "growth.json"
    assert growth.main(["--streams", "1", "2", "--seconds", "0.3", "--json", str(report)]) == 0
    steps = json.loads(report.read_text())
    assert [(step["streams"], step["whole"]) for step in steps] == [(1, 1), (2, 2)]
    assert "streams" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("delay_ms", "whole", "carried"), [(5.0, 3, True), (11.0, 3, False), (5.0, 2, False)], ids=["yes", "late", "cut"]
)
def test_a_load_is_carried_when_all_is_in_time_and_whole(delay_ms: float, whole: int, *, carried: bool) -> None:
    played = dataclasses.replace(round_of(100.0, delay_ms), whole=whole)
    assert growth.Step(played, summarize(played.delays_ms)).carried is carried


@pytest.mark.parametrize("deltas", [1, 2, 31, 40])
def test_the_made_speech_ends_with_a_whole_frame(deltas: int) -> None:
    recording, reader = Recording(), Mp3FrameReader()
    frames = b"".join(reader.feed(recording.delta(number, deltas).mp3) for number in range(deltas))
    reader.finish()
    assert reader.leftover_bytes == 0
    assert len(frames) == sum(recording.delta(number, deltas).size for number in range(deltas))
