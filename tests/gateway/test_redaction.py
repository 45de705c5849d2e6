"""What is kept of a vendor's words: none of what it may have quoted from its user."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.redaction import VENDOR_TEXT_CHARS, without_quotes

MARKS = "\"'`“”‘’«»"


@pytest.mark.parametrize(
    ("vendor", "kept"),
    [
        ("Voice 'ada' not found.", "Voice '…' not found."),
        ("Bad text \"she said 'hello' to me\" here", "Bad text '…' here"),
        ("Text 'don't tell' and more 'secret' end", "Text '…' end"),
        ("unterminated 'secret", "unterminated '…'"),
        ("Nothing is quoted.", "Nothing is quoted."),
        ("", ""),
    ],
)
def test_what_is_quoted_is_left_out(vendor: str, kept: str) -> None:
    assert without_quotes(vendor) == kept


@given(st.sampled_from(MARKS), st.sampled_from(MARKS), st.text(alphabet=f"{MARKS} ab"), st.text(alphabet="xy "))
def test_a_quoted_text_is_left_out_whatever_marks_it_holds(
    opening: str, closing: str, inside: str, outside: str
) -> None:
    kept = without_quotes(f"{outside}{opening}SECRET{inside}SECRET{closing}{outside}")
    assert "SECRET" not in kept
    assert kept == f"{outside}'…'{outside}"[:VENDOR_TEXT_CHARS]


def test_it_is_not_kept_at_any_length() -> None:
    assert len(without_quotes("x" * 10_000)) == VENDOR_TEXT_CHARS
