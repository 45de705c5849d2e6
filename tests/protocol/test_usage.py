"""Counting as the vendor bills, and reading bills of any shape."""

from __future__ import annotations

import pytest

from protocol.usage import MAX_COUNT, billable_characters, usage_counts


@pytest.mark.parametrize(
    ("text", "characters"),
    [
        ("", 0),
        ("Hello.", 6),
        ("今天天气很好我们去公园吧。", 25),  # the recorded check of protocol reference 1.4: 12 Han and a full stop
        ("東京タワー", 7),
        ("한국어", 3),
        ("，。！", 3),
        ("😀", 1),
    ],
)
def test_han_counts_twice(text: str, characters: int) -> None:
    assert billable_characters(text) == characters


def test_a_bill_is_read_key_by_key() -> None:
    usage = {"characters": 25, "total_tokens": 0, "input_tokens": None, "output_tokens": "36", "new": 1}
    assert usage_counts(usage) == {"characters": 25, "total_tokens": 0}


@pytest.mark.parametrize(
    "usage", [None, [], "free", 3, {}, {"characters": True}, {"characters": -5}, {"characters": 2.5}]
)
def test_a_bill_that_says_nothing(usage: object) -> None:
    assert usage_counts(usage) == {}


def test_a_count_beyond_belief_is_no_count() -> None:
    assert usage_counts({"characters": MAX_COUNT, "total_tokens": MAX_COUNT + 1}) == {"characters": MAX_COUNT}
