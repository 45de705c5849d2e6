"""Making voices in Modal mode: as v1 did, with nothing billed; and a preview that Modal's emulator really designs."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import anyio
import pytest

from storage.objects import REFERENCES
from tests.gateway.studio.atelier import (
    PREVIEW,
    RECORDING,
    Atelier,
    finalize_request,
    open_atelier,
    post,
    save,
)
from tests.gateway.studio.front import Front
from tests.support.emulator import Emulator
from tests.support.exchange import Exchange
from tests.support.gateway import Caller
from tests.support.postgres import TestDatabase

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

AT_ONCE = 20

NO_SAMPLES = b"RIFF" + (36).to_bytes(4, "little") + b"WAVEfmt " + bytes(20) + b"data" + bytes(4)
"""44 bytes, a WAV file without a sample: v1 takes it (v1 contract 1.4)."""


@pytest.fixture
async def atelier(
    anyio_backend: Any, database: TestDatabase, tmp_path: Path, vendor: Emulator, front: Front
) -> AsyncIterator[Atelier]:
    environment = {"TTS_PROVIDER_MODE": "modal", **vendor.modal_endpoints()}
    async with open_atelier(database, tmp_path, vendor, front, environment) as opened:
        yield opened
    assert front.asked == [], "nothing is asked of the other provider"


async def objects_of(atelier: Atelier, owner: UUID) -> list[str]:
    """Every recording of theirs in the store."""
    folder = Path(str(atelier.gateway.services.settings.objects_url)) / REFERENCES / str(owner)
    return sorted(str(found.relative_to(folder)) for found in folder.rglob("*") if found.is_file())


class TestClone:
    async def test_a_recording_and_its_transcript_are_a_voice(self, atelier: Atelier, ada: Caller) -> None:
        """Without a look into it, and in any language."""
        wanted = await atelier.upload(ada.id, NO_SAMPLES)
        answer = await post(ada, "/clone/finalize", finalize_request(wanted.voice_id, name=" Ada ", language="Hindi"))
        assert (answer.status, answer.json()) == (200, {"id": str(wanted.voice_id), "name": "Ada"})
        [voice] = await atelier.voices(ada.id)
        assert (voice.tts_provider, voice.language, voice.provider_voice_id) == ("modal", "Hindi", None)
        assert voice.reference_object_key == f"{ada.id}/{wanted.voice_id}/reference.wav"
        assert await atelier.sql("select count(*) from utter.voice_creates") == 0

    async def test_many_at_once_are_one(self, atelier: Atelier, ada: Caller) -> None:
        wanted = await atelier.upload(ada.id)
        answers: list[Exchange] = []

        async def finalize() -> None:
            answers.append(await post(ada, "/clone/finalize", wanted))

        async with anyio.create_task_group() as group:
            for _ in range(AT_ONCE):
                group.start_soon(finalize)
        assert Counter(answer.status for answer in answers) == {200: 1, 409: AT_ONCE - 1}
        assert [voice.id for voice in await atelier.voices(ada.id)] == [wanted.voice_id]
        assert await atelier.stored(f"{ada.id}/{wanted.voice_id}/reference.wav") == RECORDING, "v1 destroyed it"

    async def test_without_a_recording(self, atelier: Atelier, ada: Caller, bob: Caller) -> None:
        theirs = await atelier.upload(bob.id)
        for voice_id in (theirs.voice_id, uuid4()):
            assert (await post(ada, "/clone/finalize", finalize_request(voice_id))).status == 400
        assert await atelier.voices(ada.id) == []

    async def test_larger_than_the_bucket_allows(self, atelier: Atelier, ada: Caller) -> None:
        wanted = await atelier.upload(ada.id, bytes(10 * 1024 * 1024 + 1))
        assert (await post(ada, "/clone/finalize", wanted)).status == 400


class TestSave:
    async def test_each_save_is_a_voice(self, atelier: Atelier, ada: Caller) -> None:
        """Of the audio that was sent, whatever preview it was (v1 contract 1.5)."""
        answers = [await save(ada, RECORDING) for _ in range(2)]
        assert [answer.status for answer in answers] == [200, 200]
        voices = {str(voice.id): voice for voice in await atelier.voices(ada.id)}
        assert set(voices) == {answer.json()["id"] for answer in answers}
        for voice_id, voice in voices.items():
            assert voice.reference_object_key == f"{ada.id}/{voice_id}/reference.wav"
            assert await atelier.stored(voice.reference_object_key) == RECORDING
            assert (voice.source, voice.description, voice.reference_transcript) == (
                "designed",
                PREVIEW.instruct,
                PREVIEW.text,
            )
        link = answers[0].json()["preview_url"].removeprefix("http://127.0.0.1:8080")
        assert (await ada.gateway.ask("GET", link)).body == RECORDING

    @pytest.mark.parametrize("audio", [None, b"", bytes(1_000_001)], ids=["none", "empty", "too much"])
    async def test_audio_that_cannot_be_taken(self, atelier: Atelier, ada: Caller, audio: bytes | None) -> None:
        assert (await save(ada, audio)).status == 400
        assert await objects_of(atelier, ada.id) == []

    async def test_as_much_as_is_allowed(self, ada: Caller) -> None:
        assert (await save(ada, RECORDING + bytes(1_000_000 - len(RECORDING)))).status == 200

    async def test_a_row_that_cannot_be_inserted_takes_its_object_along(self, atelier: Atelier, ada: Caller) -> None:
        await atelier.sql("alter table public.voices add constraint no_grace check (name <> 'Grace')")
        assert (await save(ada, RECORDING)).status == 500
        assert await objects_of(atelier, ada.id) == []
        assert await atelier.voices(ada.id) == []
        assert (await save(ada, RECORDING, name="Ada")).status == 200

    async def test_a_user_who_is_gone_leaves_no_object(self, atelier: Atelier, ada: Caller) -> None:
        await atelier.sql("delete from auth.users where id = $1", ada.id)
        assert (await save(ada, RECORDING)).status == 401
        assert await objects_of(atelier, ada.id) == []

    async def test_a_commit_whose_answer_is_lost_keeps_the_object(self, atelier: Atelier, ada: Caller) -> None:
        """The row may be there, and it needs its recording: a file too many is the lesser harm."""
        await atelier.script(_LOSE_ANSWER)
        answer = await save(ada, RECORDING)
        assert answer.status == 503
        assert len(await objects_of(atelier, ada.id)) == 1


_LOSE_ANSWER = """
create function public.lose_answer() returns trigger language plpgsql security definer as $$
begin
  perform pg_terminate_backend(pg_backend_pid());
  return null;
end $$;
create constraint trigger lose_answer after insert on public.voices
  deferrable initially deferred for each row execute function public.lose_answer();
"""
"""The connection ends in the commit; nobody who waits for it can tell on which side."""


class TestPreview:
    async def test_begun_by_its_first_poll(self, atelier: Atelier, ada: Caller) -> None:
        started = await post(ada, "/voices/design/preview", PREVIEW)
        task_id = started.json()["task_id"]
        assert started.json() == {"task_id": task_id, "status": "pending"}
        await atelier.studio.recover_stale()
        await atelier.idle()
        row = await atelier.task(ada.id, UUID(task_id))
        assert row is not None
        assert (row.status, row.metadata) == (
            "pending",
            {"text": PREVIEW.text, "language": "English", "instruct": PREVIEW.instruct},
        )
        assert (await self.poll(ada, task_id))["status"] == "processing"
        await atelier.idle()
        task = await self.poll(ada, task_id)
        assert (task["status"], task["error"]) == ("completed", None)
        heard = await ada.gateway.ask("GET", task["result"]["audio_url"].removeprefix("http://127.0.0.1:8080"))
        assert heard.body[:4] == b"RIFF"
        saved = await save(ada, heard.body)
        assert saved.status == 200
        assert await atelier.stored(f"{ada.id}/{saved.json()['id']}/reference.wav") == heard.body

    async def poll(self, caller: Caller, task_id: str) -> dict[str, Any]:
        answer = await caller.ask("GET", f"/api/tasks/{task_id}")
        assert answer.status == 200
        task: dict[str, Any] = answer.json()
        return task

    async def test_any_number_at_a_time(self, ada: Caller) -> None:
        starts = [await post(ada, "/voices/design/preview", PREVIEW) for _ in range(3)]
        assert [start.status for start in starts] == [200] * 3
        assert len({start.json()["task_id"] for start in starts}) == 3
