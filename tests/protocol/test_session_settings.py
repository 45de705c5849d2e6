"""The ranges of protocol reference 1.3."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.events import SessionSettings
from protocol.session_settings import problem_with

LEGAL: dict[str, list[Any]] = {
    "mode": ["server_commit", "commit"],
    "response_format": ["pcm", "wav", "mp3", "opus"],
    "sample_rate": [8000, 16000, 22050, 24000, 44100, 48000],
    "speech_rate": [0.5, 1, 2.0],
    "pitch_rate": [0.5, 2],
    "volume": [0, 50, 100],
    "bit_rate": [6, 128, 510],
    "language_type": ["Auto", "Chinese", "english"],
    "voice": ["anything"],
}

ILLEGAL: dict[str, list[Any]] = {
    "mode": ["", "auto"],
    "response_format": ["MP3", "flac"],
    "sample_rate": [0, 11025, 96000],
    "speech_rate": [0.49, 2.01],
    "pitch_rate": [0, float("inf")],
    "volume": [-1, 101],
    "bit_rate": [5, 511],
    "language_type": ["en", "Dutch", ""],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in LEGAL.items() for value in values])
def test_what_is_taken(name: str, value: Any) -> None:
    assert problem_with(SessionSettings(**{name: value})) == ""


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in ILLEGAL.items() for value in values])
def test_what_is_refused_by_name(name: str, value: Any) -> None:
    assert f"session.{name}" in problem_with(SessionSettings(**{name: value}))


def test_nothing_set_is_nothing_wrong() -> None:
    assert problem_with(SessionSettings()) == ""
