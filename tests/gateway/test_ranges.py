"""Byte ranges against RFC 9110, 14, and the rules for audio that still grows (product section 4)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ranges import (
    PAST_EVERY_END,
    Closed,
    Open,
    Range,
    RangeNotSatisfiable,
    Span,
    Suffix,
    parse_offset,
    parse_range,
    resolve,
    resolve_growing,
)


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("bytes=0-0", Closed(0, 0)),
        ("bytes=2-5", Closed(2, 5)),
        ("Bytes= 2-5 ", Closed(2, 5)),
        ("bytes=7-", Open(7)),
        ("bytes=-3", Suffix(3)),
        ("bytes=-0", Suffix(0)),
        ("bytes=0-" + "9" * 5000, Closed(0, PAST_EVERY_END)),
    ],
)
def test_one_range_is_understood(header: str, wanted: Range) -> None:
    assert parse_range(header) == wanted


@pytest.mark.parametrize(
    "header",
    [None, "", "bytes", "bytes=", "bytes=-", "bytes=5-2", "bytes=a-b", "bytes=1-2,4-5", "items=0-1", "bytes=٣-", "0-1"],
)
def test_everything_else_is_ignored(header: str | None) -> None:
    assert parse_range(header) is None


@pytest.mark.parametrize(
    ("wanted", "span"),
    [
        (Closed(0, 0), Span(0, 1)),
        (Closed(8, 9), Span(8, 10)),
        (Closed(8, 99), Span(8, 10)),
        (Open(0), Span(0, 10)),
        (Open(9), Span(9, 10)),
        (Suffix(1), Span(9, 10)),
        (Suffix(99), Span(0, 10)),
    ],
)
def test_ranges_of_ten_bytes(wanted: Range, span: Span) -> None:
    assert resolve(wanted, 10) == span


@pytest.mark.parametrize("wanted", [Closed(10, 12), Open(10), Suffix(0), Open(PAST_EVERY_END)])
def test_ranges_behind_the_end_name_the_size(wanted: Range) -> None:
    with pytest.raises(RangeNotSatisfiable) as caught:
        resolve(wanted, 10)
    assert caught.value.headers == {"content-range": "bytes */10"}


@pytest.mark.parametrize("wanted", [Closed(0, 0), Open(0), Suffix(1)])
def test_an_empty_body_has_no_range(wanted: Range) -> None:
    with pytest.raises(RangeNotSatisfiable):
        resolve(wanted, 0)


@pytest.mark.parametrize("wanted", [None, Open(0), Open(5), Open(99)])
def test_an_open_range_of_growing_audio_is_all_of_it(wanted: Range | None) -> None:
    assert resolve_growing(wanted, 10) is None


def test_a_closed_range_of_growing_audio_whose_bytes_exist() -> None:
    span = resolve_growing(Closed(2, 9), 10)
    assert span == Span(2, 10)
    assert span.content_range(None) == "bytes 2-9/*"


@pytest.mark.parametrize("wanted", [Closed(2, 10), Closed(10, 12), Suffix(3)])
def test_other_ranges_of_growing_audio_cannot_be_answered(wanted: Range) -> None:
    with pytest.raises(RangeNotSatisfiable) as caught:
        resolve_growing(wanted, 10)
    assert caught.value.headers == {}


@pytest.mark.parametrize(("text", "offset"), [(None, 0), ("0", 0), ("007", 7), ("123456789012345", 123456789012345)])
def test_offsets(text: str | None, offset: int) -> None:
    assert parse_offset(text) == offset


@pytest.mark.parametrize("text", ["", " 1", "-1", "+1", "1.0", "1e3", "x", "٣", "1_0", "1\n", "9" * 16, "9" * 5000])
def test_what_is_no_offset(text: str) -> None:
    with pytest.raises(ValueError, match="offset"):
        parse_offset(text)


@given(st.integers(0, 40), st.integers(0, 60), st.integers(0, 60))
def test_a_resolved_range_lies_within_the_body_and_within_the_wish(size: int, first: int, last: int) -> None:
    wanted = parse_range(f"bytes={first}-{last}")
    if wanted is None:
        assert last < first
        return
    try:
        span = resolve(wanted, size)
    except RangeNotSatisfiable:
        assert first >= size
        return
    assert list(range(span.start, span.stop)) == [byte for byte in range(size) if first <= byte <= last]
    assert span.content_range(size) == f"bytes {span.start}-{span.stop - 1}/{size}"
