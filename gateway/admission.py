"""May this text be spoken in this voice, now? Everything that is decided before work begins.

The order of the checks is the contract's (v1 contract 1.6): bad input first, then whether the voice exists for the
caller, then whether the active provider can use it. Each refusal is an `ApiError` with words for the user.
"""

from __future__ import annotations

from uuid import UUID, uuid4

from gateway.errors import ApiError
from gateway.providers.base import Utterance
from gateway.running import GenerationOrder, TaskType
from gateway.settings import Settings
from protocol.languages import SPOKEN_LANGUAGES, is_spoken
from schema.http import GenerateRequest
from schema.javascript import half_up, utf16_length, utf16_prefix
from schema.records import RequestKey, TakenTask, VoiceRow
from storage import generations, voices
from storage.database import Database

PREVIEW_UNITS = 50
"""How much of the text v1 keeps on the task row (v1 contract 2.2), in UTF-16 units."""

UNITS_PER_MINUTE = 375
"""v1's estimate of generation speed (v1 contract 2.2), in UTF-16 units of text per minute."""

SHORTEST_ESTIMATE_MINUTES = 0.1


async def admit(
    database: Database,
    settings: Settings,
    owner: UUID,
    request: GenerateRequest,
    task_type: TaskType,
    request_key: RequestKey | None = None,
) -> GenerationOrder:
    """Decide on a request in Qwen mode. Returns the order to run.

    Raises:
        ApiError: 400 for the text or language, 404 for an unknown or foreign voice, 409 for a voice that the provider
            cannot use.
        DatabaseUnavailable: the voice could not be read.
    """
    check_text(request.text, settings.max_text_chars)
    if not is_spoken(request.language):
        raise ApiError(400, f"This language cannot be spoken yet. Choose one of: {', '.join(SPOKEN_LANGUAGES)}.")
    voice = await find_voice(database, settings, owner, request.voice_id)
    return GenerationOrder(
        generation_id=uuid4(),
        task_id=uuid4(),
        owner=owner,
        task_type=task_type,
        voice_id=voice.id,
        voice_name=voice.name,
        utterance=_utterance(request, voice, settings),
        metadata=task_metadata(request.text),
        on_disconnect=request.on_disconnect,
        request_key=request_key,
    )


async def readmit(database: Database, settings: Settings, taken: TakenTask, task_id: UUID) -> GenerationOrder:
    """The order of a task whose rows exist, for its next attempt. A voice that was deleted since may still be used.

    Raises:
        ApiError: the generation, its voice, or the provider's use of it is gone; words for the user.
        UnknownUser: its user is gone, and all rows with them.
        DatabaseUnavailable: the rows could not be read.
    """
    generation_id, owner = taken.generation_id, taken.user_id
    async with database.as_user(owner) as transaction:
        row = await generations.get_generation(transaction, owner, generation_id) if generation_id else None
        voice = await voices.get_any_voice(transaction, owner, row.voice_id) if row and row.voice_id else None
    if row is None or voice is None:
        raise ApiError(404, "The voice of this generation was deleted before it was made.")
    request = GenerateRequest(voice_id=voice.id, text=row.text, language=row.language)
    return GenerationOrder(
        generation_id=row.id,
        task_id=task_id,
        owner=owner,
        task_type="generate",
        voice_id=voice.id,
        voice_name=voice.name,
        utterance=_utterance(request, voice, settings),
        metadata={},
        epoch=taken.epoch,
    )


def check_text(text: str, max_units: int) -> None:
    """Raise `ApiError` 400 unless `text` (already trimmed) can be spoken. `max_units` counts UTF-16 units."""
    if utf16_length(text) > max_units:
        raise ApiError(400, f"Text cannot exceed {max_units} characters")
    if "\0" in text:
        raise ApiError(400, "Text cannot contain the NUL character.")
    if not any(character.isalnum() for character in text):
        raise ApiError(400, "Text must contain at least one letter or digit to be spoken.")


async def find_voice(database: Database, settings: Settings, owner: UUID, voice_id: UUID) -> VoiceRow:
    """The voice, made with the active provider.

    Raises `ApiError` 404 when it is unknown, deleted or somebody else's, 409 when it is the other provider's.
    """
    async with database.as_user(owner) as transaction:
        voice = await voices.get_voice(transaction, owner, voice_id)
    if voice is None:
        raise ApiError(404, "This voice does not exist. It may have been deleted.")
    if voice.tts_provider != settings.provider_mode.value:
        raise ApiError(409, "This voice was made with the other speech provider. Clone it again to use it here.")
    return voice


def _utterance(request: GenerateRequest, voice: VoiceRow, settings: Settings) -> Utterance:
    """The provider's own names for what was asked; `ApiError` 409 when it cannot use the voice."""
    if not voice.provider_voice_id or not voice.provider_target_model:
        raise ApiError(409, "This voice was never finished. Please clone or design it again.")
    if voice.provider_region != settings.dashscope_region:
        raise ApiError(409, "This voice lives in another region. Please clone or design it again.")
    if voice.provider_target_model not in _accepted_models(voice, settings):
        raise ApiError(409, "The speech model of this voice is no longer offered. Please clone or design it again.")
    return Utterance(
        text=request.text,
        voice=voice.provider_voice_id,
        model=voice.provider_target_model,
        language=request.language,
    )


def _accepted_models(voice: VoiceRow, settings: Settings) -> tuple[str, ...]:
    """Models that voices of this kind may have been made for; a voice of no kind fits none."""
    if voice.provider_voice_kind == "vc":
        return settings.accepted_vc_models
    return settings.accepted_vd_models if voice.provider_voice_kind == "vd" else ()


def task_metadata(text: str) -> dict[str, object]:
    """What v1 keeps on the task row of a generation besides voice and language (v1 contract 2.2)."""
    units = utf16_length(text)
    preview = utf16_prefix(text, PREVIEW_UNITS)
    return {
        "text_length": units,
        "text_preview": preview if preview == text else f"{preview}...",
        "estimated_duration_minutes": estimated_minutes(units),
    }


def estimated_minutes(units: int) -> float:
    """v1's estimate for a text of `units` UTF-16 units: 5 gives 0.1, 375 gives 1.0, 10000 gives 26.7."""
    return max(SHORTEST_ESTIMATE_MINUTES, half_up(units / UNITS_PER_MINUTE * 10) / 10)
