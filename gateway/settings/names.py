"""The closed lists that settings choose from, and the names and numbers of the contract behind their defaults."""

from __future__ import annotations

from enum import StrEnum


class Environment(StrEnum):
    """Where this process runs. What each one changes: the table in `gateway/settings/rules.py`."""

    LOCAL = "local"
    STAGING = "staging"
    PRODUCTION = "production"


class ProviderMode(StrEnum):
    """Which provider all new work goes to."""

    MODAL = "modal"
    QWEN = "qwen"


class ResponseFormat(StrEnum):
    """What clients are sent in Qwen mode. The contract knows one format only."""

    MP3 = "mp3"


class UpstreamFormat(StrEnum):
    """What the vendor is asked for: its own MP3, or PCM that is encoded here."""

    MP3 = "mp3"
    PCM = "pcm"


class LogLevel(StrEnum):
    """The least important events that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"


FIRST_VC_MODEL = "qwen3-tts-vc-realtime-2026-01-15"
"""The model the first cloned voices were made for. Accepted by default, so that a new pin strands nobody."""

FIRST_VD_MODEL = "qwen3-tts-vd-realtime-2026-01-15"
"""The same for designed voices."""

TEXT_CAP_CHARS = 2000
"""Longest text in UTF-16 units, in both flows and both modes."""

REALTIME_PATH = "/api-ws/v1/realtime"
"""Path of the vendor's socket (protocol reference 1.1)."""
