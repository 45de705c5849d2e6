"""What a session costs: the vendor's own count where it gives one, ours where it does not."""

from __future__ import annotations

from typing import Final

import regex

USAGE_KEYS: Final = ("characters", "total_tokens", "input_tokens", "output_tokens")
"""The totals a response may report, each of them optional (protocol reference 1.4)."""

MAX_COUNT: Final = 1_000_000
"""The largest total of one response that is believed. The longest text bills 4000 characters; what is counted ends in
32-bit columns, and a session's responses (`protocol.machine.MAX_RESPONSES`) add up to less than those hold."""

_HAN: Final = regex.compile(r"\p{Han}")


def billable_characters(text: str) -> int:
    """Characters as the vendor bills them: a Han character is 2, everything else 1, full-width punctuation too
    (protocol reference 1.4, checked there against a recording)."""
    return len(text) + len(_HAN.findall(text))


def usage_counts(usage: object) -> dict[str, int]:
    """The totals in a response's `usage`. Whatever is missing, null, no count or over MAX_COUNT is left out: a bill
    that cannot be read must not cost the user their audio."""
    if not isinstance(usage, dict):
        return {}
    found = {key: usage.get(key) for key in USAGE_KEYS}
    return {key: count for key, count in found.items() if type(count) is int and 0 <= count <= MAX_COUNT}
