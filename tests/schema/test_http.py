"""The wire shapes: exact field sets, absent against null, timestamps (v1 contract 1 and 2, appendix A)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import msgspec
import pytest

from schema.http import Generation, Readiness, Task, Voice, audio_path, pagination, timestamp
from schema.records import GenerationRow, Page, TaskRow, VoiceRow

ID = UUID("6f1d2b3c-0000-4000-8000-000000000001")
OWNER = UUID("6f1d2b3c-0000-4000-8000-00000000000a")
NOW = datetime(2026, 2, 3, 4, 5, 6, 700, tzinfo=UTC)


def wire(value: msgspec.Struct) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(value))
    return decoded


def task_row(**changes: Any) -> TaskRow:
    row = TaskRow(
        id=ID,
        user_id=OWNER,
        type="generate",
        status="processing",
        modal_job_id=None,
        error=None,
        generation_id=ID,
        voice_id=None,
        modal_poll_count=0,
        metadata={},
        result=None,
        created_at=NOW,
        updated_at=NOW,
        completed_at=None,
        provider="qwen",
        provider_job_id=None,
        provider_status="queued",
        provider_poll_count=0,
        cancellation_requested=False,
    )
    return msgspec.structs.replace(row, **changes)


def test_timestamps_have_microseconds_and_a_numeric_zone() -> None:
    assert timestamp(NOW) == "2026-02-03T04:05:06.000700+00:00"
    assert timestamp(NOW.replace(microsecond=0)) == "2026-02-03T04:05:06.000000+00:00"
    assert timestamp(NOW.astimezone(timezone(timedelta(hours=9)))) == timestamp(NOW)


def test_a_running_task_has_no_result_but_explicit_nulls() -> None:
    assert wire(Task.of(task_row(), provider_status="streaming")) == {
        "id": str(ID),
        "type": "generate",
        "status": "processing",
        "error": None,
        "modal_status": None,
        "modal_elapsed_seconds": None,
        "modal_poll_count": 0,
        "provider": "qwen",
        "provider_status": "streaming",
        "provider_poll_count": 0,
    }


def test_a_completed_task_keeps_its_digest_and_gets_its_link_anew() -> None:
    stored = {"audio_url": "somewhere else", "audio_bytes": 7, "audio_sha256": "ab"}
    task = wire(Task.of(task_row(status="completed", result=stored), provider_status="completed"))
    assert task["result"] == {"audio_url": audio_path(ID), "audio_bytes": 7, "audio_sha256": "ab"}


def test_the_result_of_a_task_without_generation_is_given_as_stored() -> None:
    stored = {"audio_url": "/api/generations/x/audio"}
    task = wire(Task.of(task_row(status="completed", generation_id=None, result=stored), provider_status=None))
    assert task["result"] == stored


def test_a_voice_has_v1s_fields_and_the_additive_ones() -> None:
    row = VoiceRow(
        id=ID,
        user_id=OWNER,
        name="Ada",
        reference_object_key=f"{OWNER}/{ID}/reference.wav",
        reference_transcript=None,
        description=None,
        language="Auto",
        source="uploaded",
        created_at=NOW,
        tts_provider="qwen",
        provider_voice_id="v",
        provider_target_model="m",
        provider_region="intl",
        provider_request_id="r",
        provider_voice_kind="vc",
        provider_metadata={},
        deleted_at=None,
    )
    voice = wire(Voice.of(row))
    assert set(voice) == {
        *("id", "name", "reference_transcript", "language", "source", "description", "created_at"),
        *("tts_provider", "provider_voice_id", "provider_target_model", "provider_voice_kind"),
    }
    assert voice["reference_transcript"] is None


def test_a_generation_has_v1s_fields_and_no_others() -> None:
    row = GenerationRow(
        id=ID,
        user_id=OWNER,
        voice_id=None,
        voice_name=None,
        text="Hi",
        audio_object_key=None,
        duration_seconds=None,
        language="Auto",
        status="processing",
        generation_time_seconds=None,
        error_message=None,
        created_at=NOW,
        completed_at=None,
        tts_provider="qwen",
        provider_model=None,
        output_format=None,
        provider_metadata={},
        audio_bytes=None,
        audio_sha256=None,
        characters_billed=None,
        first_audio_seconds=None,
        timings=None,
        fault=None,
    )
    assert wire(Generation.of(row)) == {
        "id": str(ID),
        "voice_id": None,
        "voice_name": None,
        "text": "Hi",
        "audio_path": f"/api/generations/{ID}/audio",
        "duration_seconds": None,
        "language": "Auto",
        "status": "processing",
        "generation_time_seconds": None,
        "error_message": None,
        "created_at": timestamp(NOW),
    }


@pytest.mark.parametrize(("total", "pages"), [(0, 1), (1, 1), (20, 1), (21, 2), (41, 3)])
def test_there_is_at_least_one_page(total: int, pages: int) -> None:
    assert pagination(1, 20, Page[int](items=[], total=total)).pages == pages


def test_readiness_says_only_what_applies() -> None:
    assert wire(Readiness(ready=True, degraded=[])) == {"ready": True, "degraded": []}
    assert wire(Readiness(ready=False, detail="why")) == {"ready": False, "detail": "why"}
