"""What is heard: real speech, in the format, rate and length that was asked for, different for every voice."""

from __future__ import annotations

import io
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import av
import miniaudio
import numpy as np
import numpy.typing as npt
import pytest

from bench.emulator.encoder import Mp3Encoder, WavEncoder, make_encoder
from tests.bench.realtime_client import Heard, dial, speak
from tests.support.emulator import VD_MODEL, Emulator, start_emulator

pytestmark = pytest.mark.integration

TEXT = "The quick brown fox jumps over the lazy dog, and nobody in the whole village minds at all."

Samples = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def voice(emulator: Emulator) -> str:
    return emulator.clone("sound")


def samples(heard: Heard) -> Samples:
    return np.frombuffer(heard.audio, dtype="<i2").astype(np.float64)


def spectrum(sound: Samples) -> Samples:
    """Long-term average spectrum, 64 bands up to 8 kHz at 24 kHz, as a unit vector."""
    frames = sound[: len(sound) // 1024 * 1024].reshape(-1, 1024) * np.hanning(1024)
    power = np.abs(np.fft.rfft(frames, axis=1)).mean(axis=0)[: 64 * 5].reshape(64, 5).mean(axis=1)
    log_power = np.log(power + 1.0)
    centred = log_power - log_power.mean()
    return np.asarray(centred / np.linalg.norm(centred))


def test_speech_is_loud_varied_and_as_long_as_its_samples(emulator: Emulator, voice: str) -> None:
    heard = speak(emulator, voice, TEXT)
    sound = samples(heard)
    record = emulator.sessions()[-1]
    assert len(sound) == record["samples"]
    assert record["audio_seconds"] == pytest.approx(len(sound) / 24000)
    assert 3 < record["audio_seconds"] < 12
    assert np.abs(sound).max() > 3000
    loudness = np.sqrt((sound[: len(sound) // 2400 * 2400].reshape(-1, 2400) ** 2).mean(axis=1))
    assert loudness.max() > 5 * (loudness.min() + 1), "speech has pauses"


@pytest.mark.parametrize("rate", [8000, 16000, 24000, 48000])
def test_the_sample_rate_is_the_one_asked_for(emulator: Emulator, voice: str, rate: int) -> None:
    reference = len(samples(speak(emulator, voice, TEXT))) / 24000
    sound = samples(speak(emulator, voice, TEXT, sample_rate=rate))
    assert len(sound) / rate == pytest.approx(reference, rel=0.01)
    strongest = np.abs(np.fft.rfft(sound))
    low = strongest[: int(len(strongest) * 1000 / (rate / 2))].mean()
    assert low > 3 * strongest[int(len(strongest) * 3000 / (rate / 2)) :].mean(), "speech energy lies low"


def test_deltas_hold_a_third_of_a_second(emulator: Emulator, voice: str) -> None:
    sizes = [len(event["delta"]) * 3 // 4 for event in speak(emulator, voice, TEXT).deltas]
    assert all(size / 48000 == pytest.approx(0.31, abs=0.01) for size in sizes[:-1])


def test_two_voices_differ_and_one_stays_itself(emulator: Emulator, voice: str) -> None:
    others = [emulator.clone("sound") for _ in range(3)]
    first = samples(speak(emulator, voice, TEXT))
    assert np.array_equal(first, samples(speak(emulator, voice, TEXT)))
    own = spectrum(samples(speak(emulator, voice, TEXT + " ")))
    for other in others:
        sound = samples(speak(emulator, other, TEXT))
        assert len(sound) != len(first)
        assert spectrum(first) @ spectrum(sound) < spectrum(first) @ own


def test_a_designed_voice_speaks_on_its_own_model(emulator: Emulator) -> None:
    designed = emulator.design("drawn")
    assert np.abs(samples(speak(emulator, designed, TEXT, VD_MODEL))).max() > 3000


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("Chinese", "今天天气很好，我们去公园散步。"),
        ("Japanese", "これは日本語の文章です。とても良いですね。"),
        ("Korean", "안녕하세요. 오늘은 날씨가 아주 좋습니다."),
        ("Russian", "Доброе утро. Сегодня хорошая погода."),
        ("German", "Guten Morgen. Das Wetter ist heute schön."),
        ("Auto", "Buongiorno a tutti. Oggi il tempo è molto bello."),
        ("Auto", "🎉 Party! 👩‍👩‍👧"),
    ],
)
def test_every_language_is_spoken(emulator: Emulator, voice: str, language: str, text: str) -> None:
    sound = samples(speak(emulator, voice, text, language_type=language))
    assert len(sound) > 12000
    assert np.abs(sound).max() > 2000


def test_auto_reads_a_text_in_its_own_language(emulator: Emulator, voice: str) -> None:
    text = "これは日本語の文章です。"
    told = speak(emulator, voice, text, language_type="Japanese")
    assert speak(emulator, voice, text, language_type="Auto").audio == told.audio
    assert speak(emulator, voice, text, language_type="English").audio != told.audio


def test_rate_pitch_and_volume_change_the_speech(emulator: Emulator, voice: str) -> None:
    plain = samples(speak(emulator, voice, TEXT))
    assert len(samples(speak(emulator, voice, TEXT, speech_rate=2.0))) < 0.7 * len(plain)
    assert not np.array_equal(samples(speak(emulator, voice, TEXT, pitch_rate=1.5))[: len(plain)], plain)
    quiet = samples(speak(emulator, voice, TEXT, volume=10))
    assert np.sqrt((quiet**2).mean()) < 0.5 * np.sqrt((plain**2).mean())


@pytest.mark.parametrize("rate", [16000, 24000, 48000])
def test_mp3_is_accepted_by_two_decoders_and_as_long_as_spoken(emulator: Emulator, voice: str, rate: int) -> None:
    heard = speak(emulator, voice, TEXT, response_format="mp3", sample_rate=rate)
    spoken = emulator.sessions()[-1]["audio_seconds"]
    assert heard.audio[0] == 0xFF, "no tag in front: raw frames"
    by_dr_mp3 = miniaudio.decode(heard.audio, nchannels=1, sample_rate=rate)
    assert by_dr_mp3.num_frames / rate == pytest.approx(spoken, rel=0.03, abs=0.06)
    with av.open(io.BytesIO(heard.audio), "r", format="mp3") as container:
        decoded = list(container.decode(audio=0))
    assert {frame.sample_rate for frame in decoded} == {rate}
    assert sum(frame.samples for frame in decoded) / rate == pytest.approx(spoken, rel=0.03, abs=0.06)
    sound = np.asarray(by_dr_mp3.samples, dtype=np.float64)
    assert np.abs(sound).max() > 3000


def test_the_bit_rate_is_honoured(emulator: Emulator, voice: str) -> None:
    asked: dict[str, Any] = {"response_format": "mp3", "sample_rate": 24000}
    narrow = speak(emulator, voice, TEXT, bit_rate=32, **asked)
    seconds = emulator.sessions()[-1]["audio_seconds"]
    assert len(narrow.audio) * 8 / seconds == pytest.approx(32000, rel=0.1)
    usual = speak(emulator, voice, TEXT, **asked)
    assert len(usual.audio) * 8 / seconds == pytest.approx(128000, rel=0.1)


@pytest.mark.parametrize("bit_rate", [6, 510])
def test_extreme_bit_rates_are_brought_into_range(bit_rate: int) -> None:
    encoder = Mp3Encoder(24000, bit_rate)
    audio = encoder.encode(bytes(48000)) + encoder.finish()
    assert miniaudio.decode(audio).num_frames > 0


def test_wav_has_one_header_with_an_oversized_length(emulator: Emulator, voice: str) -> None:
    pcm = speak(emulator, voice, TEXT)
    wav = speak(emulator, voice, TEXT, response_format="wav")
    assert wav.audio[:4] == b"RIFF"
    assert wav.audio[44:] == pcm.audio
    assert int.from_bytes(wav.audio[40:44], "little") > len(wav.audio)


def test_encoders_with_nothing_to_encode_say_nothing() -> None:
    assert Mp3Encoder(24000, 128).finish() == b""
    assert WavEncoder(24000).finish() == b""
    with pytest.raises(ValueError, match="opus"):
        make_encoder("opus", 24000, 128)


@pytest.mark.slow
def test_deltas_are_paced_at_the_stated_speed(tmp_path: Path) -> None:
    """Ratios only: how fast this machine is must not matter."""
    gaps: dict[float, float] = {}
    for speed in (1.0, 10.0):
        options = ("--speed", str(speed), "--first-audio-delay", "0")
        with start_emulator(tmp_path / str(speed), options) as running:
            heard = speak(running, running.clone(), TEXT)
        gaps[speed] = median(later - earlier for earlier, later in pairwise(heard.delta_times))
        if speed == 1.0:
            played = heard.delta_times[-1] - heard.delta_times[0]
            assert played == pytest.approx(len(heard.audio) / 48000, rel=0.15), "real pace is playback time"
    assert 5 < gaps[1.0] / gaps[10.0] < 20


def test_the_first_audio_delay_comes_before_the_first_delta(tmp_path: Path) -> None:
    """A lower bound holds on any machine: from the text on its way to the delta there is at least the delay."""

    def wait(delay: float) -> float:
        options = ("--speed", "50", "--first-audio-delay", str(delay))
        with start_emulator(tmp_path / str(delay), options) as running, dial(running) as client:
            client.update(running.clone())
            sent = time.monotonic()
            client.append(TEXT)
            client.receive_until("response.audio.delta")
            return client.heard.times[-1] - sent

    assert wait(0.0) < 1.0 <= wait(1.0)
