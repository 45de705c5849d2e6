"""A synthesized recording, as a user would upload one to clone a voice: `python -m bench record`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.emulator.encoder import wav_header
from bench.emulator.espeak import Espeak, EspeakError
from bench.emulator.segments import segments
from bench.emulator.studio import Delivery
from bench.emulator.voices import ESPEAK_VOICES
from protocol.languages import detect

SAMPLE_RATE = 24000
"""Hz: the least that the vendor clones from (protocol reference 3.1)."""


def main(argv: list[str]) -> int:
    """Write a WAV file, 16 bit mono; 1 when nothing could be spoken or written."""
    parser = argparse.ArgumentParser(
        prog="python -m bench record",
        description="Synthesize a WAV recording of 24 kHz. 10 to 20 seconds, some 40 English words, suit cloning.",
        epilog='Example: python -m bench record --text "Good morning..." --language en -o voice.wav',
    )
    parser.add_argument("--text", required=True, help="what is said")
    parser.add_argument("--language", choices=sorted(ESPEAK_VOICES), help="found from the text when left out")
    parser.add_argument("--speaker", default="speaker", help="any word; another word is another voice")
    parser.add_argument("-o", "--out", required=True, metavar="FILE", help="where to, - for stdout")
    options = parser.parse_args(argv)
    # Resolved before espeak changes the working directory.
    target = None if options.out == "-" else Path(options.out).resolve()
    try:
        pcm = record(options.text, options.language or detect(options.text), options.speaker)
        wav = wav_header(SAMPLE_RATE, len(pcm)) + pcm
        if target is None:
            sys.stdout.buffer.write(wav)
            sys.stdout.buffer.flush()
        else:
            target.write_bytes(wav)
    except (EspeakError, OSError) as problem:
        print(f"record: {problem}", file=sys.stderr)
        return 1
    return 0


def record(text: str, language: str, speaker: str) -> bytes:
    """PCM of `text`, signed 16 bit mono at SAMPLE_RATE. Raises `EspeakError`, also when nothing can be spoken.

    Changes the working directory of the process, and may be called once in it.
    """
    espeak = Espeak()
    delivery = Delivery(voice=speaker, sample_rate=SAMPLE_RATE)
    pcm = b"".join(espeak.speak(delivery.utterance(portion, language)) for portion in segments(text))
    if not pcm:
        raise EspeakError("there is nothing to say in this text")
    return pcm
