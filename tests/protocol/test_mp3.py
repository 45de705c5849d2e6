"""The frame reader: real streams, chopped anywhere, decorated at every join; and everything that must be refused."""

from __future__ import annotations

from itertools import pairwise

import miniaudio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import LocalProtocolError, RemoteProtocolError
from protocol.mp3 import MAX_PADDING_BYTES, MAX_PENDING_BYTES, MAX_TAG_BYTES, Mp3FrameReader, WrongAudioError
from tests.support.mp3_files import (
    apev2,
    audio_file,
    bare_mp3,
    ffmpeg_samples,
    header_frame,
    header_of,
    id3v1,
    id3v2,
    tone,
)

FORMATS = [(24_000, 1, 128), (48_000, 1, 128), (8_000, 1, 32), (16_000, 1, 64), (44_100, 2, 128), (22_050, 2, 48)]
MP3 = bare_mp3()
FRAME = MP3[: header_of(MP3).length]
SHORT = bare_mp3(seconds=0.05)

LEADERS = [b"", id3v2(), id3v2(footer=True), id3v2(bytes(500)), header_frame(MP3, b"Xing"), header_frame(MP3, b"VBRI")]
LEADERS += [id3v2() + header_frame(MP3, b"Info"), apev2() + header_frame(MP3, b"Info", crc=True)]
TRAILERS = [b"", id3v1(), apev2(), apev2() + id3v1(), bytes(100), bytes(7) + id3v1()]


def read(portions: list[bytes]) -> tuple[Mp3FrameReader, bytes]:
    """A finished reader and all it gave out; it never held back more than it may."""
    reader = Mp3FrameReader()
    audio = b""
    for portion in portions:
        audio += reader.feed(portion)
        assert reader.pending_bytes <= MAX_PENDING_BYTES
    reader.finish()
    return reader, audio


def outcome(portions: list[bytes]) -> tuple[bytes, str | None]:
    """What came out, and what was found if that was not all."""
    reader = Mp3FrameReader()
    audio = b""
    try:
        for portion in portions:
            audio += reader.feed(portion)
            assert reader.pending_bytes <= MAX_PENDING_BYTES
        reader.finish()
    except WrongAudioError as error:
        return audio, error.found
    return audio, None


def chopped(data: bytes, cuts: list[int]) -> list[bytes]:
    return [data[a:b] for a, b in pairwise([0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)])]


def in_steps(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


CUTS = st.lists(st.integers(0, 1 << 20), max_size=20)


@st.composite
def responses(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A stream of one to three decorated responses, and the audio frames in it."""
    stream = audio = b""
    for _ in range(draw(st.integers(1, 3))):
        frames = draw(st.sampled_from([FRAME, FRAME * 2, SHORT]))
        stream += draw(st.sampled_from(LEADERS)) + frames + draw(st.sampled_from(TRAILERS))
        audio += frames
    return stream, audio


class TestFrames:
    @pytest.mark.parametrize(("rate", "channels", "kbits"), FORMATS)
    def test_a_bare_stream_passes_unchanged_and_is_measured(self, rate: int, channels: int, kbits: int) -> None:
        seconds = 2.0
        mp3 = bare_mp3(rate, seconds, channels, kbits)
        reader, audio = read([mp3])
        assert audio == mp3
        assert reader.leftover_bytes == 0
        assert reader.duration_seconds == reader.samples / rate
        # LAME adds its delay and fills the last frame: two to four frames.
        assert seconds < reader.duration_seconds < seconds + 4 * 1152 / rate

    @pytest.mark.parametrize(("rate", "channels", "kbits"), FORMATS)
    def test_decoders_find_the_same_samples(self, rate: int, channels: int, kbits: int) -> None:
        mp3 = bare_mp3(rate, 0.5, channels, kbits)
        reader, audio = read(in_steps(mp3 * 3, 1000))
        assert miniaudio.decode(audio, nchannels=channels, sample_rate=rate).num_frames == reader.samples
        assert ffmpeg_samples(audio) == reader.samples

    @pytest.mark.parametrize("step", [1, 383, 385])
    def test_a_frame_comes_with_its_last_byte(self, step: int) -> None:
        reader = Mp3FrameReader()
        stream = id3v2() + header_frame(MP3, b"Info") + MP3
        lead, fed, given_out = len(stream) - len(MP3), 0, 0
        for portion in in_steps(stream, step):
            given_out += len(reader.feed(portion))
            fed += len(portion)
            assert given_out == max(0, fed - lead) // len(FRAME) * len(FRAME)

    def test_nothing_is_known_before_the_first_frame(self) -> None:
        reader = Mp3FrameReader()
        assert reader.feed(id3v2()) == b""
        assert (reader.frames, reader.duration_seconds) == (0, 0.0)

    def test_an_empty_stream_is_no_error_here(self) -> None:
        assert outcome([]) == (b"", None)
        assert outcome([b"", b""]) == (b"", None)


class TestDecorations:
    @given(responses(), CUTS)
    def test_only_the_frames_come_out_wherever_the_stream_is_cut(
        self, stream_and_audio: tuple[bytes, bytes], cuts: list[int]
    ) -> None:
        stream, audio = stream_and_audio
        reader, out = read(chopped(stream, cuts))
        assert out == audio
        assert reader.samples == len(audio) // len(FRAME) * 576

    @settings(max_examples=10)
    @given(responses())
    def test_one_byte_at_a_time_is_the_same(self, stream_and_audio: tuple[bytes, bytes]) -> None:
        stream, audio = stream_and_audio
        assert read(in_steps(stream, 1))[1] == audio

    @pytest.mark.parametrize("rate", [8_000, 24_000, 48_000])
    def test_a_real_file_with_id3_and_xing_at_every_join(self, rate: int) -> None:
        file = audio_file("mp3", "libmp3lame", rate, write_id3v1="1")
        assert file.startswith(b"ID3")
        assert file[-128:-125] == b"TAG"
        assert b"Info" in file[:600] or b"Xing" in file[:600]
        once, frames = read([file])
        joined, audio = read(in_steps(file * 3, 777))
        assert audio == frames * 3
        assert not any(word in audio for word in (b"ID3", b"TAG", b"Xing", b"Info"))
        assert once.duration_seconds == pytest.approx(0.5, abs=0.06 + 2 * 1152 / rate)
        assert ffmpeg_samples(audio) == joined.samples

    def test_a_long_tag_is_not_held(self) -> None:
        reader = Mp3FrameReader()
        tag = id3v2(bytes(MAX_TAG_BYTES - 10))
        for portion in in_steps(tag, 10_000):
            assert reader.feed(portion) == b""
            assert reader.pending_bytes == 0
        assert reader.feed(FRAME) == FRAME

    def test_a_tag_over_the_limit_is_refused(self) -> None:
        audio, found = outcome([id3v2(bytes(MAX_TAG_BYTES - 9))])
        assert audio == b""
        assert found == f"a tag of {MAX_TAG_BYTES + 1} bytes"

    def test_zeros_behind_frames_are_dropped_up_to_a_limit(self) -> None:
        pad = bytes(4096)
        assert outcome([FRAME + pad + FRAME + pad + id3v1() + pad]) == (FRAME * 2, None)
        assert outcome(in_steps(FRAME + pad, 1000)) == (FRAME, None)
        for portions in ([FRAME + pad + b"\0"], in_steps(FRAME + pad + b"\0", 1000)):
            assert outcome(portions) == (FRAME, "more than 4096 zeros")


class TestWrongAudio:
    @pytest.mark.parametrize(
        ("container", "codec"),
        [("wav", "pcm_s16le"), ("ogg", "libopus"), ("flac", "flac"), ("adts", "aac"), ("mp4", "aac"), ("mp2", "mp2")],
    )
    def test_another_format_is_named(self, container: str, codec: str) -> None:
        file = audio_file(container, codec)
        with pytest.raises(WrongAudioError, match=r"expected MP3 frames, found (a|MPEG|AAC)") as caught:
            Mp3FrameReader().feed(file[:2000])
        assert caught.value.position == 0
        assert isinstance(caught.value, RemoteProtocolError)
        assert outcome(in_steps(file, 1)) == (b"", caught.value.found)

    @pytest.mark.parametrize("pcm", [bytes(5000), tone(24_000, 0.2).tobytes()[100:], b"\xff\xff" * 100])
    def test_pcm_is_refused(self, pcm: bytes) -> None:
        audio, found = outcome([pcm])
        assert audio == b""
        assert found is not None
        assert "PCM" in found

    def test_what_nobody_knows_is_quoted(self) -> None:
        assert outcome([b"?!" * 20]) == (b"", "no format we know, perhaps raw PCM (it begins 3f 21 3f 21)")

    def test_few_bytes_of_something_else_are_refused_at_the_end(self) -> None:
        assert outcome([b"RIFF"]) == (b"", "a RIFF (WAV) file")
        assert outcome([FRAME + b"RIFF"]) == (FRAME, "a RIFF (WAV) file")

    def test_a_broken_tag_is_refused(self) -> None:
        assert outcome([b"ID3\x04\0\0\xff\xff\xff\xff" + MP3]) == (b"", "a broken ID3 tag")

    @given(st.binary(min_size=1, max_size=60), CUTS)
    def test_garbage_between_frames_ends_the_stream_after_the_frames_before_it(
        self, garbage: bytes, cuts: list[int]
    ) -> None:
        if garbage[0] in b"\xff\0ITA":
            garbage = b"?" + garbage
        audio, found = outcome(chopped(FRAME * 2 + garbage + FRAME * 2, cuts))
        assert audio == FRAME * 2
        assert found is not None

    def test_the_error_stays(self) -> None:
        reader = Mp3FrameReader()
        assert reader.feed(FRAME + b"garbage" * 5) == FRAME
        for _ in range(2):
            with pytest.raises(WrongAudioError, match=f"at byte {len(FRAME)} of the stream"):
                reader.feed(FRAME)
        with pytest.raises(WrongAudioError):
            reader.finish()
        assert (reader.frames, reader.pending_bytes) == (1, 0)

    @pytest.mark.parametrize(("rate", "channels"), [(48_000, 1), (16_000, 1), (24_000, 2)])
    def test_another_shape_after_a_join_is_refused(self, rate: int, channels: int) -> None:
        other = bare_mp3(rate, channels=channels)
        audio, found = outcome([MP3 + id3v1() + id3v2() + other])
        assert audio == MP3
        assert found == f"a frame of {rate} Hz with {channels} channel(s) after others"

    def test_the_error_says_where_in_the_whole_stream(self) -> None:
        reader = Mp3FrameReader()
        for portion in (FRAME, FRAME[:7], FRAME[7:], id3v1()[:100], id3v1()[100:], FRAME[:9]):
            reader.feed(portion)
        assert reader.feed(FRAME[9:] + b"?" * 40) == FRAME
        with pytest.raises(WrongAudioError) as caught:
            reader.finish()
        assert caught.value.position == 3 * len(FRAME) + len(id3v1())

    @pytest.mark.parametrize(
        "wrong", [b"RIFF", b"?" * 40, id3v2(bytes(MAX_TAG_BYTES)), bytes(MAX_PADDING_BYTES + 1), bare_mp3(48_000)]
    )
    def test_the_error_says_where_whatever_was_met(self, wrong: bytes) -> None:
        reader = Mp3FrameReader()
        assert reader.feed(FRAME) + reader.feed(FRAME + wrong) == FRAME * 2
        with pytest.raises(WrongAudioError) as caught:
            reader.finish()
        assert caught.value.position == 2 * len(FRAME)

    def test_another_bit_rate_is_fine(self) -> None:
        assert outcome([MP3 + bare_mp3(kbits=64)]) == (MP3 + bare_mp3(kbits=64), None)


class TestFinish:
    @pytest.mark.parametrize("size", [1, 2, 3, 4, 100, len(FRAME) - 1])
    def test_a_frame_that_is_not_whole_is_dropped_and_reported(self, size: int) -> None:
        reader, audio = read([FRAME * 2 + FRAME[:size]])
        assert audio == FRAME * 2
        assert reader.leftover_bytes == size

    def test_a_header_frame_at_the_very_end_is_not_a_leftover(self) -> None:
        reader, audio = read([FRAME + header_frame(MP3, b"Info")])
        assert audio == FRAME
        assert reader.leftover_bytes == 0

    @pytest.mark.parametrize("tag", [id3v2(), id3v1(), apev2()])
    @pytest.mark.parametrize("size", [1, 2, 9, 40])
    def test_a_tag_that_is_not_whole_is_dropped(self, tag: bytes, size: int) -> None:
        reader, audio = read([FRAME + tag[:size]])
        assert audio == FRAME
        assert reader.leftover_bytes == 0

    def test_afterwards_nothing_may_come(self) -> None:
        reader, _ = read([FRAME])
        with pytest.raises(LocalProtocolError, match="finished"):
            reader.feed(FRAME)
        with pytest.raises(LocalProtocolError, match="finished"):
            reader.finish()


BYTES_OF_A_STREAM = st.one_of(
    st.binary(max_size=50),
    st.sampled_from(
        [FRAME, FRAME[:100], b"\xff", b"\xff\xfb", b"ID3", b"TAG", b"APETAGEX", b"\0" * 50, *LEADERS, *TRAILERS]
    ),
    st.builds(lambda head, body: b"\xff" + head + body, st.binary(min_size=3, max_size=3), st.binary(max_size=1500)),
)


class TestAnything:
    @given(st.lists(BYTES_OF_A_STREAM, max_size=12).map(b"".join), CUTS)
    def test_gives_frames_or_wrong_audio_the_same_however_cut(self, data: bytes, cuts: list[int]) -> None:
        audio, found = outcome([data])
        assert outcome(chopped(data, cuts)) == (audio, found)
        again, found_again = outcome([audio])
        assert (again, found_again) == (audio, None)
