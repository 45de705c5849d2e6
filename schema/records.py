"""Rows as they come out of the database, and what goes in to make new ones.

A row's field names are its query's column names; `tests/schema/test_queries.py` holds the two together. Text is
stored as given, times are aware and in UTC, JSON columns are plain Python values.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Generic, Literal, TypeVar
from uuid import UUID

import msgspec

Json = dict[str, Any]

TaskType = Literal["generate", "generate_stream", "design_preview", "clone"]
"""`generate_stream` is ours: v1's guard of one active `generate` per user does not see it (product section 8)."""

Status = Literal["pending", "processing", "completed", "failed", "cancelled"]
"""Of tasks and generations alike; the last three are terminal (contract 2.1)."""

Provider = Literal["modal", "qwen"]

ProviderStatus = Literal[
    "queued",
    "ws_connecting",
    "session_updated",
    "streaming",
    "finalizing",
    "spooled",
    "completed",
    "failed",
    "cancelled",
]
"""The closed list of product section 4. Rows of v1 code may hold other words, so `TaskRow` says `str`."""

Item = TypeVar("Item")


class Page(msgspec.Struct, Generic[Item], frozen=True, kw_only=True):
    """One page of a listing. `total` counts the whole listing, not the page."""

    items: list[Item]
    total: int


class ProfileRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `public.profiles`. `id` is the user's id."""

    id: UUID
    handle: str | None
    display_name: str | None
    avatar_url: str | None
    subscription_tier: str
    credits_remaining: int
    created_at: datetime
    updated_at: datetime


class VoiceRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `public.voices`. `provider_voice_kind` is `vc` for a cloned, `vd` for a designed voice."""

    id: UUID
    user_id: UUID
    name: str
    reference_object_key: str | None
    reference_transcript: str | None
    description: str | None
    language: str
    source: Literal["uploaded", "designed"]
    created_at: datetime
    tts_provider: Provider
    provider_voice_id: str | None
    provider_target_model: str | None
    provider_region: str | None
    provider_request_id: str | None
    provider_voice_kind: Literal["vc", "vd"] | None
    provider_metadata: Json
    deleted_at: datetime | None


class NewVoice(msgspec.Struct, frozen=True, kw_only=True):
    """A voice to insert; `name` holds 1 to 100 code points (contract 3.1)."""

    id: UUID
    user_id: UUID
    name: str
    source: Literal["uploaded", "designed"]
    tts_provider: Provider
    language: str = "Auto"
    reference_object_key: str | None = None
    reference_transcript: str | None = None
    description: str | None = None
    provider_voice_id: str | None = None
    provider_target_model: str | None = None
    provider_region: str | None = None
    provider_request_id: str | None = None
    provider_voice_kind: Literal["vc", "vd"] | None = None
    provider_metadata: Json = {}


class GenerationRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `public.generations` with its voice's name.

    `voice_name` stays after the voice was deleted softly. `audio_sha256` is lower-case hex of the stored object,
    `audio_bytes` its length, `characters_billed` what the vendor counted. `first_audio_seconds` counts from the
    request, `timings` are the steps of its trace, `fault` is why it failed, where the gateway knows.
    """

    id: UUID
    user_id: UUID
    voice_id: UUID | None
    voice_name: str | None
    text: str
    audio_object_key: str | None
    duration_seconds: float | None
    language: str
    status: Status
    generation_time_seconds: float | None
    error_message: str | None
    created_at: datetime
    completed_at: datetime | None
    tts_provider: Provider
    provider_model: str | None
    output_format: str | None
    provider_metadata: Json
    audio_bytes: int | None
    audio_sha256: str | None
    characters_billed: int | None
    first_audio_seconds: float | None
    timings: list[Json] | None
    fault: str | None


class NewLease(msgspec.Struct, frozen=True, kw_only=True):
    """Who works on a new task: the process, the base URL at which other instances reach it (None when they cannot), and
    for how many seconds unless it is renewed."""

    instance: UUID
    address: str | None
    seconds: float


class LeaseRow(msgspec.Struct, frozen=True, kw_only=True):
    """A lease that has not run out. `epoch` is the number of the attempt, from 1, `user_id` the task's owner."""

    task_id: UUID
    user_id: UUID
    instance: UUID
    address: str | None
    epoch: int


class RenewedLease(msgspec.Struct, frozen=True, kw_only=True):
    """A lease that was renewed, with its task's status: a task that has ended needs nobody any more."""

    task_id: UUID
    epoch: int
    status: Status


class ForeignTask(msgspec.Struct, frozen=True, kw_only=True):
    """A running task of another instance, of nobody (`epoch` 0), or one that its finder gave up itself.

    `sign` changes as long as somebody works on it, and is `storage.leases.HANDED_OVER` when its process gave it up.
    `held`: it may not be taken, because its audio waits on a disk.
    """

    task_id: UUID
    type: TaskType
    provider: Provider
    epoch: int
    sign: datetime
    held: bool


class TakenTask(msgspec.Struct, frozen=True, kw_only=True):
    """A task that is the caller's now. `epoch` is the number of the attempt that begins, `provider_status` how far the
    one before had come."""

    epoch: int
    user_id: UUID
    generation_id: UUID | None
    provider_status: str | None


class RequestKey(msgspec.Struct, frozen=True, kw_only=True):
    """A client's `Idempotency-Key` and the SHA-256, lower-case hex, of the request it stands for."""

    key: str
    request_sha256: str


class RequestKeyRow(RequestKey, frozen=True, kw_only=True):
    """A key that is bound to what its request began."""

    user_id: UUID
    generation_id: UUID
    task_id: UUID


class NewGeneration(msgspec.Struct, frozen=True, kw_only=True):
    """A generation and the task that watches it, to insert together with its lease and the key of its request.

    `metadata` is added to the task's own (`voice_id`, `voice_name`, `language`): contract 2.2 lists what v1 keeps.
    """

    generation_id: UUID
    task_id: UUID
    user_id: UUID
    voice_id: UUID
    voice_name: str
    text: str
    language: str
    provider: Provider
    task_type: Literal["generate", "generate_stream"]
    provider_model: str | None = None
    metadata: Json = {}
    lease: NewLease | None = None
    request_key: RequestKey | None = None


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """What is known once the audio is stored: see `GenerationRow` for the units. Modal tells no duration."""

    generation_id: UUID
    task_id: UUID
    object_key: str
    output_format: str
    audio_bytes: int
    audio_sha256: str
    duration_seconds: float | None
    generation_time_seconds: float
    characters_billed: int | None = None
    first_audio_seconds: float | None = None
    provider_metadata: Json = {}
    timings: list[Json] = []


class TaskRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `public.tasks`."""

    id: UUID
    user_id: UUID
    type: TaskType
    status: Status
    modal_job_id: str | None
    error: str | None
    generation_id: UUID | None
    voice_id: UUID | None
    modal_poll_count: int
    metadata: Json
    result: Json | None
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None
    provider: Provider
    provider_job_id: str | None
    provider_status: str | None
    provider_poll_count: int
    cancellation_requested: bool


class NewTask(msgspec.Struct, frozen=True, kw_only=True):
    """A task without a generation, to insert as `pending`."""

    id: UUID
    user_id: UUID
    type: Literal["design_preview", "clone"]
    provider: Provider
    provider_status: str | None = None
    metadata: Json = {}


VoiceKind = Literal["vc", "vd"]
"""A cloned voice, a designed one: the provider's own letters."""

CreateState = Literal["claimed", "created", "refused", "ambiguous"]
"""`claimed`: somebody sends it now, or died doing so. `refused`: nothing was made. `ambiguous`: nobody knows."""


class NewCreate(msgspec.Struct, frozen=True, kw_only=True):
    """A billable create to claim. `id` is our voice's (clone) or task's (design): the provider's name is made of it."""

    id: UUID
    user_id: UUID
    kind: VoiceKind
    region: str
    target_model: str
    request: Json = {}


class CreateRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `utter.voice_creates`. `voice_id` is the voice of ours that uses it, once there is one; `error` is for
    operators; `billed` is what the provider's usage counted, None when it was never heard."""

    id: UUID
    user_id: UUID
    kind: VoiceKind
    region: str
    target_model: str
    state: CreateState
    claimed_until: datetime
    attempts: int
    request: Json
    provider_voice_id: str | None
    request_id: str | None
    warnings: list[str]
    preview_object_key: str | None
    preview_sha256: str | None
    billed: int | None
    voice_id: UUID | None
    error: str | None
    created_at: datetime
    updated_at: datetime


class ClaimedRow(CreateRow, frozen=True, kw_only=True):
    """What `utter.claim_create` answers."""

    granted: bool
    recover: bool


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """`granted`: the caller, and nobody else, may send the create. `recover`: an earlier one may have succeeded, so the
    provider's list is searched first. Not granted: `create` says how far it is, or that it is another user's."""

    create: CreateRow
    granted: bool
    recover: bool


class Created(msgspec.Struct, frozen=True, kw_only=True):
    """A create that made a voice. The preview's key is in the bucket `references`, its digest lower-case hex."""

    id: UUID
    provider_voice_id: str
    target_model: str
    request_id: str | None = None
    warnings: list[str] = []
    preview_object_key: str | None = None
    preview_sha256: str | None = None
    billed: int | None = None


class AuditedGeneration(msgspec.Struct, frozen=True, kw_only=True):
    """What the auditor compares with the stored audio. `worked_on`: a running task belongs to it."""

    id: UUID
    user_id: UUID
    status: Status
    object_key: str | None
    audio_bytes: int | None
    audio_sha256: str | None
    worked_on: bool


class AuditedTask(msgspec.Struct, frozen=True, kw_only=True):
    """A running task that nobody works on: `lease_over`, `no_lease`, or `generation_ended`."""

    task_id: UUID
    user_id: UUID
    type: TaskType
    reason: Literal["lease_over", "no_lease", "generation_ended"]


class AuditedVoice(msgspec.Struct, frozen=True, kw_only=True):
    """A voice that can be used, and the key of its recording in the bucket `references`."""

    id: UUID
    user_id: UUID
    recording_key: str


class OrphanRow(msgspec.Struct, frozen=True, kw_only=True):
    """A voice the provider keeps, or may keep, that no voice of ours uses.

    `reason`: `ambiguous`, `abandoned` (its maker died), `voice_gone`, `never_saved`, `preview_deleted`,
    `preview_ended` (its task failed or was cancelled).
    """

    id: UUID
    user_id: UUID
    kind: VoiceKind
    region: str
    target_model: str
    provider_voice_id: str | None
    request_id: str | None
    reason: str
    created_at: datetime


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """Who we are to the database's server. `is_gateway`: has the rights of `utter_gateway`, None when there is no such
    role; `connections` are the server's for all who are no superusers, `own_connections` this login's share, None
    without a limit."""

    name: str
    is_superuser: bool
    bypasses_policies: bool
    is_gateway: bool | None
    connections: int
    own_connections: int | None


class UsageRow(msgspec.Struct, frozen=True, kw_only=True):
    """What one user used on one day (UTC). `characters`, `clones` and `designs` are those the provider bills;
    `unknown_creates` may have been billed: nobody heard."""

    user_id: UUID
    day: date
    generations: int
    characters: int
    clones: int
    designs: int
    unknown_creates: int


class VoiceOutline(msgspec.Struct, frozen=True, kw_only=True):
    """A voice without anything that its user wrote or said: who can use it, and what it could be made of again."""

    id: UUID
    user_id: UUID
    language: str
    tts_provider: Provider
    provider_voice_id: str | None
    provider_target_model: str | None
    provider_region: str | None
    provider_voice_kind: Literal["vc", "vd"] | None
    has_recording: bool
    has_transcript: bool
    deleted: bool


class PurgeableVoice(msgspec.Struct, frozen=True, kw_only=True):
    """A voice that was deleted long enough ago, and the key of its recording in the bucket `references`."""

    id: UUID
    user_id: UUID
    recording_key: str | None
    tts_provider: Provider
    deleted_at: datetime
