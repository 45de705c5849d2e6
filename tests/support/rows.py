"""Rows for tests: complete, legal, and named by what the test cares about."""

from __future__ import annotations

from typing import Literal
from uuid import UUID, uuid4

from schema.records import Completion, Created, NewCreate, NewGeneration, NewVoice, Provider, VoiceKind


def new_voice(owner: UUID, name: str = "Ada", source: Literal["uploaded", "designed"] = "uploaded") -> NewVoice:
    """A cloned voice of the Qwen lane."""
    voice_id = uuid4()
    return NewVoice(
        id=voice_id,
        user_id=owner,
        name=name,
        source=source,
        tts_provider="qwen",
        reference_object_key=f"{owner}/{voice_id}/reference.wav",
        reference_transcript="The quick brown fox.",
        provider_voice_id="qwen-tts-vc-ada",
        provider_target_model="qwen3-tts-vc-realtime-2026-01-15",
        provider_region="intl",
        provider_voice_kind="vc",
        provider_metadata={"usage": {"count": 1}},
    )


def new_generation(
    owner: UUID,
    voice_id: UUID,
    task_type: Literal["generate", "generate_stream"] = "generate_stream",
    text: str = "Good morning.",
    provider: Provider = "qwen",
) -> NewGeneration:
    """A generation with its task."""
    return NewGeneration(
        generation_id=uuid4(),
        task_id=uuid4(),
        user_id=owner,
        voice_id=voice_id,
        voice_name="Ada",
        text=text,
        language="English",
        provider=provider,
        provider_model="qwen3-tts-vc-realtime-2026-01-15",
        task_type=task_type,
        metadata={"text_length": len(text)},
    )


def completion(new: NewGeneration) -> Completion:
    """What the persister knows about that generation once its audio is stored."""
    return Completion(
        generation_id=new.generation_id,
        task_id=new.task_id,
        object_key=f"{new.user_id}/{new.generation_id}.mp3",
        output_format="mp3",
        audio_bytes=5_000_000_000,
        audio_sha256="ab" * 32,
        duration_seconds=1.5,
        generation_time_seconds=0.75,
        characters_billed=13,
        first_audio_seconds=0.25,
        provider_metadata={"session_id": "sess_1"},
        timings=[{"step": "persist", "start_ms": 1.0, "duration_ms": 2.0, "outcome": "completed"}],
    )


def new_create(owner: UUID, kind: VoiceKind = "vd", create_id: UUID | None = None) -> NewCreate:
    """A billable create: of a preview, unless it is of a clone."""
    return NewCreate(
        id=create_id or uuid4(),
        user_id=owner,
        kind=kind,
        region="intl",
        target_model=f"qwen3-tts-{kind}-realtime-2026-01-15",
        request={"text": "Hello.", "language": "English", "instruct": "Calm."} if kind == "vd" else {},
    )


def created(new: NewCreate, digest: str = "ab" * 32) -> Created:
    """What the provider made of it; `digest` is of the preview's audio, which a clone has none of."""
    design = new.kind == "vd"
    return Created(
        id=new.id,
        provider_voice_id=f"qwen-tts-{new.kind}-{new.id}",
        target_model=new.target_model,
        request_id="req-1",
        warnings=["fallback_mode"],
        preview_object_key=f"{new.user_id}/preview_{new.id}.wav" if design else None,
        preview_sha256=digest if design else None,
    )
