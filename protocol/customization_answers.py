"""What the customization REST answers (protocol reference 3.1 to 3.4); `protocol/customization.py` is what it is asked.

One `parse_*` function for each request takes the HTTP status, the body and the `x-request-id` header, and raises:

- `ProviderFailure` when the vendor refused, also inside a 200 (reference 3.4: `code` comes before `output`);
- `RemoteProtocolError` when a success cannot be read. After a *create* that is an ambiguous outcome: the voice may
  exist and be paid for, so list and `match_created` before ever creating again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec

from protocol.errors import Fault, ProviderFailure, RemoteProtocolError
from protocol.vendor_codes import classify
from protocol.vendor_words import Envelope, read_envelope, refusal_error, words

MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024
"""Longest answer that is read. The largest carries a preview: 1024 characters are about a minute and a half, 4.3 MB as
24 kHz WAV, 5.8 MB as base64; four times that at 48 kHz in a slow voice."""


@dataclass(frozen=True, slots=True)
class CreatedVoice:
    """A voice that now exists and was billed. `preview` is a design's audio file, with its `preview_format` and
    `preview_sample_rate` in Hz; empty for a clone. `fallback_reason` is not "" when the vendor could only make a
    degraded voice of the recording (protocol reference 3.1)."""

    voice: str
    target_model: str
    request_id: str
    billed: int | None
    fallback_reason: str = ""
    preview: bytes = b""
    preview_format: str = ""
    preview_sample_rate: int = 0


class ListedVoice(msgspec.Struct, frozen=True):
    """A voice in a list or a query. `gmt_create` is "YYYY-MM-DD HH:MM:SS" in an unstated zone: good for ordering."""

    voice: str
    target_model: str = ""
    gmt_create: str | None = None
    language: str | None = None


class _Preview(msgspec.Struct):
    data: bytes
    sample_rate: int = 0
    response_format: str = ""


class _Created(msgspec.Struct):
    voice: str
    target_model: str = ""
    preview_audio: _Preview | None = None
    fallback_mode: object = None
    fallback_reason: object = None


class _Page(msgspec.Struct):
    voice_list: list[ListedVoice]


class _Answer(Envelope):
    output: msgspec.Raw = msgspec.Raw(b"null")
    usage: object = None


_Output = TypeVar("_Output")


def parse_created(status: int, body: bytes, request_id: str = "") -> CreatedVoice:
    """Read the answer to `CreateClone` or `CreateDesign`."""
    answer, output = _parse(status, body, request_id, _Created)
    preview = output.preview_audio or _Preview(b"")
    return CreatedVoice(
        voice=output.voice,
        target_model=output.target_model,
        request_id=words(answer.request_id) or request_id,
        billed=_billed(answer.usage),
        fallback_reason=_fallback(output),
        preview=preview.data,
        preview_format=preview.response_format,
        preview_sample_rate=preview.sample_rate,
    )


def parse_page(status: int, body: bytes, request_id: str = "") -> list[ListedVoice]:
    """Read the answer to `ListVoices`: the page's voices."""
    return _parse(status, body, request_id, _Page)[1].voice_list


def parse_voice(status: int, body: bytes, request_id: str = "") -> ListedVoice | None:
    """Read the answer to `QueryVoice`; None when there is no such voice."""
    try:
        return _parse(status, body, request_id, ListedVoice)[1]
    except ProviderFailure as failure:
        if failure.fault is Fault.VOICE_UNKNOWN:
            return None
        raise


def parse_deleted(status: int, body: bytes, request_id: str = "") -> bool:
    """Read the answer to `DeleteVoice`: True when it was deleted now, False when it did not exist any more."""
    try:
        _accepted(status, body, request_id)
    except ProviderFailure as failure:
        if failure.fault is Fault.VOICE_UNKNOWN:
            return False
        raise
    return True


def match_created(voices: Iterable[ListedVoice], name: str, target_model: str | None = None) -> list[ListedVoice]:
    """Those of `voices` that were created as `name` for `target_model` (None: for any), newest first.

    More than one means a create was repeated: all but the chosen one are orphans. The only trace of a preferred name
    in a list is the voice id (`qwen-tts-vc-<name>-voice-...`, protocol reference 3.3).
    """
    ours = [v for v in voices if f"-{name}-" in v.voice and target_model in (None, v.target_model)]
    return sorted(ours, key=lambda v: v.gmt_create or "", reverse=True)


def _parse(status: int, body: bytes, request_id: str, output: type[_Output]) -> tuple[_Answer, _Output]:
    answer = _accepted(status, body, request_id)
    try:
        return answer, msgspec.json.decode(answer.output, type=output)
    except (ValueError, RecursionError) as error:
        raise RemoteProtocolError(f"a customization answer without what was asked for: {error}") from error


def _accepted(status: int, body: bytes, request_id: str) -> _Answer:
    answer = None if len(body) > MAX_ANSWER_BYTES else read_envelope(body, _Answer)
    if status < 300:
        if answer is None:
            raise RemoteProtocolError(f"a customization answer of {len(body)} bytes with status {status} is unreadable")
        if not answer.code:
            return answer
    vendor = refusal_error(status, answer, request_id)
    raise ProviderFailure(classify(vendor), vendor)


def _billed(usage: object) -> int | None:
    count = usage.get("count") if isinstance(usage, dict) else None
    return count if type(count) is int else None


def _fallback(output: _Created) -> str:
    return words(output.fallback_reason) or "unspecified" if output.fallback_mode is True else ""
