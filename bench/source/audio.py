"""What the source says: a few deltas of MP3, made once and repeated for as long as a session lasts."""

from __future__ import annotations

import base64

import numpy as np

from bench.emulator.encoder import make_encoder
from bench.emulator.pacing import DELTA_SECONDS

SAMPLE_RATE = 24_000
"""Hz, as the product asks for."""

KBPS = 128
"""The vendor's default for MP3 (protocol reference 1.3)."""

FRAME_BYTES = 72 * KBPS * 1000 // SAMPLE_RATE
"""An MPEG-2 layer III frame, 24 ms (ISO 13818-3)."""

DELTA_BYTES = round(DELTA_SECONDS * KBPS * 1000 / 8)

LOOP_DELTAS = 36
"""Eleven seconds; then the same again. A multiple of 12, so that a loop is whole frames."""

TONE_HZ = 220.0
PEAK = 8000


class Delta:
    """One delta: `size` in bytes of MP3, `text` the same in base64, as it stands in the event."""

    __slots__ = ("mp3", "size", "text")

    def __init__(self, mp3: bytes) -> None:
        self.mp3 = mp3
        self.size = len(mp3)
        self.text = base64.b64encode(mp3)


class Recording:
    """The deltas of a session of any length."""

    def __init__(self) -> None:
        whole = _render()
        self._loop = [Delta(whole[at : at + DELTA_BYTES]) for at in range(0, LOOP_DELTAS * DELTA_BYTES, DELTA_BYTES)]

    def delta(self, number: int, deltas: int) -> Delta:
        """The one with this number, from 0, of so many. The last one ends where a frame does; no other does as a
        rule, nor do the vendor's (protocol reference 2)."""
        delta = self._loop[number % LOOP_DELTAS]
        if number < deltas - 1:
            return delta
        return Delta(delta.mp3[: DELTA_BYTES - deltas * DELTA_BYTES % FRAME_BYTES])


def _render() -> bytes:
    seconds = np.arange(round(DELTA_SECONDS * SAMPLE_RATE) * (LOOP_DELTAS + 1)) / SAMPLE_RATE
    # A tone that rises and falls as a voice does, so that frames are filled as those of speech are.
    wave = np.sin(2 * np.pi * TONE_HZ * seconds) * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * seconds)) * PEAK
    return make_encoder("mp3", SAMPLE_RATE, KBPS).encode(wave.astype("<i2").tobytes())
