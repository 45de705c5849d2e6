"""The JavaScript semantics that v1's contract is made of (v1 contract 1.0, "Python porting traps").

v1 ran on a JavaScript engine, so its limits count UTF-16 units, its trimming follows ECMAScript's white space and its
paging numbers are whatever `Number(text)` accepts. Clients were written against that, not against Python.
"""

from __future__ import annotations

import math
import re
from urllib.parse import quote

WHITE_SPACE = (
    "\t\n\v\f\r \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)
"""What `String.prototype.trim` removes: WhiteSpace and LineTerminator of ECMA-262. Unlike `str.strip` it has U+FEFF,
and has not U+001C to U+001F and U+0085."""

MAX_SAFE_INTEGER = 2**53 - 1
"""Largest integer a JavaScript number holds exactly; times 100 rows a page it still fits Postgres's bigint."""

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_INFINITY = re.compile(r"([+-]?)Infinity")
_PREFIXED = re.compile(r"0(?:[xX][0-9a-fA-F]+|[oO][0-7]+|[bB][01]+)")
_URI_COMPONENT_SAFE = "-_.!~*'()"


def trim(text: str) -> str:
    """`text.trim()`."""
    return text.strip(WHITE_SPACE)


def utf16_length(text: str) -> int:
    """`text.length`: UTF-16 code units. A lone surrogate is one unit."""
    return len(text) + sum(character > "\uffff" for character in text)


def utf16_prefix(text: str, units: int) -> str:
    """The first `units` UTF-16 units of `text`, one fewer where that would halve a surrogate pair: v1's engine leaves
    half a character there, which Postgres refuses."""
    taken = 0
    for index, character in enumerate(text):
        taken += 2 if character > "\uffff" else 1
        if taken > units:
            return text[:index]
    return text


def half_up(value: float) -> int:
    """`Math.round(value)`: halves go up, also below zero. Raises on NaN and infinity."""
    below = math.floor(value)
    return below + 1 if value - below >= 0.5 else below


def to_number(text: str) -> float:
    """`Number(text)`: NaN for what is not a number, 0 for blank text."""
    trimmed = trim(text)
    if not trimmed:
        return 0.0
    if _DECIMAL.fullmatch(trimmed):
        return float(trimmed)
    if match := _INFINITY.fullmatch(trimmed):
        return float(f"{match[1]}inf")
    if _PREFIXED.fullmatch(trimmed):
        return _prefixed(trimmed)
    return math.nan


def page_number(text: str | None, default: int) -> int:
    """A paging parameter as v1 reads it: `"5.9"` is 5, `"1e1"` 10, `"0x10"` 16; anything blank, not numeric, below 1
    or infinite is `default`. Never above `MAX_SAFE_INTEGER`."""
    number = to_number(text) if text is not None and trim(text) else math.nan
    if not math.isfinite(number) or number < 1:
        return default
    return min(int(number), MAX_SAFE_INTEGER)


def is_uuid(text: str) -> bool:
    """Whether `text` has a UUID's shape: 8-4-4-4-12 hex digits, any case, version and variant."""
    return _UUID.fullmatch(text) is not None


def encode_uri_component(text: str) -> str:
    """`encodeURIComponent(text)`. Raises UnicodeEncodeError on a lone surrogate, as the original throws."""
    return quote(text, safe=_URI_COMPONENT_SAFE)


def _prefixed(digits: str) -> float:
    try:
        return float(int(digits, 0))
    except OverflowError:
        return math.inf
