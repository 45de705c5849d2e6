"""Real audio files made in memory: bare MP3 by LAME, anything else by FFmpeg; and the decorations files come with."""

from __future__ import annotations

import io
from functools import cache

import av
import lameenc
import numpy as np
from numpy.typing import NDArray

from protocol.mp3_format import FrameHeader, parse_header


def tone(sample_rate: int, seconds: float, channels: int = 1) -> NDArray[np.int16]:
    """A tone that swells and fades, interleaved 16-bit samples."""
    time = np.arange(round(sample_rate * seconds)) / sample_rate
    samples = (8000 * np.sin(2 * np.pi * 220 * time) * np.sin(3 * time)).astype(np.int16)
    return np.repeat(samples, channels)


@cache
def bare_mp3(sample_rate: int = 24_000, seconds: float = 0.3, channels: int = 1, kbits: int = 128) -> bytes:
    """Nothing but audio frames."""
    encoder = lameenc.Encoder()
    encoder.set_in_sample_rate(sample_rate)
    encoder.set_channels(channels)
    encoder.set_bit_rate(kbits)
    encoder.set_quality(7)
    encoder.silence()
    return bytes(encoder.encode(tone(sample_rate, seconds, channels).tobytes()) + encoder.flush())


@cache
def audio_file(container: str, codec: str, sample_rate: int = 24_000, **options: str) -> bytes:
    """Half a second of tone in a file of FFmpeg's. An "mp3" has ID3v2 and an Xing or Info frame in front."""
    file = io.BytesIO()
    frame = av.AudioFrame.from_ndarray(tone(sample_rate, 0.5).reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate = sample_rate
    with av.open(file, "w", format=container, options=options) as output:
        output.metadata["title"] = "speech"
        stream = output.add_stream(codec, rate=sample_rate, layout="mono")
        assert isinstance(stream, av.AudioStream)
        context = stream.codec_context
        resampler = av.AudioResampler(context.format, "mono", sample_rate, frame_size=context.frame_size or 1024)
        for piece in [*resampler.resample(frame), *resampler.resample(None), None]:
            output.mux(stream.encode(piece))
    return file.getvalue()


def ffmpeg_samples(mp3: bytes) -> int:
    """Samples per channel that FFmpeg decodes."""
    with av.open(io.BytesIO(mp3), "r", format="mp3") as file:
        return sum(frame.samples for frame in file.decode(audio=0))


def id3v2(content: bytes = b"TSSE\0\0\0\x06\0\0\0LAME\0", *, footer: bool = False) -> bytes:
    size = bytes(len(content) >> shift & 0x7F for shift in (21, 14, 7, 0))
    head = b"\x04\0" + (b"\x10" if footer else b"\0") + size
    return b"ID3" + head + content + (b"3DI" + head if footer else b"")


def id3v1(title: bytes = b"speech") -> bytes:
    return b"TAG" + title.ljust(125, b"\0")


def apev2(item: bytes = b"\x03\0\0\0\0\0\0\0Title\0abc") -> bytes:
    def end(flags: int) -> bytes:
        numbers = (2000, len(item) + 32, 1, flags)
        return b"APETAGEX" + b"".join(number.to_bytes(4, "little") for number in numbers) + bytes(8)

    return end(0xA000_0000) + item + end(0x8000_0000)


def header_frame(mp3: bytes, magic: bytes, *, crc: bool = False, crc_counted: bool = False) -> bytes:
    """A frame shaped like the first one of `mp3`, with `magic` (Xing, Info or VBRI) where such frames have it."""
    second = mp3[1] & 0xFE if crc else mp3[1]
    frame = bytearray(bytes((0xFF, second)) + mp3[2:4])
    header = header_of(bytes(frame))
    at = 4 + (32 if magic == b"VBRI" else header.side_info) + (2 if crc_counted else 0)
    return bytes(frame) + (bytes(at - 4) + magic + b"\0\0\0\x0f").ljust(header.length - 4, b"\0")


def header_of(mp3: bytes) -> FrameHeader:
    header = parse_header(mp3)
    assert header is not None
    return header
