"""Percentiles and texts: the small parts that every figure rests on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.statistics import summarize
from bench.texts import english, japanese


def test_percentiles_are_values_that_were_measured() -> None:
    found = summarize([float(value) for value in range(1, 101)])
    assert (found.p50, found.p95, found.p99, found.smallest, found.largest) == (50, 95, 99, 1, 100)


def test_with_few_runs_the_worst_one_is_the_p99() -> None:
    found = summarize([3.0, 1.0, 2.0])
    assert (found.count, found.p50, found.p99) == (3, 2.0, 3.0)


def test_nothing_measured_is_not_zero() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        summarize([])


@given(st.lists(st.floats(allow_nan=False), min_size=1))
def test_percentiles_are_ordered(values: list[float]) -> None:
    found = summarize(values)
    assert found.smallest <= found.p50 <= found.p95 <= found.p99 <= found.largest


@given(st.integers(1, 2500))
def test_texts_have_the_length_asked_for(characters: int) -> None:
    for text in (english(characters), japanese(characters)):
        assert len(text) == characters
        assert text == text.strip()
