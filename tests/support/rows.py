"""Rows for tests: complete, legal, and named by what the test cares about."""

from __future__ import annotations

from typing import Literal
from uuid import UUID, uuid4

from schema.records import Completion, NewGeneration, NewVoice, Provider


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
