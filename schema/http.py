"""The HTTP messages of this gateway, as clients see them (v1 contract 1 and 2, appendix A; product section 4).

Field order is the order on the wire. A field that may be absent is `UNSET`, one that may be null is `None`: v1
clients tell the two apart (v1 contract 1.0).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self, TypeVar
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from schema.javascript import encode_uri_component
from schema.records import GenerationRow, Page, TaskRow, VoiceRow

Timestamp = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
"""ISO 8601 with microseconds and `+00:00`, as PostgREST writes timestamptz (v1 contract 1.0)."""

FilePart = Annotated[str, Meta(extra_json_schema={"format": "binary"})]
"""A file in a form: bytes, which JSON has no word for. Only for describing a form, never for reading one."""

Row = TypeVar("Row")


class Detail(Struct, frozen=True):
    """Every error's body."""

    detail: str


class Done(Struct, frozen=True):
    """The answer to a deletion."""

    ok: bool = True


class Health(Struct, frozen=True):
    """`GET /health`: the process answers."""

    ok: bool = True


class Readiness(Struct, frozen=True, omit_defaults=True):
    """`GET /ready`. `detail` says why not, `degraded` what is impaired though requests are served."""

    ready: bool
    degraded: list[str] | UnsetType = UNSET
    detail: str | UnsetType = UNSET


class Transcription(Struct, frozen=True):
    """Speech to text, which this gateway does not offer; v1 clients hide it when it is not enabled."""

    enabled: bool
    provider: str
    model: str


class Capabilities(Struct, frozen=True):
    """What the page may offer (product section 4). `max_text_chars` is in UTF-16 units after trimming."""

    supports_generate: bool
    supports_generate_stream: bool
    default_generate_mode: Literal["stream", "task"]
    allow_generate_mode_toggle: bool
    max_text_chars: int


class Languages(Struct, frozen=True):
    """`GET /languages`. `provider` is the active mode, `spoken_languages` what that provider really speaks."""

    languages: list[str]
    default: str
    provider: str
    transcription: Transcription
    capabilities: Capabilities
    spoken_languages: list[str]


class Pagination(Struct, frozen=True):
    """`page` and `per_page` as they were understood; `pages` is at least 1."""

    page: int
    per_page: int
    total: int
    pages: int


class Voice(Struct, frozen=True):
    """A voice in the list."""

    id: UUID
    name: str
    reference_transcript: str | None
    language: str
    source: Literal["uploaded", "designed"]
    description: str | None
    created_at: Timestamp
    tts_provider: Literal["modal", "qwen"]
    provider_voice_id: str | None
    provider_target_model: str | None
    provider_voice_kind: Literal["vc", "vd"] | None

    @classmethod
    def of(cls, row: VoiceRow) -> Self:
        """The voice of a database row."""
        return cls(
            id=row.id,
            name=row.name,
            reference_transcript=row.reference_transcript,
            language=row.language,
            source=row.source,
            description=row.description,
            created_at=timestamp(row.created_at),
            tts_provider=row.tts_provider,
            provider_voice_id=row.provider_voice_id,
            provider_target_model=row.provider_target_model,
            provider_voice_kind=row.provider_voice_kind,
        )


class VoiceList(Struct, frozen=True):
    """`GET /voices`, newest first."""

    voices: list[Voice]
    pagination: Pagination


class GenerateRequest(Struct, frozen=True):
    """The body of both generate routes once read: `text` is trimmed and not empty, its length not yet checked.

    `on_disconnect` says what becomes of the generation when its last listener leaves: `finish` keeps what is paid for,
    `cancel` ends it at once (product section 4).
    """

    voice_id: UUID
    text: str
    language: str = "Auto"
    on_disconnect: Literal["finish", "cancel"] = "finish"


class GenerateAccepted(Struct, frozen=True):
    """`POST /generate`: the generation runs, poll its task."""

    task_id: UUID
    status: Literal["processing"]
    is_long_running: bool
    estimated_duration_minutes: float
    generation_id: UUID


class Generation(Struct, frozen=True):
    """A generation in the history. `audio_path` is there whether the audio is or not, `task_id` while it is made."""

    id: UUID
    voice_id: UUID | None
    voice_name: str | None
    text: str
    audio_path: str
    duration_seconds: float | None
    language: str
    status: str
    generation_time_seconds: float | None
    error_message: str | None
    created_at: Timestamp
    task_id: UUID | UnsetType = UNSET

    @classmethod
    def of(cls, row: GenerationRow, task_id: UUID | UnsetType = UNSET) -> Generation:
        """The generation of a database row, and the task that makes it."""
        return cls(
            id=row.id,
            voice_id=row.voice_id,
            voice_name=row.voice_name,
            text=row.text,
            audio_path=audio_path(row.id),
            duration_seconds=row.duration_seconds,
            language=row.language,
            status=row.status,
            generation_time_seconds=row.generation_time_seconds,
            error_message=row.error_message,
            created_at=timestamp(row.created_at),
            task_id=task_id,
        )


class GenerationList(Struct, frozen=True):
    """`GET /generations`, newest first."""

    generations: list[Generation]
    pagination: Pagination


class Task(Struct, frozen=True):
    """`GET /tasks/:id`. `result` is absent until there is one; `stream_url` while there is something to hear."""

    id: UUID
    type: str
    status: str
    error: str | None
    modal_status: str | None
    modal_elapsed_seconds: float | None
    modal_poll_count: int
    provider: Literal["modal", "qwen"]
    provider_status: str | None
    provider_poll_count: int
    result: dict[str, Any] | UnsetType = UNSET
    stream_url: str | UnsetType = UNSET

    @classmethod
    def of(cls, row: TaskRow, *, provider_status: str | None, stream_url: str | UnsetType = UNSET) -> Task:
        """The task of a database row. `provider_status` may be fresher than the row's."""
        return cls(
            id=row.id,
            type=row.type,
            status=row.status,
            error=row.error,
            modal_status=None,
            modal_elapsed_seconds=None,
            modal_poll_count=row.modal_poll_count,
            provider=row.provider,
            provider_status=provider_status,
            provider_poll_count=row.provider_poll_count,
            result=_result(row),
            stream_url=stream_url,
        )


class Regeneration(Struct, frozen=True):
    """`POST /generations/:id/regenerate`: what to fill into the form again. Nothing is made (v1 contract 1.7)."""

    voice_id: UUID
    text: str
    language: str
    redirect_url: str

    @classmethod
    def of(cls, row: GenerationRow, voice_id: UUID) -> Regeneration:
        """The form for a database row whose `voice_id` is not null."""
        query = f"text={encode_uri_component(row.text)}&language={encode_uri_component(row.language)}"
        return cls(
            voice_id=voice_id,
            text=row.text,
            language=row.language,
            redirect_url=f"/generate?voice={voice_id}&{query}",
        )


class TaskCancelled(Struct, frozen=True):
    """`POST /tasks/:id/cancel`."""

    task_id: UUID
    cancelled: bool = True


def timestamp(moment: datetime) -> Timestamp:
    """`moment`, which must be aware, as v1 clients get it."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def audio_path(generation_id: UUID) -> str:
    """Where a generation's stored audio is; payloads say `/api` under every mount (v1 contract 1.0)."""
    return f"/api/generations/{generation_id}/audio"


def pagination(page: int, per_page: int, rows: Page[Row]) -> Pagination:
    """The paging block of a list answer."""
    return Pagination(page=page, per_page=per_page, total=rows.total, pages=max(1, -(-rows.total // per_page)))


def _result(row: TaskRow) -> dict[str, Any] | UnsetType:
    """The stored result; the link is written anew, because v1 does so too (v1 contract 2.2)."""
    if row.result is None:
        return UNSET
    if row.type == "design_preview" or row.generation_id is None:
        return row.result
    return {**row.result, "audio_url": audio_path(row.generation_id)}
