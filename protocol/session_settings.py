"""Which settings a session takes: the ranges of protocol reference 1.3."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from msgspec import UNSET

from protocol.events import SessionSettings
from protocol.languages import is_spoken

# 22050 and 44100 Hz are in the vendor's SDK only, not in its documents; a server takes them, our client never asks.
_CHOICES: Final[Mapping[str, Collection[object]]] = {
    "mode": ("server_commit", "commit"),
    "response_format": ("pcm", "wav", "mp3", "opus"),
    "sample_rate": (8000, 16000, 22050, 24000, 44100, 48000),
}

_RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "speech_rate": (0.5, 2.0),
    "pitch_rate": (0.5, 2.0),
    "volume": (0, 100),
    "bit_rate": (6, 510),
}


def problem_with(settings: SessionSettings) -> str:
    """What is wrong with the first setting outside its range, or "". Unset settings are never wrong."""
    for name, choices in _CHOICES.items():
        value = getattr(settings, name)
        if value is not UNSET and value not in choices:
            return f"Invalid value for session.{name}. Supported: {', '.join(map(str, choices))}."
    for name, (lowest, highest) in _RANGES.items():
        value = getattr(settings, name)
        if value is not UNSET and not lowest <= value <= highest:
            return f"Invalid value for session.{name}: it must be between {lowest} and {highest}."
    if settings.language_type is not UNSET and not is_spoken(settings.language_type):
        return "Invalid value for session.language_type."
    return ""
