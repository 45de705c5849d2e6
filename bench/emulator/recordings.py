"""The vendor's checks on a recording that is to be cloned, as far as they are cheap (protocol reference 3.1, 3.4)."""

from __future__ import annotations

import base64
import binascii
import io
import re
import wave

import httpx
import numpy as np

from bench.emulator import vendor_errors
from bench.emulator.vendor_errors import VendorRefusal

MAX_ENCODED_BYTES = 10 * 1024 * 1024
"""A data URL must be shorter than this; a downloaded file too."""

MIN_RATE = 24000
"""Hz."""

MIN_SECONDS, MAX_SECONDS = 3.0, 60.0
"""Shortest and longest recording."""

SILENCE = 0.01
"""Peak below this share of full scale is silence."""

DOWNLOAD_SECONDS = 10.0
"""Longest wait for the server a recording's URL names."""

_DATA_URL = re.compile(r"data:audio/[\w.+-]+;base64,")


async def check_recording(reference: str) -> None:
    """Accept or refuse what `audio.data` refers to: a data URL, or a URL that is fetched. Raises `VendorRefusal`."""
    prefix = _DATA_URL.match(reference)
    content = _decode(reference, prefix.end()) if prefix else await _download(reference)
    if content[:4] == b"RIFF":
        _check_wav(content)
    elif not _is_other_audio(content):
        raise VendorRefusal(vendor_errors.UNSUPPORTED_FILE)


def _decode(data_url: str, start: int) -> bytes:
    if len(data_url) >= MAX_ENCODED_BYTES:
        raise VendorRefusal(vendor_errors.FILE_TOO_LARGE)
    try:
        return base64.b64decode(data_url[start:], validate=True)
    except binascii.Error:
        raise VendorRefusal(vendor_errors.UNDECODABLE) from None


async def _download(url: str) -> bytes:
    if not url.startswith(("http://", "https://")):
        raise VendorRefusal(vendor_errors.bad_parameter("audio.data must be a data URL or a public URL."))
    content = bytearray()
    try:
        async with (
            httpx.AsyncClient(timeout=DOWNLOAD_SECONDS, trust_env=False) as client,
            client.stream("GET", url) as answer,
        ):
            answer.raise_for_status()
            async for piece in answer.aiter_bytes():
                content += piece
                if len(content) >= MAX_ENCODED_BYTES:
                    raise VendorRefusal(vendor_errors.DOWNLOAD_FAILED)
    except (httpx.HTTPError, httpx.InvalidURL):
        raise VendorRefusal(vendor_errors.DOWNLOAD_FAILED) from None
    return bytes(content)


def _check_wav(content: bytes) -> None:
    try:
        with wave.open(io.BytesIO(content)) as recording:
            rate, width = recording.getframerate(), recording.getsampwidth()
            seconds = recording.getnframes() / rate
            samples = recording.readframes(recording.getnframes())
    except (wave.Error, EOFError, ZeroDivisionError):
        raise VendorRefusal(vendor_errors.UNDECODABLE) from None
    if width != 2:
        raise VendorRefusal(vendor_errors.UNDECODABLE)
    if rate < MIN_RATE:
        raise VendorRefusal(vendor_errors.LOW_RATE)
    if seconds > MAX_SECONDS:
        raise VendorRefusal(vendor_errors.TOO_LONG)
    if seconds < MIN_SECONDS:
        raise VendorRefusal(vendor_errors.TOO_SHORT)
    peak = np.abs(np.frombuffer(samples[: len(samples) // 2 * 2], dtype="<i2").astype(np.int32)).max()
    if peak < SILENCE * 32768:
        raise VendorRefusal(vendor_errors.SILENT)


def _is_other_audio(content: bytes) -> bool:
    """MP3 (tagged or not) or M4A, which are taken unheard: no decoder for them is a runtime dependency."""
    is_mp3 = content[:3] == b"ID3" or (len(content) > 1 and content[0] == 0xFF and content[1] & 0xE0 == 0xE0)
    return is_mp3 or content[4:8] == b"ftyp"
