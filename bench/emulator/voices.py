"""How a voice sounds: a voice id and a language become settings of the synthesizer.

The vendor's voices are people; ours are one espeak-ng voice per language, bent by a variant, a pitch and a speed
that follow from a hash of the voice id. Two ids therefore sound different, and one id sounds the same in every run.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from protocol.languages import LANGUAGE_CODES, detect

VARIANTS = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "f1", "f2", "f3", "f4", "f5")
"""espeak-ng variants that stay clear in every language; the other hundred are novelty voices."""

PITCHES = (25, 75)
"""espeak-ng pitch is 0 to 99, 50 is normal; outside this range voices squeak or rumble."""

SPEEDS = (145, 190)
"""Words per minute; espeak-ng's own default is 175."""

ESPEAK_VOICES = {
    "zh": "cmn",
    "en": "en-us",
    "de": "de",
    "it": "it",
    "pt": "pt",
    "es": "es",
    "ja": "ja",
    "ko": "ko",
    "fr": "fr",
    "ru": "ru",
}
"""Language code (protocol reference 3.1) to espeak-ng voice."""

_CODES_BY_TYPE = {name.lower(): code for name, code in LANGUAGE_CODES.items()}

SYSTEM_VOICES = ("Cherry", "Serena", "Ethan", "Chelsie")
"""Voices every account has, for the flash models only (protocol reference 1.3)."""


@dataclass(frozen=True, slots=True)
class Timbre:
    """What makes a voice recognizable, whatever it says. `pitch` is espeak's 0 to 99, `speed` words per minute."""

    variant: str
    pitch: int
    speed: int


def timbre_of(voice: str) -> Timbre:
    """The sound that belongs to a voice id."""
    digest = hashlib.sha256(voice.encode()).digest()
    return Timbre(
        variant=VARIANTS[digest[0] % len(VARIANTS)],
        pitch=_within(PITCHES, digest[1]),
        speed=_within(SPEEDS, digest[2]),
    )


def language_code(language_type: str, text: str) -> str:
    """The code of a session's `language_type` ("Japanese", any case), found from `text` when that is "auto"."""
    return _CODES_BY_TYPE.get(language_type.lower()) or detect(text)


def espeak_voice(timbre: Timbre, code: str) -> str:
    """The espeak-ng voice name, such as `ja+f3`; English for a code without a voice of its own."""
    return f"{ESPEAK_VOICES.get(code, 'en-us')}+{timbre.variant}"


def _within(bounds: tuple[int, int], byte: int) -> int:
    low, high = bounds
    return low + byte * (high - low) // 255
