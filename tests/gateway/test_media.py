"""What stored audio is called."""

from __future__ import annotations

import io
import wave
from collections.abc import Callable

import av
import lameenc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.media import RECORDING_TYPES, SNIFF_BYTES, media_type, recording_type, sniff

SILENCE = bytes(2 * 24_000)


def real_wav() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as recording:
        recording.setnchannels(1)
        recording.setsampwidth(2)
        recording.setframerate(24_000)
        recording.writeframes(SILENCE)
    return file.getvalue()


def real_mp3() -> bytes:
    encoder = lameenc.Encoder()
    encoder.set_channels(1)
    encoder.set_in_sample_rate(24_000)
    encoder.silence()
    return bytes(encoder.encode(SILENCE) + encoder.flush())


def real_m4a() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="ipod") as container:
        stream = container.add_stream("aac", rate=24_000, layout="mono")
        frame = av.AudioFrame(format="s16", layout="mono", samples=1024)
        frame.sample_rate = 24_000
        frame.planes[0].update(bytes(2048))
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return file.getvalue()


@pytest.mark.parametrize(("file", "kind"), [(real_wav, "audio/wav"), (real_mp3, "audio/mpeg"), (real_m4a, "audio/mp4")])
def test_what_real_encoders_write(file: Callable[[], bytes], kind: str) -> None:
    audio = file()
    assert sniff(audio[:SNIFF_BYTES]) == kind
    assert sniff(audio) == kind


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"RIFF\0\0\0\0WAVE", "audio/wav"),
        (b"RF64\xff\xff\xff\xffWAVEds64", "audio/wav"),
        (b"ID3\x03\0\0\0\0\0\0", "audio/mpeg"),
        (b"\xff\xfb\x90\x00", "audio/mpeg"),
        (b"\xff\xf3\x84\xc4", "audio/mpeg"),
        (b"\0\0\0\x1cftypM4A ", "audio/mp4"),
        (b"\0\0\0\x18ftypmp42", "audio/mp4"),
    ],
)
def test_audio_is_recognised_by_its_beginning(head: bytes, kind: str) -> None:
    assert sniff(head) == kind


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"RIFF\0\0\0\0AVI LIST",
        b"RIFF",
        b"<html>",
        b"OggS\0\x02",
        b"fLaC",
        b"\xff\xf1\x50\x80",  # AAC in ADTS: the layer bits are 0
        b"\xff\xff\xff\xff",  # a bit rate and a sample rate that do not exist
        b"\xff\xfb",
        b"\xff\xd8\xff\xe0\0\x10JFIF",
        b"ftyp",
    ],
)
def test_anything_else_is_not(head: bytes) -> None:
    assert sniff(head) is None


@given(st.binary(max_size=64))
def test_only_types_that_a_recording_may_have_are_ever_named(head: bytes) -> None:
    assert sniff(head) in {None, *RECORDING_TYPES.values()}


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("audio/wav", "audio/wav"),
        ("audio/x-wav", "audio/wav"),
        ("audio/wave", "audio/wav"),
        ("AUDIO/MPEG", "audio/mpeg"),
        ("audio/mp4; codecs=mp4a.40.2", "audio/mp4"),
        ("audio/m4a", "audio/mp4"),
        (" audio/x-m4a ", "audio/mp4"),
        ("audio/ogg", None),
        ("audio/webm", None),
        ("text/html", None),
        ("audio/*", None),
        ("", None),
    ],
)
def test_the_types_that_v1_s_bucket_allowed_and_the_names_browsers_have_for_them(said: str, kind: str | None) -> None:
    assert recording_type(said) == kind


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("a/b.mp3", "audio/mpeg"),
        ("a/b.WAV", "audio/wav"),
        ("a/b.m4a", "audio/mp4"),
        ("a/b.html", "application/octet-stream"),
        ("a/mp3", "application/octet-stream"),
    ],
)
def test_only_audio_is_named(key: str, kind: str) -> None:
    assert media_type(key) == kind
