"""espeak-ng in this process, through ctypes and the shared library of the `espeakng-loader` wheel.

The library is not thread-safe, keeps its state in globals, works synchronously (a long text takes most of a second)
and ends the process when its data path is too long. So it lives in a worker process (`speech_worker`), and its data
path is always ".": the process moves to the directory that holds the data.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import espeakng_loader
import msgspec
import numpy as np
import soxr

# Values of espeak-ng's speak_lib.h.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000
_POS_CHARACTER = 1
_CHARS_UTF8 = 1
_EE_OK = 0
_PARAMETER_RATE = 1
_PARAMETER_VOLUME = 2
_PARAMETER_PITCH = 3

_SYNTH_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class EspeakError(Exception):
    """espeak-ng could not be started, or refused a call."""


class Utterance(msgspec.Struct, frozen=True):
    """One thing to say. Hashable: it is the key of the speech cache.

    `voice` is an espeak-ng name such as `ja+f3`, `pitch` 0 to 99, `speed` words per minute, `volume` percent of
    normal, `sample_rate` Hz.
    """

    text: str
    voice: str
    pitch: int
    speed: int
    sample_rate: int
    volume: int = 100


class Espeak:
    """The synthesizer. At most one per process; making it changes the working directory of the process."""

    def __init__(self) -> None:
        os.chdir(Path(espeakng_loader.get_data_path()).parent)
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        self.native_rate: int = self._library.espeak_Initialize(
            _AUDIO_OUTPUT_SYNCHRONOUS, 0, b".", _INITIALIZE_DONT_EXIT
        )
        if self.native_rate <= 0:
            raise EspeakError(f"espeak-ng did not start (error {self.native_rate}): is its data directory whole?")
        self._pieces: list[bytes] = []
        # ctypes keeps no reference to a callback; without ours the first call would jump into freed memory.
        self._callback = _SYNTH_CALLBACK(self._collect)
        self._library.espeak_SetSynthCallback(self._callback)
        self._library.espeak_Synth.argtypes = [
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_uint,
            ctypes.c_int,
            ctypes.c_uint,
            ctypes.c_uint,
            ctypes.c_void_p,
            ctypes.c_void_p,
        ]

    def speak(self, utterance: Utterance) -> bytes:
        """The utterance as PCM: signed 16 bit, mono, at its sample rate. Empty when there is nothing to say.

        Raises `EspeakError` when espeak-ng has no such voice or fails.
        """
        self._check("voice", self._library.espeak_SetVoiceByName(utterance.voice.encode()))
        self._set(_PARAMETER_PITCH, utterance.pitch)
        self._set(_PARAMETER_RATE, utterance.speed)
        self._set(_PARAMETER_VOLUME, utterance.volume)
        self._pieces.clear()
        # A NUL would end the text for C. Lone surrogates cannot come out of a JSON decoder that checks UTF-8.
        text = utterance.text.replace("\0", " ").encode()
        status = self._library.espeak_Synth(text, len(text) + 1, 0, _POS_CHARACTER, 0, _CHARS_UTF8, None, None)
        self._check("synthesis", status)
        samples = np.frombuffer(b"".join(self._pieces), dtype=np.int16)
        self._pieces.clear()
        if not samples.size:
            return b""
        resampled = soxr.resample(samples, self.native_rate, utterance.sample_rate, quality="HQ")
        return bytes(resampled.astype(np.int16).tobytes())

    def _collect(self, samples: object, count: int, _events: object) -> int:
        if samples and count > 0:
            self._pieces.append(ctypes.string_at(samples, 2 * count))  # type: ignore[arg-type]  # POINTER(c_short)
        return 0

    def _set(self, parameter: int, value: int) -> None:
        self._check("parameter", self._library.espeak_SetParameter(parameter, value, 0))

    def _check(self, what: str, status: int) -> None:
        if status != _EE_OK:
            raise EspeakError(f"espeak-ng refused the {what} (error {status})")
