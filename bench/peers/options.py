"""What every peer is told: its port, and where the provider is."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from typing import Any

import msgspec

HOST = "127.0.0.1"


class Speech(msgspec.Struct):
    """The body of `POST /stream`, the gateway's own but for the voice, which is the provider's id here."""

    voice_id: str
    text: str
    language: str = "Auto"


@dataclass(frozen=True, slots=True)
class Provider:
    """Where the provider is, and who asks."""

    url: str
    key: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


MODEL = "qwen3-tts-vc-realtime-2026-01-15"
"""The pinned model for cloned voices (product specification, decision 7)."""


def provider() -> Provider:
    """From the environment."""
    return Provider(os.environ["DASHSCOPE_REALTIME_URL"], os.environ["DASHSCOPE_API_KEY"])


def port(argv: list[str] | None = None) -> int:
    """From the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    found: int = parser.parse_args(argv).port
    return found


def opening_flight(voice: str, text: str, language: str) -> list[dict[str, Any]]:
    """The client's events, which need not wait for an answer each (product specification, section 5)."""
    session = {
        "voice": voice,
        "mode": "server_commit",
        "response_format": "mp3",
        "sample_rate": 24000,
        "language_type": language,
    }
    return [
        {"type": "session.update", "event_id": "event_1", "session": session},
        {"type": "input_text_buffer.append", "event_id": "event_2", "text": text},
        {"type": "session.finish", "event_id": "event_3"},
    ]
