"""When there is enough text to speak, and in which portions.

This is the server's side of "starts a response when it has enough text" (protocol reference 1.6) and on purpose not
the gateway's chunker: the two must not share a mistake.
"""

from __future__ import annotations

import re

MIN_START_CHARS = 10
"""Complete sentences shorter than this wait for more text; a recorded session began at 13 characters (1.6)."""

MAX_SEGMENT_CHARS = 200
"""Longest portion rendered at once: keeps a rendering under a tenth of a second."""

_SENTENCE_END = re.compile(r"[。！？\n]+[”’」』）]*|[.!?…؟।]+[\"'”’)\]]*(?:\s+|$)")


def complete_sentences(text: str) -> int:
    """How many characters of `text` are complete sentences; 0 while those are fewer than MIN_START_CHARS."""
    end = 0
    for match in _SENTENCE_END.finditer(text):
        end = match.end()
    return end if end >= MIN_START_CHARS else 0


def segments(text: str, limit: int = MAX_SEGMENT_CHARS) -> list[str]:
    """`text` in sentences of at most `limit` characters, longer ones cut at a space where there is one.

    The portions joined are the text again.
    """
    portions: list[str] = []
    start = 0
    while start < len(text):
        end = _segment_end(text, start, limit)
        portions.append(text[start:end])
        start = end
    return portions


def _segment_end(text: str, start: int, limit: int) -> int:
    sentence = _SENTENCE_END.search(text, start)
    end = sentence.end() if sentence else len(text)
    if end - start <= limit:
        return end
    space = text.rfind(" ", start + 1, start + limit)
    return space + 1 if space > start else start + limit
