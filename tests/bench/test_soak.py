"""The soak asks for every kind of generation, and notices what grows."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bench import soak
from bench.plot import Panel, svg
from bench.soak import GROWTH_IN_SILENCE, GROWTH_UNDER_LOAD, Look, growth, picture
from bench.soak_load import SHARES

FIGURES = ("memory", "descriptors", "tasks", "connections")
SILENCE = Look(generations=10, memory=60.0, descriptors=50, tasks=40, connections=10)
_SVG = "{http://www.w3.org/2000/svg}"


def looks(growing: str = "", slope: float = 0.0, count: int = 40) -> list[Look]:
    """A run in which one figure grows by so much from look to look."""
    return [
        Look(generations=number, **{name: 50 + slope * number * (name == growing) for name in FIGURES})
        for number in range(count)
    ]


def test_what_stays_as_it_was_is_fine() -> None:
    assert growth(looks(), SILENCE, SILENCE) == []


@pytest.mark.parametrize("name", FIGURES)
def test_what_grows_under_load_is_named(name: str) -> None:
    (sentence,) = growth(looks(name, GROWTH_UNDER_LOAD[name] / 10), SILENCE, SILENCE)
    assert soak.TITLES[name] in sentence
    assert "under load" in sentence
    assert growth(looks(name, -GROWTH_UNDER_LOAD[name]), SILENCE, SILENCE) == []


@pytest.mark.parametrize("name", FIGURES)
def test_what_is_held_in_silence_is_named(name: str) -> None:
    held = {figure: getattr(SILENCE, figure) for figure in FIGURES}
    held[name] += GROWTH_IN_SILENCE[name] + 1
    (sentence,) = growth(looks(), SILENCE, Look(generations=20, **held))
    assert soak.TITLES[name] in sentence
    assert "in silence" in sentence


def test_a_few_looks_are_no_run() -> None:
    with pytest.raises(ValueError, match="too few"):
        growth(looks(count=soak.FEWEST_LOOKS - 1), SILENCE, SILENCE)


def test_the_picture_has_a_line_for_each_figure() -> None:
    document = ET.fromstring(picture(looks()))  # noqa: S314 - our own
    lines = document.findall(f".//{_SVG}polyline")
    assert [len(line.attrib["points"].split()) for line in lines] == [40] * len(FIGURES)
    titles = {text.text for text in document.iter(f"{_SVG}text")}
    assert set(soak.TITLES.values()) <= titles


def test_a_chart_is_inside_its_frame_and_escapes_its_words() -> None:
    document = ET.fromstring(svg("a < b", "x & y", [Panel("<script>", [(0, 0), (3, 7.5)])]))  # noqa: S314 - our own
    points = document.find(f".//{_SVG}polyline").attrib["points"].split()  # type: ignore[union-attr]
    assert [tuple(map(float, point.split(","))) for point in points] == [(54.0, 144.0), (366.0, 34.0)]
    assert "<script>" in {text.text for text in document.iter(f"{_SVG}text")}


def test_a_chart_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no points for memory"):
        svg("", "", [Panel("memory", [])])


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_every_kind_ends_as_it_must(tmp_path: Path) -> None:
    report = tmp_path / "soak.json"
    soak.main(["--generations", "60", "--at-once", "5", "--json", str(report)])  # too short to judge what grows
    figures = json.loads(report.read_text())
    assert figures["failures"] == {}
    assert figures["ended"] == {kind: 3 * share for kind, share in SHARES.items()}
    assert figures["looks"][-1]["connections"] > 1
    assert figures["after"]["tasks"] > 1
