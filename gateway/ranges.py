"""Byte ranges (RFC 9110, 14): reading `Range`, and the answer to it for a body of known or unknown length.

One range of unit `bytes` is understood. Several ranges, other units and malformed headers are ignored, which the RFC
allows: the answer is then the whole body.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_DIGITS = 15
"""Longest position that is read as a number; 10^15 bytes are more than any audio. A longer one is past every end."""

PAST_EVERY_END = 10**MAX_DIGITS

_RANGE = re.compile(r"bytes=[ \t]*(?:(?P<first>[0-9]+)-(?P<last>[0-9]*)|-(?P<suffix>[0-9]+))[ \t]*", re.IGNORECASE)
_OFFSET = re.compile(rf"[0-9]{{1,{MAX_DIGITS}}}")


class RangeNotSatisfiable(Exception):
    """None of the bytes asked for exist (416). `size` is the body's length in bytes, None while it still grows."""

    def __init__(self, size: int | None) -> None:
        self.size = size
        super().__init__(f"range outside of {'a growing body' if size is None else f'{size} bytes'}")

    @property
    def headers(self) -> dict[str, str]:
        """`Content-Range` of the 416; there is no form of it for a body of unknown length."""
        return {} if self.size is None else {"content-range": f"bytes */{self.size}"}


@dataclass(frozen=True, slots=True)
class Closed:
    """`bytes=first-last`, both included."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Open:
    """`bytes=first-`: everything from there on."""

    first: int


@dataclass(frozen=True, slots=True)
class Suffix:
    """`bytes=-length`: the last `length` bytes."""

    length: int


Range = Closed | Open | Suffix


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes `start` (included) to `stop` (excluded) of a body."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        return self.stop - self.start

    def content_range(self, size: int | None) -> str:
        """The header for a body of `size` bytes; None while the size is not known yet."""
        return f"bytes {self.start}-{self.stop - 1}/{'*' if size is None else size}"


def parse_range(header: str | None) -> Range | None:
    """What a `Range` header asks for; None for no header and for one to be ignored."""
    match = _RANGE.fullmatch(header) if header is not None else None
    if match is None:
        return None
    if match["suffix"] is not None:
        return Suffix(_position(match["suffix"]))
    first = _position(match["first"])
    if not match["last"]:
        return Open(first)
    last = _position(match["last"])
    return Closed(first, last) if first <= last else None


def resolve(wanted: Range, size: int) -> Span:
    """The bytes of a finished body of `size` bytes. Raises RangeNotSatisfiable."""
    match wanted:
        case Closed(first, last):
            span = Span(first, min(last + 1, size))
        case Open(first):
            span = Span(first, size)
        case Suffix(length):
            span = Span(max(0, size - length), size)
    if span.length <= 0:
        raise RangeNotSatisfiable(size)
    return span


def resolve_growing(wanted: Range | None, size: int) -> Span | None:
    """The bytes of a body that has `size` bytes by now and still grows; None for all of it, from 0 on.

    A closed range is given when all its bytes exist. An open one becomes the whole body, because its end is not known
    (product section 4). Raises RangeNotSatisfiable for the rest.
    """
    match wanted:
        case None | Open():
            return None
        case Closed(first, last) if last < size:
            return Span(first, last + 1)
        case _:
            raise RangeNotSatisfiable(None)


def parse_offset(text: str | None) -> int:
    """`?offset=`: the first byte wanted, 0 when not given. Raises ValueError on anything but a plain number."""
    if text is None:
        return 0
    if not _OFFSET.fullmatch(text):
        raise ValueError("offset is not a number of bytes")
    return int(text)


def _position(digits: str) -> int:
    return int(digits) if len(digits) <= MAX_DIGITS else PAST_EVERY_END
