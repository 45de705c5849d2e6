"""What all sessions of the emulator share, and how one of them turns text into PCM."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from bench.emulator.account import Account
from bench.emulator.espeak import Utterance
from bench.emulator.faults import FaultBook
from bench.emulator.ledger import Ledger
from bench.emulator.modal_jobs import ModalJobs
from bench.emulator.options import Options
from bench.emulator.script import ScriptBook
from bench.emulator.speech import SpeechWorker
from bench.emulator.voices import SYSTEM_VOICES, espeak_voice, language_code, timbre_of
from protocol.events import SessionSettings

VC_MODELS = ("qwen3-tts-vc-realtime-2026-01-15", "qwen3-tts-vc-realtime-2025-11-27")
VD_MODELS = ("qwen3-tts-vd-realtime-2026-01-15", "qwen3-tts-vd-realtime-2025-12-16")
FLASH_MODELS = ("qwen3-tts-flash-realtime",)
"""Models the realtime endpoint serves (protocol reference 3.1, 3.2); flash has only system voices."""

MODELS = VC_MODELS + VD_MODELS + FLASH_MODELS

NORMAL_VOLUME = 50
"""`volume` is 0 to 100, 50 by default (protocol reference 1.3)."""


@dataclass(frozen=True, slots=True)
class Studio:
    """The parts every connection and route works with."""

    options: Options
    account: Account
    modal_jobs: ModalJobs
    worker: SpeechWorker
    ledger: Ledger
    faults: FaultBook
    scripts: ScriptBook

    def has_voice(self, voice: str, model: str) -> bool:
        """Whether `model` can speak with `voice`: only the exact model a voice was made for can."""
        if model in FLASH_MODELS:
            return voice in SYSTEM_VOICES
        stored = self.account.find(voice)
        return stored is not None and stored.target_model == model


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a voice reads: the parts of a session's settings that change the sound."""

    voice: str
    language_type: str = "Auto"
    sample_rate: int = 24000
    speech_rate: float = 1.0
    pitch_rate: float = 1.0
    volume: int = NORMAL_VOLUME

    def utterance(self, text: str, language: str) -> Utterance:
        """The request to the synthesizer for `text` in the language with code `language`."""
        timbre = timbre_of(self.voice)
        return Utterance(
            text=text,
            voice=espeak_voice(timbre, language),
            pitch=max(0, min(99, round(timbre.pitch * self.pitch_rate))),
            speed=round(timbre.speed * self.speech_rate),
            sample_rate=self.sample_rate,
            volume=round(100 * self.volume / NORMAL_VOLUME),
        )

    def language(self, text: str) -> str:
        """Code of the language to read `text` in."""
        return language_code(self.language_type, text)


def delivery_of(settings: SessionSettings) -> Delivery:
    """The delivery a `session.update` asks for; what it leaves out keeps the server's default."""
    asked = {name: getattr(settings, name) for name in Delivery.__slots__}
    return Delivery(**{name: value for name, value in asked.items() if value is not msgspec.UNSET})
