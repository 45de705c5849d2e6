"""Every bound once more, as a number: most tests use its name, and would follow it wherever it goes.

The reason for each stands where it is defined; those with a source outside have it here.
"""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import protocol

BOUNDS: dict[str, dict[str, float]] = {
    "chunker": {"FIRST_PIECE_CHARS": 60, "MIN_PIECE_CHARS": 100, "MAX_PIECE_CHARS": 300, "MAX_CLUSTER_CHARS": 2048},
    # Protocol reference 3, 3.1, 3.2 and 3.3.
    "customization": {
        "PREFERRED_NAME_CHARS": 16,
        "MAX_DATA_URL_BYTES": 10_000_000,
        "MAX_VOICE_PROMPT_CHARS": 2048,
        "MAX_PREVIEW_TEXT_CHARS": 1024,
        "PAGE_SIZE": 100,
        "MAX_PAGE_INDEX": 200,
        "MIN_SAMPLE_RATE": 24_000,  # reference 3.1
        "MIN_RECORDING_SECONDS": 3.0,
        "MAX_RECORDING_SECONDS": 60.0,
    },
    "customization_answers": {"MAX_ANSWER_BYTES": 16_777_216},
    # Reference 1.9: at least 1 MiB, clients use 4 to 10.
    "events": {"MAX_MESSAGE_BYTES": 4_194_304, "MAX_ID_CHARS": 256, "MAX_TYPE_CHARS": 64},
    "machine": {"MAX_RESPONSES": 2000},
    "modal": {
        "MAX_NEW_TOKENS": 4096,  # v1 contract 4.2
        "MAX_JSON_BYTES": 65_536,
        "MAX_AUDIO_BYTES": 52_428_800,  # v1 contract 3.5
        "MAX_PREVIEW_BYTES": 16_777_216,
        "MAX_ERROR_CHARS": 300,
        "DESIGN_FIRST_PAUSE_SECONDS": 1.0,
        "DESIGN_PAUSE_GROWTH": 1.5,
        "DESIGN_LONGEST_PAUSE_SECONDS": 10.0,
    },
    "mp3": {"MAX_TAG_BYTES": 1_048_576, "MAX_PADDING_BYTES": 4096, "MAX_PENDING_BYTES": 1440},
    "mp3_format": {"HEADER_BYTES": 4, "MAX_FRAME_BYTES": 1441, "TAG_HEAD_BYTES": 32},
    "server_session": {"MAX_BUFFERED_CHARS": 100_000},
    "session": {"MAX_APPEND_CHARS": 2000, "MAX_UNKNOWN_EVENTS": 10_000, "MAX_UNKNOWN_TYPES": 32},
    "usage": {"MAX_COUNT": 1_000_000},
    "vendor_words": {"MAX_VENDOR_CHARS": 500},
}

PUBLIC = [name for _, name, _ in pkgutil.iter_modules(protocol.__path__)]


@pytest.mark.parametrize("name", PUBLIC)
def test_every_bound_of_a_module_is_what_it_is_meant_to_be(name: str) -> None:
    module = importlib.import_module(f"protocol.{name}")
    own = {
        constant: value
        for constant, value in vars(module).items()
        if constant.isupper() and not constant.startswith("_") and isinstance(value, (int, float))
    }
    meant = BOUNDS.get(name, {})
    assert {constant: own[constant] for constant in meant} == meant
    borrowed = {constant for other, bounds in BOUNDS.items() if other != name for constant in bounds}
    assert own.keys() - meant.keys() <= borrowed, "a bound that stands nowhere here"
