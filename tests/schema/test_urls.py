"""Which texts are absolute URLs; the answers are those of a browser's `new URL(text)`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema.urls import is_absolute_url

ABSOLUTE = [
    "https://example.com",
    "https://example.com/me.png?size=2#top",
    "HTTPS://EXAMPLE.COM",
    "http:example.com",
    "http:/example.com",
    r"http:\\example.com",
    "https://user:password@example.com:8443/",
    "https://example.com:",
    "https://example.com:0080/",
    "https://1.2.3.4",
    "https://0x7f.1",
    "https://4294967295",
    "https://[::1]:80/",
    "https://例え.jp/あ",
    "https://a..b/",
    "https://exa\nmple.com",
    " https://example.com ",
    "\0https://example.com",
    "ws://example.com",
    "file:///etc/passwd",
    "file://host/x",
    "file:c:/x",
    "mailto:ada@example.com",
    "data:image/png;base64,AAAA",
    "javascript:alert(1)",
    "urn:uuid:6f1d2b3c-0000-4000-8000-000000000001",
    "custom+app.x-1://",
    "custom:///path",
    "custom://host:99/",
    "a:",
]

NOT = [
    "",
    " ",
    "example.com",
    "/me.png",
    "//example.com/me.png",
    "?x",
    "#x",
    ":",
    "1a:b",
    "ä:b",
    "https:",
    "https://",
    "https:///",
    "https://?x",
    "https://:80",
    "https://user@",
    "https://@/",
    "https://exa mple.com",
    "https://exa<mple.com",
    "https://exa%20mple.com",
    "https://exa%00mple.com",
    "https://%ff.com",
    "https://example.com:99999",
    "https://example.com:a",
    "https://1.2.3.256",
    "https://1.2.3.4.5",
    "https://256.1.1.1",
    "https://4294967296",
    "https://example.08",
    "https://[::1",
    "https://[1::2::3]",
    "https://[fe80::1%25eth0]",
    "https://[]",
    "custom://:99",
    "custom://a b/",
    "custom://[x]/",
    "file://exa mple/x",
]


@pytest.mark.parametrize("text", ABSOLUTE, ids=repr)
def test_absolute(text: str) -> None:
    assert is_absolute_url(text)


@pytest.mark.parametrize("text", NOT, ids=repr)
def test_not_absolute(text: str) -> None:
    assert not is_absolute_url(text)


PIECES = [
    "http",
    "file",
    "x",
    ":",
    "/",
    "\\",
    "@",
    "?",
    "#",
    "[",
    "]",
    "::",
    "%",
    "%41",
    "0x",
    "9",
    ".",
    " ",
    "é",
    "\0",
]


@given(st.text() | st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_every_text_has_an_answer(text: str) -> None:
    assert is_absolute_url(text) in {True, False}
