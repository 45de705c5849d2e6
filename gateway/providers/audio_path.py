"""From what the vendor sends to what the log keeps: whole MP3 frames, free of tags, whatever was asked for upstream."""

from __future__ import annotations

from typing import Protocol

from gateway.providers.pcm_encoder import PcmEncoder
from protocol.mp3 import Mp3FrameReader, WrongAudioError, sniff

_CONTAINER_STARTS = (b"RIFF", b"RF64", b"OggS", b"fLaC", b"ID3")
"""What PCM must not begin with. The shorter marks that `sniff` knows ("{", "<", an MPEG sync word) are ordinary first
samples of quiet PCM."""

_SNIFF_BYTES = 4


class AudioPath(Protocol):
    """One session's audio. `feed` and `finish` return whole frames, maybe none."""

    def feed(self, data: bytes) -> bytes:
        """Raises `WrongAudioError` for data that is not of the upstream format."""

    def finish(self) -> bytes:
        """What was held back. Raises as `feed`."""

    @property
    def seconds(self) -> float:
        """Playing time of all frames returned."""

    @property
    def leftover_bytes(self) -> int:
        """After `finish`: bytes of an incomplete last frame or sample, which were dropped."""


def open_audio_path(upstream_format: str, sample_rate: int) -> AudioPath:
    """The path for `mp3` or `pcm` at `sample_rate` Hz. Raises ValueError for another format."""
    match upstream_format:
        case "mp3":
            return _Mp3Path()
        case "pcm":
            return _PcmPath(sample_rate)
    raise ValueError(f"no audio path for {upstream_format!r}")


class _Mp3Path:
    def __init__(self) -> None:
        self._reader = Mp3FrameReader()

    def feed(self, data: bytes) -> bytes:
        return self._reader.feed(data)

    def finish(self) -> bytes:
        self._reader.finish()
        return b""

    @property
    def seconds(self) -> float:
        return self._reader.duration_seconds

    @property
    def leftover_bytes(self) -> int:
        return self._reader.leftover_bytes


class _PcmPath:
    """Encodes here. The encoder's output is read like the vendor's, so that the frames given out are whole too."""

    def __init__(self, sample_rate: int) -> None:
        self._encoder = PcmEncoder(sample_rate)
        self._reader = Mp3FrameReader()
        self._head = b""
        self._sniffed = False

    def feed(self, data: bytes) -> bytes:
        if not self._sniffed:
            data = self._first(data)
        return self._reader.feed(self._encoder.encode(data))

    def finish(self) -> bytes:
        frames = self._reader.feed(self._encoder.encode(self._head) + self._encoder.finish())
        self._reader.finish()
        return frames

    @property
    def seconds(self) -> float:
        return self._reader.duration_seconds

    @property
    def leftover_bytes(self) -> int:
        return self._encoder.carried_bytes

    def _first(self, data: bytes) -> bytes:
        """Hold the first bytes until they can be told from a container: as PCM, it would be a burst of noise."""
        self._head += data
        if len(self._head) < _SNIFF_BYTES:
            return b""
        if self._head.startswith(_CONTAINER_STARTS):
            raise WrongAudioError(sniff(self._head) or "a container", 0)
        self._sniffed = True
        data, self._head = self._head, b""
        return data
