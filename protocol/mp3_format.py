"""What an MP3 stream is made of: frame headers, header frames, tags, and what else the bytes may be.

Only facts about bytes at a given place; `protocol.mp3` decides what to do with them.

Sources. Frame header, bit rates, side information: ISO/IEC 11172-3 2.4.1.3 and 13818-3 2.4.2.3; MPEG 2.5 is the
extension every encoder knows for 8 to 12 kHz. ID3v2: id3.org, "ID3 tag version 2.4.0", 3.1. APEv2: the Hydrogenaudio
wiki, "APE Tags Header". Xing, Info and VBRI are conventions of encoders without a standard.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cache
from itertools import product


class MpegVersion(Enum):
    """The value is the version field of the frame header."""

    MPEG_1 = 0b11
    MPEG_2 = 0b10
    MPEG_2_5 = 0b00


@dataclass(frozen=True, slots=True)
class StreamShape:
    """What all frames of one stream have in common. `sample_rate` in Hz. Equal shapes are the same object."""

    version: MpegVersion
    sample_rate: int
    channels: int


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """What a frame's first four bytes say.

    `bit_rate` in bit/s, `length` in bytes with the header itself, `samples` per channel. `side_info` is the number of
    bytes between the header (and CRC) and the sound.
    """

    shape: StreamShape
    bit_rate: int
    length: int
    samples: int
    side_info: int
    has_crc: bool


HEADER_BYTES = 4
_CRC_BYTES = 2
_LAYER_3 = 0b01
_MONO = 0b11_000000  # the channel mode, in the fourth byte; the three modes below it have two channels

_SAMPLE_RATES = {
    MpegVersion.MPEG_1: (44_100, 48_000, 32_000),
    MpegVersion.MPEG_2: (22_050, 24_000, 16_000),
    MpegVersion.MPEG_2_5: (11_025, 12_000, 8_000),
}
_KBITS_MPEG_1 = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBITS_MPEG_2 = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_SAMPLES_MPEG_1, _SAMPLES_MPEG_2 = 1152, 576
_SIDE_INFO_MPEG_1, _SIDE_INFO_MPEG_2 = {1: 17, 2: 32}, {1: 9, 2: 17}  # by channels


_shape = cache(StreamShape)  # one object each, so that the hot path can compare with `is`


def _header(shape: StreamShape, kbits: int, padding: int, *, has_crc: bool) -> FrameHeader:
    is_first = shape.version is MpegVersion.MPEG_1
    samples = _SAMPLES_MPEG_1 if is_first else _SAMPLES_MPEG_2
    side_info = (_SIDE_INFO_MPEG_1 if is_first else _SIDE_INFO_MPEG_2)[shape.channels]
    length = samples // 8 * kbits * 1000 // shape.sample_rate + padding
    return FrameHeader(shape, kbits * 1000, length, samples, side_info, has_crc)


def _headers() -> dict[bytes, tuple[FrameHeader, FrameHeader]]:
    """Every first three bytes a Layer III frame can have, with its header for two channels and for one.

    Left out, and so never a frame: free format (no bit rate, so no length to trust) and the reserved values.
    """
    table = {}
    for version, no_crc, padding, private in product(MpegVersion, (0, 1), (0, 1), (0, 1)):
        second = 0b111_00000 | version.value << 3 | _LAYER_3 << 1 | no_crc
        rates = _KBITS_MPEG_1 if version is MpegVersion.MPEG_1 else _KBITS_MPEG_2
        for (kbit_field, kbits), (rate_field, sample_rate) in product(
            enumerate(rates, start=1), enumerate(_SAMPLE_RATES[version])
        ):
            third = kbit_field << 4 | rate_field << 2 | padding << 1 | private
            two, one = (_shape(version, sample_rate, channels) for channels in (2, 1))
            table[bytes((0xFF, second, third))] = (
                _header(two, kbits, padding, has_crc=not no_crc),
                _header(one, kbits, padding, has_crc=not no_crc),
            )
    return table


_HEADERS = _headers()

MAX_FRAME_BYTES = max(header.length for pair in _HEADERS.values() for header in pair)
"""Bytes of the longest frame there is (1441: 320 kbit/s at 32 kHz, padded)."""


def parse_header(data: bytes, start: int = 0) -> FrameHeader | None:
    """The Layer III header at `start`; None if those four bytes are no such header, or are not all there."""
    pair = _HEADERS.get(data[start : start + 3])
    if pair is None or len(data) < start + HEADER_BYTES:
        return None
    return pair[data[start + 3] >= _MONO]


def may_become_frame(data: bytes) -> bool:
    """Whether `data` is a frame header, or the beginning of one that is not all there yet."""
    return any(key.startswith(data[:3]) for key in _HEADERS)


_XING = (b"Xing", b"Info")
_XING_INITIALS = b"XI"  # one byte is looked at in a quarter of the time of four, and is another in nearly every frame
_VBRI = b"VBRI"
_VBRI_OFFSET = HEADER_BYTES + 32


def is_header_frame(data: bytes, start: int, header: FrameHeader) -> bool:
    """Whether the whole frame at `start` is Xing, Info or VBRI: facts about a file in the shape of a silent frame.

    Xing and Info stand where the sound would begin; in a frame with CRC some writers count its two bytes and some do
    not. VBRI stands 32 bytes behind the header whatever the side information.
    """
    end = start + header.length
    sound = start + HEADER_BYTES + header.side_info
    if data[sound] in _XING_INITIALS and data.startswith(_XING, sound, end):
        return True
    vbri = start + _VBRI_OFFSET
    if vbri < end and data[vbri] == _VBRI[0] and data.startswith(_VBRI, vbri, end):
        return True
    return header.has_crc and data.startswith(_XING, sound + _CRC_BYTES, end)


_APE_HEADER_BYTES = 32
TAG_HEAD_BYTES = _APE_HEADER_BYTES
"""What `tag_length` must see: an APE header. Less than an empty ID3 tag and the smallest frame together (10 + 24), so
that waiting for it never holds back a frame that is whole."""

_ID3V2_HEADER_BYTES = 10
_ID3V2_HAS_FOOTER = 0x10
_ID3V1_BYTES = 128
_APE_IS_HEADER = 0x20
_TAG_MAGICS = (b"ID3", b"TAG", b"APETAGEX")


def tag_length(head: bytes) -> int | None:
    """Bytes of the ID3v2, ID3v1 or APEv2 tag that begins with `head` (`TAG_HEAD_BYTES` of it); None if none does."""
    if head.startswith(b"ID3"):
        return _id3v2_length(head)
    if head.startswith(b"TAG"):
        return _ID3V1_BYTES
    if head.startswith(b"APETAGEX"):
        # The size counts all that follows the header. A footer can only be met alone: with a header it is inside.
        body = int.from_bytes(head[12:16], "little") if head[23] & _APE_IS_HEADER else 0
        return _APE_HEADER_BYTES + body
    return None


def _id3v2_length(head: bytes) -> int | None:
    size_field = head[6:_ID3V2_HEADER_BYTES]
    if 0xFF in head[3:5] or max(size_field) >= 0x80:
        return None
    size = 0
    for seven_bits in size_field:
        size = size << 7 | seven_bits
    footer = _ID3V2_HEADER_BYTES if head[5] & _ID3V2_HAS_FOOTER else 0
    return _ID3V2_HEADER_BYTES + size + footer


def may_become_tag(data: bytes) -> bool:
    """Whether `data` begins a tag, or is the beginning of a tag's first bytes."""
    return any(data.startswith(magic[: len(data)]) for magic in _TAG_MAGICS)


MP3 = "MP3"

# Offset, bytes there, name. The first match wins.
_CONTAINERS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"ID3", MP3),
    (0, b"RIFF", "a RIFF (WAV) file"),
    (0, b"RF64", "a RIFF (WAV) file"),
    (0, b"OggS", "an Ogg (Opus or Vorbis) file"),
    (0, b"OpusHead", "bare Opus packets"),
    (0, b"fLaC", "a FLAC file"),
    (4, b"ftyp", "an MP4 (M4A) file"),
    (0, b"\x1a\x45\xdf\xa3", "a WebM (Matroska) file"),
    (0, b"FORM", "an AIFF file"),
    (0, b"caff", "a CAF file"),
    (0, b"#!AMR", "an AMR file"),
    (0, b"ADIF", "AAC (ADIF)"),
    (0, b"\xff\xf0", "AAC (ADTS)"),
    (0, b"\xff\xf1", "AAC (ADTS)"),
    (0, b"\xff\xf8", "AAC (ADTS)"),
    (0, b"\xff\xf9", "AAC (ADTS)"),
    (0, b"LYRICSBEGIN", "a Lyrics3 tag"),
    (0, b"{", "text (JSON)"),
    (0, b"<", "text (XML or HTML)"),
)
_OTHER_LAYERS = {0b11: "MPEG audio of Layer I", 0b10: "MPEG audio of Layer II"}


def sniff(data: bytes) -> str | None:
    """Name what `data` begins with, in words that complete "found ..."; `MP3` for MP3, None for nothing we know.

    Twelve bytes are enough for everything it knows. Raw PCM cannot be told from anything.
    """
    if parse_header(data) is not None:
        return MP3
    named = (name for offset, magic, name in _CONTAINERS if data.startswith(magic, offset))
    return next(named, None) or _sniff_mpeg(data)


def _sniff_mpeg(data: bytes) -> str | None:
    if len(data) < HEADER_BYTES or data[0] != 0xFF or data[1] >> 5 != 0b111:
        return None
    version, layer = data[1] >> 3 & 0b11, data[1] >> 1 & 0b11
    kbit_field, rate_field = data[2] >> 4, data[2] >> 2 & 0b11
    if version == 0b01 or rate_field == 0b11 or kbit_field == 0b1111:
        return None
    if layer == _LAYER_3:
        return "MP3 in free format"  # the only Layer III header left that is not in the table
    return _OTHER_LAYERS.get(layer)
