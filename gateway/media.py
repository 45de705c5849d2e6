"""Media types of stored objects: what their bytes are, or else what the ending of their key says.

v1 keeps every recording under `reference.wav`, whatever it is (v1 contract 1.4), and a local store has nothing beside
the object that could tell. So recordings are recognised by their first bytes.
"""

from __future__ import annotations

from collections.abc import Mapping

from protocol.mp3_format import parse_header

UNKNOWN_TYPE = "application/octet-stream"

SNIFF_BYTES = 16
"""What `sniff` looks at."""

WAV, MP3, M4A = "audio/wav", "audio/mpeg", "audio/mp4"

RECORDING_TYPES: Mapping[str, str] = {
    "audio/wav": WAV,
    "audio/x-wav": WAV,
    "audio/wave": WAV,
    "audio/mpeg": MP3,
    "audio/mp4": M4A,
    "audio/m4a": M4A,
    "audio/x-m4a": M4A,
}
"""Types that a recording may be sent as, and the one registered name of each. The list is v1's (v1 contract 3.5), with
the names browsers use for .m4a and .wav (product section 6)."""

_BY_SUFFIX = {"mp3": MP3, "wav": WAV, "m4a": M4A}
_RIFF_KINDS = {b"RIFF", b"RF64"}
"""RF64 is WAV beyond 4 GiB (EBU Tech 3306), which some recorders write from the start."""


def media_type(key: str) -> str:
    """What to call the object in an answer, by the ending of its key.

    Only audio is named: an upload that calls itself HTML must never become a page of this origin.
    """
    return _BY_SUFFIX.get(key.rpartition(".")[2].lower(), UNKNOWN_TYPE)


def recording_type(content_type: str) -> str | None:
    """The registered name of a type that a recording may have; parameters do not count. None for any other type."""
    return RECORDING_TYPES.get(content_type.partition(";")[0].strip().lower())


def sniff(head: bytes) -> str | None:
    """The type of audio that begins with `head` (`SNIFF_BYTES`, or all there is): WAV, MP3 or M4A. None: neither.

    Sources: RIFF by its form type, MP4 by its first box (ISO/IEC 14496-12, 4.3), MP3 by an ID3 tag or a frame header.
    """
    if head[:4] in _RIFF_KINDS and head[8:12] == b"WAVE":
        return WAV
    if head[4:8] == b"ftyp":
        return M4A
    if head[:3] == b"ID3" or parse_header(head) is not None:
        return MP3
    return None
