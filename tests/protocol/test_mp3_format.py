"""Frame headers against FFmpeg's own parser, tags and header frames against hand-made ones, sniffing on real files."""

from __future__ import annotations

import io
from itertools import product

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.mp3_format import (
    MAX_FRAME_BYTES,
    MP3,
    TAG_HEAD_BYTES,
    MpegVersion,
    StreamShape,
    is_header_frame,
    may_become_frame,
    may_become_tag,
    parse_header,
    sniff,
    tag_length,
)
from tests.support.mp3_files import apev2, audio_file, bare_mp3, header_frame, header_of, id3v1, id3v2


class TestFrameHeader:
    @pytest.mark.parametrize(
        ("head", "version", "rate", "channels", "kbits", "length", "samples"),
        [
            ("fffb9064", MpegVersion.MPEG_1, 44_100, 2, 128, 417, 1152),
            ("fffb9264", MpegVersion.MPEG_1, 44_100, 2, 128, 418, 1152),
            ("fffb9164", MpegVersion.MPEG_1, 44_100, 2, 128, 417, 1152),  # the private bit
            ("fffb90bf", MpegVersion.MPEG_1, 44_100, 2, 128, 417, 1152),  # two independent channels
            ("fffb94c4", MpegVersion.MPEG_1, 48_000, 1, 128, 384, 1152),
            ("fff3c4c4", MpegVersion.MPEG_2, 24_000, 1, 128, 384, 576),
            ("ffe348c4", MpegVersion.MPEG_2_5, 8_000, 1, 32, 288, 576),
            ("fffbea00", MpegVersion.MPEG_1, 32_000, 2, 320, MAX_FRAME_BYTES, 1152),
        ],
    )
    def test_examples(
        self, head: str, version: MpegVersion, rate: int, channels: int, kbits: int, length: int, samples: int
    ) -> None:
        header = header_of(bytes.fromhex(head))
        assert header.shape == StreamShape(version, rate, channels)
        assert (header.bit_rate, header.length, header.samples) == (kbits * 1000, length, samples)

    @pytest.mark.parametrize(
        ("version", "rate"),
        [
            *((0b11, 44_100), (0b11, 48_000), (0b11, 32_000)),
            *((0b10, 22_050), (0b10, 24_000), (0b10, 16_000)),
            *((0b00, 11_025), (0b00, 12_000), (0b00, 8_000)),
        ],
    )
    @pytest.mark.parametrize("mode", [0b00, 0b11])
    def test_every_bit_rate_as_ffmpeg_reads_it(self, version: int, rate: int, mode: int) -> None:
        rate_field = {44: 0, 22: 0, 11: 0, 48: 1, 24: 1, 12: 1}.get(rate // 1000, 2)
        for kbit_field, padding in product(range(1, 15), (0, 1)):
            head = bytes((0xFF, 0xE3 | version << 3, kbit_field << 4 | rate_field << 2 | padding << 1, mode << 6))
            ours = header_of(head)
            frame = head.ljust(ours.length, b"\0")
            with av.open(io.BytesIO(frame * 8), "r", format="mp3") as file:
                stream = file.streams.audio[0]
                sizes = [packet.size for packet in file.demux(stream) if packet.size]
                assert sizes == [ours.length] * 8
                theirs = stream.codec_context
                assert (theirs.sample_rate, theirs.channels) == (ours.shape.sample_rate, ours.shape.channels)

    @pytest.mark.parametrize(
        "head",
        [
            "fffb0064",  # free format
            "fffbf064",  # bit rate 1111
            "fffb9c64",  # sample rate 11
            "ffeb9064",  # version 01
            "fffd9064",  # Layer II
            "ffff9064",  # Layer I
            "fff99064",  # layer 00, as in ADTS
            "ff7b9064",  # ten sync bits
            "fffb90",  # three bytes
            "",
        ],
    )
    def test_what_is_none(self, head: str) -> None:
        assert parse_header(bytes.fromhex(head)) is None

    def test_shapes_are_the_same_object_when_equal(self) -> None:
        assert header_of(b"\xff\xf3\xc4\xc4").shape is header_of(b"\xff\xf2\x86\xc0").shape

    def test_any_beginning_of_a_frame_may_become_one(self) -> None:
        frame = bare_mp3()
        assert all(may_become_frame(frame[:size]) for size in range(8))
        assert not may_become_frame(b"\xff\xf1")
        assert not may_become_frame(b"RI")


@pytest.mark.parametrize(("rate", "channels"), [(24_000, 1), (24_000, 2), (44_100, 1), (44_100, 2), (8_000, 1)])
class TestHeaderFrame:
    @pytest.mark.parametrize(
        ("magic", "crc", "crc_counted"),
        [
            *((magic, crc, False) for magic in (b"Xing", b"Info", b"VBRI") for crc in (False, True)),
            *((magic, True, True) for magic in (b"Xing", b"Info")),
        ],
    )
    def test_is_known(self, rate: int, channels: int, magic: bytes, crc: bool, crc_counted: bool) -> None:
        frame = header_frame(bare_mp3(rate, channels=channels), magic, crc=crc, crc_counted=crc_counted)
        assert is_header_frame(b"??" + frame, 2, header_of(frame))

    def test_the_word_elsewhere_is_sound(self, rate: int, channels: int) -> None:
        frame = header_frame(bare_mp3(rate, channels=channels), b"Info", crc_counted=True)
        assert not is_header_frame(frame, 0, header_of(frame))

    def test_no_frame_of_sound_is_one(self, rate: int, channels: int) -> None:
        mp3, at = bare_mp3(rate, channels=channels), 0
        while at < len(mp3):
            header = header_of(mp3[at:])
            assert not is_header_frame(mp3, at, header)
            at += header.length


def test_a_word_behind_the_end_of_the_frame_is_not_its_own() -> None:
    frame = b"\xff\xf3\x14\x00" + bytes(20)  # 24 bytes, 8 kbit/s: shorter than the place of a VBRI
    header = header_of(frame)
    assert header.length == len(frame)
    assert not is_header_frame(frame + bytes(12) + b"VBRI" + bytes(40), 0, header)
    assert not is_header_frame(frame[:21] + b"Xing" + bytes(40), 0, header)
    with_crc = b"\xff\xf2\x14\x00" + bytes(20)
    assert not is_header_frame(with_crc[:23] + b"Xing" + bytes(40), 0, header_of(with_crc))


class TestTagLength:
    @pytest.mark.parametrize(
        "tag",
        [id3v2(), id3v2(footer=True), id3v2(b""), id3v2(bytes(70_000)), id3v1(), id3v1(b"+title"), apev2()],
    )
    def test_is_the_whole_tag(self, tag: bytes) -> None:
        assert tag_length((tag + bytes(TAG_HEAD_BYTES))[:TAG_HEAD_BYTES]) == len(tag)

    @pytest.mark.parametrize(("flags", "footer"), [(0x00, 0), (0x10, 10), (0xEF, 0), (0xFF, 10)])
    def test_of_the_id3_flags_only_the_footer_adds_bytes(self, flags: int, footer: int) -> None:
        tag = b"ID3\x04\0" + bytes((flags, 0, 0, 0, 5))
        assert tag_length(tag.ljust(TAG_HEAD_BYTES, b"\0")) == 10 + 5 + footer

    def test_an_id3_size_has_28_bits(self) -> None:
        assert tag_length(b"ID3\x04\0\0\x7f\x7f\x7f\x7f".ljust(TAG_HEAD_BYTES, b"\0")) == 10 + (1 << 28) - 1

    def test_a_footer_met_alone_is_all_there_is(self) -> None:
        footer = apev2()[-32:]
        assert tag_length(footer) == 32
        assert tag_length(footer[:23] + b"\xdf" + footer[24:]) == 32  # every flag but the header's

    @pytest.mark.parametrize(
        "tag", [b"ID3\x04\0\0\0\0\x80\0", b"ID3\xff\0\0\0\0\0\0", b"ID3\x04\xff\0\0\0\0\0", b"ID4"]
    )
    def test_what_is_no_tag(self, tag: bytes) -> None:
        assert tag_length(tag.ljust(TAG_HEAD_BYTES, b"\0")) is None

    def test_any_beginning_of_a_tag_may_become_one(self) -> None:
        for tag in (id3v2(), id3v1(), apev2()):
            assert all(may_become_tag(tag[:size]) for size in range(12))
        assert not may_become_tag(b"TAX")


# Containers and codecs as FFmpeg writes them.
REAL_FILES = [
    ("mp3", "libmp3lame", MP3),
    ("mp2", "mp2", "MPEG audio of Layer II"),
    ("wav", "pcm_s16le", "a RIFF (WAV) file"),
    ("flac", "flac", "a FLAC file"),
    ("ogg", "libopus", "an Ogg (Opus or Vorbis) file"),
    ("webm", "libopus", "a WebM (Matroska) file"),
    ("mp4", "aac", "an MP4 (M4A) file"),
    ("adts", "aac", "AAC (ADTS)"),
    ("aiff", "pcm_s16be", "an AIFF file"),
    ("caf", "pcm_s16be", "a CAF file"),
    ("s16le", "pcm_s16le", None),
]


class TestSniff:
    @pytest.mark.parametrize(("container", "codec", "name"), REAL_FILES)
    def test_real_files(self, container: str, codec: str, name: str | None) -> None:
        assert sniff(audio_file(container, codec)[:12]) == name

    @pytest.mark.parametrize(
        ("data", "name"),
        [
            (bare_mp3(), MP3),
            (b"\xff\xfb\x00\x64", "MP3 in free format"),
            (b"\xff\xff\x90\x64", "MPEG audio of Layer I"),
            (b"\xff\xfd\xe8\x64", "MPEG audio of Layer II"),
            (b"\xff\xfd\xf8\x64", None),  # bit rate 1111
            (b"\xff\xfd\xec\x64", None),  # sample rate 11
            (b'{"code":"InternalError"}', "text (JSON)"),
            (b"<html>", "text (XML or HTML)"),
            (b"\xff\xff\xff\xff", None),  # PCM near silence
            (b"\xff\xeb\x90\x64", None),
            (b"", None),
        ],
    )
    def test_others(self, data: bytes, name: str | None) -> None:
        assert sniff(data) == name

    @given(st.binary(max_size=16))
    def test_says_something_or_nothing_about_any_bytes(self, data: bytes) -> None:
        assert sniff(data) is None or sniff(data)
        assert (parse_header(data) is None) or sniff(data) == MP3
