"""What the customization endpoint does: clone, design, list, query and delete voices (protocol reference 3)."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta, timezone
from typing import Annotated, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

from bench.emulator import customization_faults, vendor_errors
from bench.emulator.account import StoredVoice, VoiceQuotaExceeded
from bench.emulator.encoder import make_encoder, wav_header
from bench.emulator.faults import Fault
from bench.emulator.recordings import check_recording
from bench.emulator.segments import segments
from bench.emulator.studio import VC_MODELS, VD_MODELS, Delivery, Studio
from bench.emulator.vendor_errors import VendorAnswer, VendorRefusal, bad_parameter
from protocol.customization import MAX_PAGE_INDEX, MAX_PREVIEW_TEXT_CHARS, MAX_VOICE_PROMPT_CHARS

ENROLLMENT_MODEL = "qwen-voice-enrollment"
DESIGN_MODEL = "qwen-voice-design"

MAX_PAGE_SIZE = 1000
"""One page can hold the whole quota; clients page with 100."""

BEIJING = timezone(timedelta(hours=8))
"""The zone of the vendor's times, by inspection (protocol reference 3.3)."""

PreferredName: TypeAlias = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_]{1,16}$")]
LanguageCode: TypeAlias = Annotated[str, Meta(pattern=r"^(zh|en|de|it|pt|es|ja|ko|fr|ru)$")]


class Recording(msgspec.Struct):
    """A data URL, or a URL the vendor fetches."""

    data: str


class Clone(msgspec.Struct):
    """`create` of an enrollment."""

    target_model: str
    preferred_name: PreferredName
    audio: Recording
    text: str = ""
    language: LanguageCode = "zh"


class Design(msgspec.Struct):
    """`create` of a design. The language defaults to Chinese, whatever the preview text is."""

    target_model: str
    voice_prompt: Annotated[str, Meta(min_length=1, max_length=MAX_VOICE_PROMPT_CHARS)]
    preview_text: Annotated[str, Meta(min_length=1, max_length=MAX_PREVIEW_TEXT_CHARS)]
    preferred_name: PreferredName = "voice"
    language: LanguageCode = "zh"


class PreviewFormat(msgspec.Struct):
    """`parameters` of a design."""

    sample_rate: int = 24000
    response_format: str = "wav"


class Page(msgspec.Struct):
    """`list`."""

    page_index: Annotated[int, Meta(ge=0, le=MAX_PAGE_INDEX)] = 0
    page_size: Annotated[int, Meta(ge=1, le=MAX_PAGE_SIZE)] = 10


class OneVoice(msgspec.Struct):
    """`query` and `delete`."""

    voice: str


class Body(msgspec.Struct):
    """The whole request; `input` is read again once its action is known."""

    model: str
    input: msgspec.Raw
    parameters: PreviewFormat = msgspec.field(default_factory=PreviewFormat)


class _Action(msgspec.Struct):
    action: str


Answer: TypeAlias = dict[str, object]
_T = TypeVar("_T")


class Customization:
    """The endpoint's actions on one account."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._actions: dict[tuple[str, str], Callable[[Body, frozenset[Fault]], Awaitable[Answer]]] = {
            (ENROLLMENT_MODEL, "create"): self._clone,
            (ENROLLMENT_MODEL, "list"): self._list_clones,
            (ENROLLMENT_MODEL, "delete"): self._delete_clone,
            (DESIGN_MODEL, "create"): self._design,
            (DESIGN_MODEL, "list"): self._list_designs,
            (DESIGN_MODEL, "query"): self._query_design,
            (DESIGN_MODEL, "delete"): self._delete_design,
        }

    async def perform(self, raw: bytes, faults: frozenset[Fault]) -> Answer:
        """Answer one request body, without its `request_id`. Raises `VendorRefusal` and `AnswerLost`.

        What is ordered for the body's action comes on top of `faults`.
        """
        body = _decode(raw, Body)
        action = _decode(body.input, _Action).action
        faults |= self._studio.faults.take(f"{customization_faults.CUSTOMIZATION}:{action}")
        customization_faults.before_any(faults)
        if body.model not in {ENROLLMENT_MODEL, DESIGN_MODEL}:
            raise VendorRefusal(vendor_errors.MODEL_NOT_FOUND)
        perform = self._actions.get((body.model, action))
        if perform is None:
            raise VendorRefusal(bad_parameter(f"{body.model} has no such action."))
        return await perform(body, faults)

    async def _clone(self, body: Body, faults: frozenset[Fault]) -> Answer:
        asked = _decode(body.input, Clone)
        _require_model(asked.target_model, VC_MODELS)
        customization_faults.before_clone(faults)
        await check_recording(asked.audio.data)
        voice = _new_voice("vc", asked.preferred_name, asked.target_model, asked.language)
        await self._keep(voice, asked.preferred_name, faults)
        output: Answer = {"voice": voice.voice, "target_model": voice.target_model}
        if Fault.FALLBACK_MODE in faults:
            output |= {"fallback_mode": True, "fallback_reason": "no_merged_segments"}
        return {"output": output, "usage": {"count": 1}}

    async def _design(self, body: Body, faults: frozenset[Fault]) -> Answer:
        asked = _decode(body.input, Design)
        _require_model(asked.target_model, VD_MODELS)
        customization_faults.before_design(faults)
        if body.parameters.response_format not in {"pcm", "wav", "mp3"}:
            raise VendorRefusal(bad_parameter("response_format is not supported."))
        if body.parameters.sample_rate not in {8000, 16000, 24000, 48000}:
            raise VendorRefusal(bad_parameter("sample_rate is not supported."))
        voice = _new_voice("vd", asked.preferred_name, asked.target_model, asked.language)
        voice = msgspec.structs.replace(voice, voice_prompt=asked.voice_prompt, preview_text=asked.preview_text)
        preview = await self._preview(voice, body.parameters)
        await self._keep(voice, asked.preferred_name, faults)
        output = {"preview_audio": preview, "target_model": voice.target_model, "voice": voice.voice}
        return {"output": output, "usage": {"count": 1}}

    async def _keep(self, voice: StoredVoice, preferred_name: str, faults: frozenset[Fault]) -> None:
        try:
            await self._studio.account.add(voice, preferred_name)
        except VoiceQuotaExceeded:
            raise VendorRefusal(vendor_errors.VOICE_QUOTA) from None
        customization_faults.after_create(faults)

    async def _preview(self, voice: StoredVoice, wanted: PreviewFormat) -> Answer:
        """The preview text spoken in the new voice, as one file in base64."""
        delivery = Delivery(voice=voice.voice, sample_rate=wanted.sample_rate)
        pcm = b""
        for portion in segments(voice.preview_text):
            pcm += await self._studio.worker.speak(delivery.utterance(portion, voice.language))
        if wanted.response_format == "wav":
            audio = wav_header(wanted.sample_rate, len(pcm)) + pcm
        else:
            encoder = make_encoder(wanted.response_format, wanted.sample_rate, bit_rate=128)
            audio = encoder.encode(pcm) + encoder.finish()
        return {
            "data": base64.b64encode(audio).decode(),
            "sample_rate": wanted.sample_rate,
            "response_format": wanted.response_format,
        }

    async def _list_clones(self, body: Body, _faults: frozenset[Fault]) -> Answer:
        page = _decode(body.input, Page)
        # No total_count: it cannot be relied on (protocol reference 3.3), so clients must page without it.
        output = {"page_index": page.page_index, "page_size": page.page_size}
        voices = _page_of(self._studio.account.voices("vc"), page)
        return {"output": output | {"voice_list": _clone_rows(voices)}, "usage": {"count": 0}}

    async def _list_designs(self, body: Body, _faults: frozenset[Fault]) -> Answer:
        page = _decode(body.input, Page)
        voices = self._studio.account.voices("vd")
        output: Answer = {
            "page_index": page.page_index,
            "page_size": page.page_size,
            "total_count": len(voices),
            "voice_list": [_design_row(voice) for voice in _page_of(voices, page)],
        }
        return {"output": output, "usage": {}}

    async def _query_design(self, body: Body, _faults: frozenset[Fault]) -> Answer:
        return {"output": _design_row(self._design_named(body)), "usage": {}}

    async def _delete_design(self, body: Body, _faults: frozenset[Fault]) -> Answer:
        voice = self._design_named(body).voice
        await self._studio.account.remove(voice)
        return {"output": {"voice": voice}, "usage": {}}

    async def _delete_clone(self, body: Body, _faults: frozenset[Fault]) -> Answer:
        voice = _decode(body.input, OneVoice).voice
        stored = self._studio.account.find(voice)
        if stored is None or stored.kind != "vc":
            message = f"Voice '{voice}' not found."
            raise VendorRefusal(VendorAnswer(400, "BadRequest.VoiceNotFound", message))
        await self._studio.account.remove(voice)
        return {"usage": {"count": 0}}

    def _design_named(self, body: Body) -> StoredVoice:
        voice = _decode(body.input, OneVoice).voice
        stored = self._studio.account.find(voice)
        if stored is None or stored.kind != "vd":
            raise VendorRefusal(VendorAnswer(400, "VoiceNotFound", f"Voice not found: {voice}"))
        return stored


def _decode(raw: bytes | msgspec.Raw, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        # msgspec names the field and the rule, never the value.
        raise VendorRefusal(bad_parameter(str(problem))) from None


def _require_model(target_model: str, models: Iterable[str]) -> None:
    if target_model not in models:
        raise VendorRefusal(bad_parameter("target_model is not supported."))


def _new_voice(kind: str, name: str, target_model: str, language: str) -> StoredVoice:
    """Ids as the vendor makes them: 17 digits of time for clones, 14 for designs (protocol reference 3.3)."""
    now = datetime.now(UTC).astimezone(BEIJING)
    digits = now.strftime("%Y%m%d%H%M%S") + (f"{now.microsecond // 1000:03}" if kind == "vc" else "")
    stamp = now.strftime("%Y-%m-%d %H:%M:%S")
    return StoredVoice(
        voice=f"qwen-tts-{kind}-{name}-voice-{digits}-{secrets.token_hex(2)}",
        kind=kind,
        target_model=target_model,
        language=language,
        gmt_create=stamp,
        gmt_modified=stamp,
    )


def _page_of(voices: list[StoredVoice], page: Page) -> list[StoredVoice]:
    start = page.page_index * page.page_size
    return voices[start : start + page.page_size]


def _clone_rows(voices: list[StoredVoice]) -> list[dict[str, str]]:
    return [{name: getattr(voice, name) for name in _CLONE_KEYS} for voice in voices]


def _design_row(voice: StoredVoice) -> dict[str, object]:
    return {name: getattr(voice, name) for name in (*_CLONE_KEYS, "voice_prompt", "preview_text")}


_CLONE_KEYS = ("voice", "target_model", "language", "gmt_create", "gmt_modified")
