"""v1's JavaScript semantics, value by value (v1 contract 1.0, "Python porting traps")."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema.javascript import (
    MAX_SAFE_INTEGER,
    encode_uri_component,
    half_up,
    is_uuid,
    page_number,
    to_number,
    trim,
    utf16_length,
    utf16_prefix,
)


@pytest.mark.parametrize("blank", ["\ufeff", "\u00a0", "\u2028", "\u3000", "\t\r\n\v\f "])
def test_trim_removes_what_ecmascript_calls_white_space(blank: str) -> None:
    assert trim(f"{blank}a b{blank}") == "a b"


@pytest.mark.parametrize("kept", ["\x1c", "\x1f", "\x85", "\u200b", "\u180e"])
def test_trim_keeps_what_only_python_would_strip(kept: str) -> None:
    assert trim(f" {kept} ") == kept


@pytest.mark.parametrize(
    ("text", "units"), [("", 0), ("abc", 3), ("é", 1), ("日本", 2), ("😀", 2), ("👩‍👩‍👧", 8), ("\ud800", 1)]
)
def test_utf16_length(text: str, units: int) -> None:
    assert utf16_length(text) == units


@given(st.text())
def test_utf16_length_agrees_with_the_codec(text: str) -> None:
    assert utf16_length(text) == len(text.encode("utf-16-le", "surrogatepass")) // 2


@given(st.text(), st.integers(0, 60))
def test_utf16_prefix_is_a_prefix_that_misses_at_most_half_a_pair(text: str, units: int) -> None:
    prefix = utf16_prefix(text, units)
    assert text.startswith(prefix)
    wanted = min(units, utf16_length(text))
    assert wanted - 1 <= utf16_length(prefix) <= wanted


def test_utf16_prefix_never_halves_a_pair() -> None:
    assert utf16_prefix("a😀b", 2) == "a"
    assert utf16_prefix("a😀b", 3) == "a😀"


@pytest.mark.parametrize(
    ("value", "rounded"),
    [(0.5, 1), (1.5, 2), (2.5, 3), (-0.5, 0), (-1.5, -1), (-1.6, -2), (0.49999999999999994, 0), (24.0, 24)],
)
def test_half_up(value: float, rounded: int) -> None:
    assert half_up(value) == rounded


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("", 0.0),
        (" 7 ", 7.0),
        ("5.9", 5.9),
        ("5.", 5.0),
        (".5", 0.5),
        ("+1e1", 10.0),
        ("-2", -2.0),
        ("0x10", 16.0),
        ("0b11", 3.0),
        ("0O17", 15.0),
        ("010", 10.0),
        ("Infinity", math.inf),
        ("-Infinity", -math.inf),
        ("1e999", math.inf),
        ("0x" + "f" * 300, math.inf),
    ],
)
def test_to_number(text: str, number: float) -> None:
    assert to_number(text) == number


@pytest.mark.parametrize("text", ["x", "1_000", "inf", "nan", "٣", "1,5", "0x", "-0x10", "1 2", "e5", ".", "1n"])
def test_to_number_of_what_is_not_one(text: str) -> None:
    assert math.isnan(to_number(text))


@pytest.mark.parametrize(
    ("text", "page"),
    [
        (None, 20),
        ("", 20),
        ("  ", 20),
        ("0", 20),
        ("0.9", 20),
        ("-3", 20),
        ("abc", 20),
        ("Infinity", 20),
        ("5.9", 5),
        ("1e1", 10),
        (" 7 ", 7),
        ("0x10", 16),
        ("1e300", MAX_SAFE_INTEGER),
    ],
)
def test_page_number(text: str | None, page: int) -> None:
    assert page_number(text, 20) == page


@pytest.mark.parametrize("text", ["00000000-0000-0000-0000-000000000000", "AABBCCDD-1122-3344-5566-77889900AAbb"])
def test_uuid_shapes(text: str) -> None:
    assert is_uuid(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "00000000000000000000000000000000",
        "{00000000-0000-0000-0000-000000000000}",
        "00000000-0000-0000-0000-000000000000\n",
        "00000000-0000-0000-0000-00000000000g",
        "００000000-0000-0000-0000-000000000000",
    ],
)
def test_what_is_no_uuid(text: str) -> None:
    assert not is_uuid(text)


def test_encode_uri_component() -> None:
    assert encode_uri_component("a b/ü?&=+😀-_.!~*'()") == "a%20b%2F%C3%BC%3F%26%3D%2B%F0%9F%98%80-_.!~*'()"


def test_encode_uri_component_refuses_half_a_character() -> None:
    with pytest.raises(UnicodeEncodeError):
        encode_uri_component("\ud800")
