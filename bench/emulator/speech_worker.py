"""The process that speaks: requests on stdin, PCM on stdout, one at a time, until stdin ends.

A frame is a 4-byte big-endian length and that many bytes. A request is an `Utterance` in MessagePack, an answer is
PCM. An error ends the process with a traceback on stderr; `SpeechWorker` starts another.
"""

from __future__ import annotations

import os
import signal
import struct
import sys
from typing import BinaryIO

import msgspec

from bench.emulator.espeak import Espeak, Utterance

LENGTH = struct.Struct("!I")


def read_frame(stream: BinaryIO) -> bytes | None:
    """Next frame, None at the end of the stream."""
    header = stream.read(LENGTH.size)
    if len(header) < LENGTH.size:
        return None
    (size,) = LENGTH.unpack(header)
    return stream.read(size)


def main() -> None:
    """Serve until the parent closes our stdin, by exit or by kill -9."""
    # Ctrl-C reaches the whole process group; ending is the parent's decision.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever the C library prints must not land between the answers
    espeak = Espeak()
    while (frame := read_frame(requests)) is not None:
        pcm = espeak.speak(msgspec.msgpack.decode(frame, type=Utterance))
        answers.write(LENGTH.pack(len(pcm)) + pcm)
        answers.flush()


if __name__ == "__main__":
    main()
