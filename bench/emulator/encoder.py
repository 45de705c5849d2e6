"""From PCM to what a session asked for, one encoder per response.

Deltas are cut from the encoder's output wherever it happens to be, so their ends do not fall on MP3 frame ends
(protocol reference 2: "frame boundaries need not align with deltas").
"""

from __future__ import annotations

import struct
from typing import Protocol

import lameenc

LAME_QUALITY = 7
"""0 (best) to 9 (fastest); 7 encodes one minute in a tenth of a second, and the sound is a stand-in anyway."""

OVERSIZED = 0x7FFFFFFF
"""The data length in a streamed WAV header, which cannot be known yet (protocol reference 6)."""

MPEG_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
"""Sample rates in Hz by the version bits of an MPEG audio frame header (ISO 11172-3, 13818-3, and "2.5")."""

MPEG1_KBPS = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
MPEG2_KBPS = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
"""Layer III bitrates by the header's bitrate index."""


class Encoder(Protocol):
    """Turns PCM (signed 16 bit, mono) into the session's format. `finish` ends the response."""

    def encode(self, pcm: bytes) -> bytes: ...

    def finish(self) -> bytes: ...


class PcmEncoder:
    """`pcm`: the samples as they are."""

    def encode(self, pcm: bytes) -> bytes:
        return pcm

    def finish(self) -> bytes:
        return b""


class WavEncoder:
    """`wav`: one RIFF header with an oversized length before the first samples."""

    def __init__(self, sample_rate: int) -> None:
        self._header = wav_header(sample_rate, OVERSIZED)

    def encode(self, pcm: bytes) -> bytes:
        header, self._header = self._header, b""
        return header + pcm

    def finish(self) -> bytes:
        return b""


class Mp3Encoder:
    """`mp3`: raw MPEG audio frames at a constant bitrate (kbps), without any tag."""

    def __init__(self, sample_rate: int, bit_rate: int) -> None:
        self._lame = lameenc.Encoder()
        self._lame.set_in_sample_rate(sample_rate)
        self._lame.set_out_sample_rate(sample_rate)
        self._lame.set_channels(1)
        self._lame.set_bit_rate(bit_rate)
        self._lame.set_quality(LAME_QUALITY)
        self._lame.silence()
        self._started = False

    def encode(self, pcm: bytes) -> bytes:
        self._started = self._started or bool(pcm)
        return bytes(self._lame.encode(pcm)) if pcm else b""

    def finish(self) -> bytes:
        # lameenc raises when it is flushed before its first sample.
        return bytes(self._lame.flush()) if self._started else b""


class TaggedMp3Encoder:
    """The fault `id3_xing`: ID3v2 and a Xing frame before the first frame, ID3v1 after the last."""

    def __init__(self, plain: Mp3Encoder) -> None:
        self._plain = plain
        self._pending = b""
        self._tagged = False

    def encode(self, pcm: bytes) -> bytes:
        return self._tag(self._plain.encode(pcm))

    def finish(self) -> bytes:
        return self._tag(self._plain.finish()) + id3v1()

    def _tag(self, frames: bytes) -> bytes:
        if self._tagged:
            return frames
        self._pending += frames
        if len(self._pending) < 4:
            return b""
        self._tagged = True
        return id3v2() + xing_frame(self._pending[:4]) + self._pending


def make_encoder(response_format: str, sample_rate: int, bit_rate: int, *, tagged: bool = False) -> Encoder:
    """An encoder for one response. Raises ValueError for a format we do not speak."""
    match response_format:
        case "pcm":
            return PcmEncoder()
        case "wav":
            return WavEncoder(sample_rate)
        case "mp3":
            plain = Mp3Encoder(sample_rate, bit_rate)
            return TaggedMp3Encoder(plain) if tagged else plain
    raise ValueError(f"no encoder for {response_format!r}")


def wav_header(sample_rate: int, data_bytes: int) -> bytes:
    """A 44-byte RIFF header for mono 16-bit samples; lengths saturate at 2^32 - 1."""
    riff_bytes = min(data_bytes + 36, 0xFFFFFFFF)
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF", riff_bytes, b"WAVE", b"fmt ", 16, 1, 1, sample_rate, 2 * sample_rate, 2, 16, b"data", data_bytes,
    )  # fmt: skip


def id3v2() -> bytes:
    """An ID3v2.4 tag with one text frame, as an encoder front end writes it."""
    text = b"\x03emulated encoder"
    frame = b"TSSE" + struct.pack("!I", len(text)) + b"\0\0" + text
    return b"ID3\x04\0\0" + struct.pack("!I", len(frame)) + frame  # short enough to need no synchsafe carry


def id3v1() -> bytes:
    """A 128-byte ID3v1 tag."""
    return b"TAG" + b"emulated".ljust(125, b"\0")


def xing_frame(header: bytes) -> bytes:
    """An `Info` frame for a stream whose frames begin with `header` (4 bytes): it announces ten frames and no more.

    A player that believes it stops after ten frames, which is what makes these tags dangerous in a joined stream.
    """
    version = header[1] >> 3 & 3
    kbps = (MPEG1_KBPS if version == 3 else MPEG2_KBPS)[header[2] >> 4]
    rate = MPEG_RATES[version][header[2] >> 2 & 3]
    size = (144 if version == 3 else 72) * 1000 * kbps // rate
    side_info = bytes(17 if version == 3 else 9)
    frames, all_bytes = 10, 10 * size
    tag = b"Info" + struct.pack("!III", 0x3, frames, all_bytes)
    # Padding and CRC bits off: the frame is exactly `size` bytes and has no checksum to fill.
    plain = bytes((header[0], header[1] | 1, header[2] & ~2, header[3]))
    return (plain + side_info + tag).ljust(size, b"\0")
