"""A process that dies between storing the audio and saying so has made it all the same."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from storage.objects import GENERATIONS
from tests.support.gateway import Caller
from tests.support.mp3_files import bare_mp3
from tests.support.postgres import TestDatabase
from tests.support.processes import Process, left_running, open_process

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

AUDIO = bare_mp3()


@pytest.fixture
async def here(anyio_backend: Any, database: TestDatabase, tmp_path: Path) -> AsyncIterator[Process]:
    async with open_process(database, tmp_path) as process:
        yield process


@pytest.fixture
async def ada(here: Process) -> Caller:
    return await here.gateway.user()


async def store(here: Process, key: str, audio: bytes) -> None:
    await here.gateway.services.objects.put(GENERATIONS, key, audio, content_type="audio/mpeg")


@pytest.mark.parametrize("task_type", ["generate", "generate_stream"])
@pytest.mark.parametrize("epoch", [1, 2])
async def test_it_completes_its_generation(here: Process, ada: Caller, task_type: str, epoch: int) -> None:
    new = await left_running(here, ada, task_type, epoch=epoch)
    key = f"{ada.id}/{new.generation_id}{'' if epoch == 1 else '-2'}.mp3"
    await store(here, key, AUDIO)
    await here.outwait()
    assert not here.supervisor.active, "nothing is paid for twice"
    assert await here.states(new) == ("completed", "completed")
    row = await here.generation(new)
    assert (row.audio_object_key, row.audio_bytes) == (key, len(AUDIO))
    assert row.audio_sha256 == hashlib.sha256(AUDIO).hexdigest()
    assert row.duration_seconds is not None
    assert row.duration_seconds > 0


async def test_what_is_no_audio_is_made_again(here: Process, ada: Caller) -> None:
    new = await left_running(here, ada)
    await store(here, f"{ada.id}/{new.generation_id}.mp3", b"RIFF not what we store" * 100)
    await here.outwait()
    await here.finish(b"second attempt")
    assert (await here.generation(new)).audio_object_key == f"{ada.id}/{new.generation_id}-2.mp3"


async def test_what_its_user_cancelled_stays_cancelled(here: Process, ada: Caller) -> None:
    new = await left_running(here, ada)
    await store(here, f"{ada.id}/{new.generation_id}.mp3", AUDIO)
    assert (await ada.ask("POST", f"/api/tasks/{new.task_id}/cancel")).status == 200
    await here.outwait()
    assert await here.states(new) == ("cancelled", "cancelled")
