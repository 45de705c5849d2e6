"""Request bodies as v1 reads them (v1 contract 1.0 and 1.6)."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema.body import BodyError, read_generate_request, read_object, text_field

VOICE = "6f1d2b3c-0000-4000-8000-000000000001"


@pytest.mark.parametrize("body", [b"null", b"0", b"-0.0", b"false", b'""', b" null "])
def test_a_value_that_javascript_calls_false_is_refused(body: bytes) -> None:
    with pytest.raises(BodyError, match="empty"):
        read_object(body)


@pytest.mark.parametrize("body", [b"", b"{", b"{'a': 1}", b"NaN", b'{"a": "\x00"}', b"a=1&b=2"])
def test_what_is_not_json_is_refused(body: bytes) -> None:
    with pytest.raises(BodyError, match="not valid JSON"):
        read_object(body)


@pytest.mark.parametrize("body", [b"[]", b"[1]", b'"text"', b"1", b"true", b"{}"])
def test_other_values_have_no_fields(body: bytes) -> None:
    assert read_object(body) == {}


@pytest.mark.parametrize("escape", [rb"\ud800", rb"\udc00", rb"a\uD83Db", rb"\ude00\ud83d"])
def test_half_a_surrogate_pair_is_refused_in_clear_words(escape: bytes) -> None:
    with pytest.raises(BodyError, match="surrogate pair"):
        read_object(b'{"text": "' + escape + b'"}')


def test_a_whole_surrogate_pair_is_a_character() -> None:
    assert read_object(rb'{"text": "\ud83d\ude00"}') == {"text": "😀"}


@pytest.mark.parametrize("body", [b'{"text": "\xff"}', b'{"text": "\xed\xa0\x80"}'])
def test_bytes_that_are_not_utf8_are_refused(body: bytes) -> None:
    with pytest.raises(BodyError, match="UTF-8"):
        read_object(body)


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(BodyError, match="nested"):
        read_object(b"[" * 100_000)


def test_a_byte_order_mark_is_passed_over() -> None:
    assert read_object(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}


@pytest.mark.parametrize("value", [None, 5, True, [], {}, "", "  ", "\ufeff"])
def test_a_field_of_the_wrong_type_or_blank_is_missing(value: object) -> None:
    assert text_field({"name": value}, "name") is None


def test_a_text_field_is_trimmed() -> None:
    assert text_field({"name": " \ufeffa b\u3000"}, "name") == "a b"


def test_nul_is_refused() -> None:
    with pytest.raises(BodyError, match="NUL"):
        text_field({"name": "a\0b"}, "name")


def test_a_generate_request() -> None:
    request = read_generate_request(b'{"voice_id": " %s ", "text": " Hi ", "model": "0.6B"}' % VOICE.encode())
    assert request.voice_id == UUID(VOICE)
    assert request.text == "Hi"
    assert request.language == "Auto"


@pytest.mark.parametrize("language", [b"null", b'""', b'" "', b"7", b"[]"])
def test_a_language_that_is_no_text_is_auto(language: bytes) -> None:
    body = b'{"voice_id": "%s", "text": "Hi", "language": %s}' % (VOICE.encode(), language)
    assert read_generate_request(body).language == "Auto"


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"{}", "voice_id is required"),
        (b"[]", "voice_id is required"),
        (b'{"voice_id": 7, "text": ""}', "voice_id is required"),
        (b'{"voice_id": "x", "text": ""}', "voice_id is not a valid id"),
        (b'{"voice_id": "%s"}' % VOICE.encode(), "text is required"),
        (b'{"voice_id": "%s", "text": " \\ufeff "}' % VOICE.encode(), "text is required"),
        (b'{"voice_id": "%s", "text": "a\\u0000"}' % VOICE.encode(), "text contains a NUL"),
        (b'{"voice_id": "%s", "text": "a", "language": "\\u0000"}' % VOICE.encode(), "language contains a NUL"),
    ],
)
def test_complaints_come_in_the_contracts_order(body: bytes, complaint: str) -> None:
    with pytest.raises(BodyError, match=complaint):
        read_generate_request(body)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_object_or_a_complaint(body: bytes) -> None:
    try:
        fields = read_object(body)
    except BodyError:
        return
    assert isinstance(fields, dict)
