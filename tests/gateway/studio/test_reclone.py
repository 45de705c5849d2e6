"""A voice again at the active provider, from the recording of one that it cannot use; and taking a deletion back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import anyio
import anyio.to_thread
import pytest

from gateway.studio.base import FALLBACK_WARNING
from storage.objects import REFERENCES
from tests.gateway.studio.atelier import RECORDING, TRANSCRIPT, Atelier, open_atelier, post
from tests.gateway.studio.front import Front
from tests.support.emulator import Emulator
from tests.support.exchange import Exchange
from tests.support.gateway import Caller
from tests.support.postgres import TestDatabase

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

AT_ONCE = 5

MODAL = {"tts_provider": "modal", "provider_voice_id": None, "provider_target_model": None, "provider_region": None}


async def voice_of(
    atelier: Atelier, owner: Caller, columns: Mapping[str, object] = {}, recording: bytes | None = RECORDING
) -> UUID:
    """A voice with a recording; of Qwen, active region and models, unless its columns say otherwise."""
    voice_id = uuid4()
    key = f"{owner.id}/{voice_id}/reference.wav"
    if recording is not None:
        await atelier.objects.put(REFERENCES, key, recording, "audio/wav")
    given = {"reference_transcript": TRANSCRIPT, "language": "English", "description": "Mine.", **columns}
    await owner.add_voice(id=voice_id, reference_object_key=key, **given)
    return voice_id


async def reclone(caller: Caller, voice_id: UUID) -> Exchange:
    return await post(caller, f"/voices/{voice_id}/reclone")


async def at_once(caller: Caller, voice_id: UUID) -> list[Exchange]:
    answers: list[Exchange] = []

    async def one() -> None:
        answers.append(await reclone(caller, voice_id))

    async with anyio.create_task_group() as group:
        for _ in range(AT_ONCE):
            group.start_soon(one)
    return answers


class TestAtQwen:
    async def test_one_create_and_the_old_voice_stays(self, atelier: Atelier, ada: Caller) -> None:
        old = await voice_of(atelier, ada, {**MODAL, "source": "designed"})
        before = await atelier.voices(ada.id)
        answer = await reclone(ada, old)
        assert answer.status == 200
        made = answer.json()
        new = UUID(made["id"])
        assert (made["name"], made["source"], made["language"], made["description"]) == (
            "Ada",
            "designed",
            "English",
            "Mine.",
        )
        assert made["reference_transcript"] == TRANSCRIPT
        assert [made["provider_voice_id"]] == atelier.billed(new)
        assert (made["tts_provider"], made["provider_voice_kind"]) == ("qwen", "vc")
        assert "warning" not in made
        rows = {row.id: row for row in await atelier.voices(ada.id)}
        assert [rows[old]] == before
        assert rows[new].reference_object_key == f"{ada.id}/{new}/reference.wav", "a copy: the other may be purged"
        assert await atelier.stored(f"{ada.id}/{new}/reference.wav") == RECORDING
        assert await atelier.orphans() == {}

    async def test_twice_is_once(self, atelier: Atelier, ada: Caller) -> None:
        old = await voice_of(atelier, ada, MODAL)
        first, second = await reclone(ada, old), await reclone(ada, old)
        assert (first.status, first.json()) == (second.status, second.json())
        assert atelier.front.actions() == ["create"]

    async def test_many_at_once_are_one(self, atelier: Atelier, ada: Caller) -> None:
        old = await voice_of(atelier, ada, MODAL)
        answers = await at_once(ada, old)
        assert {answer.status for answer in answers} <= {200, 409}
        assert len({answer.json()["id"] for answer in answers if answer.status == 200}) == 1
        assert atelier.front.actions() == ["create"]
        assert len(await atelier.voices(ada.id)) == 2

    async def test_after_an_answer_that_was_lost(self, atelier: Atelier, ada: Caller) -> None:
        old = await voice_of(atelier, ada, MODAL)
        atelier.order("lost_answer")
        atelier.order("rest_500", action="list")
        assert (await reclone(ada, old)).status == 503
        answer = await reclone(ada, old)
        assert answer.status == 200
        assert [answer.json()["provider_voice_id"]] == atelier.billed(UUID(answer.json()["id"]))

    async def test_a_poor_copy_is_warned_about_each_time(self, atelier: Atelier, ada: Caller) -> None:
        old = await voice_of(atelier, ada, MODAL)
        atelier.order("fallback_mode")
        assert [(await reclone(ada, old)).json()["warning"] for _ in range(2)] == [FALLBACK_WARNING] * 2

    @pytest.mark.parametrize(
        "columns",
        [
            {"provider_region": "cn"},
            {"provider_target_model": "qwen3-tts-vc-realtime-2024-01-01"},
            {"provider_voice_id": None},
            {"provider_voice_kind": "vd"},
        ],
        ids=["of another region", "of a model that is not accepted", "without its id", "of a kind it was not made for"],
    )
    async def test_a_voice_of_qwens_that_cannot_be_used(
        self, atelier: Atelier, ada: Caller, columns: dict[str, object]
    ) -> None:
        old = await voice_of(atelier, ada, columns)
        answer = await reclone(ada, old)
        assert answer.status == 200
        assert len(atelier.billed(UUID(answer.json()["id"]))) == 1

    async def test_a_voice_that_can_be_used_costs_nothing(self, atelier: Atelier, ada: Caller) -> None:
        old = await voice_of(atelier, ada)
        assert (await reclone(ada, old)).status == 409
        assert atelier.front.asked == []

    async def test_made_before_and_deleted(self, atelier: Atelier, ada: Caller) -> None:
        """Whoever asks for it wants it back, and has paid for it."""
        old = await voice_of(atelier, ada, MODAL)
        new = (await reclone(ada, old)).json()["id"]
        assert (await ada.ask("DELETE", f"/api/voices/{new}")).status == 200
        answer = await reclone(ada, old)
        assert (answer.status, answer.json()["id"]) == (200, new)
        assert new in [voice["id"] for voice in (await ada.ask("GET", "/api/voices")).json()["voices"]]
        assert atelier.front.actions() == ["create"]

    @pytest.mark.parametrize(
        ("recording", "columns", "status"),
        [
            (None, {}, 400),
            (RECORDING, {"reference_transcript": None}, 400),
            (RECORDING, {"language": "Hindi"}, 400),
            (b"<html>", {}, 400),
        ],
        ids=["no recording", "no transcript", "a language it does not speak", "no audio"],
    )
    async def test_what_cannot_be_made_again(
        self, atelier: Atelier, ada: Caller, recording: bytes | None, columns: dict[str, object], status: int
    ) -> None:
        old = await voice_of(atelier, ada, {**MODAL, **columns}, recording)
        answer = await reclone(ada, old)
        assert (answer.status, answer.headers["x-utter-error-category"]) == (status, "validation")
        assert atelier.front.asked == []
        assert await atelier.sql("select count(*) from utter.voice_creates") == 0

    async def test_a_recording_below_anothers_folder(self, atelier: Atelier, ada: Caller, bob: Caller) -> None:
        """As a row of v1 may say: what is not below its owner's id is never read for them."""
        theirs = await voice_of(atelier, bob, MODAL)
        old = await voice_of(atelier, ada, MODAL)
        await atelier.sql(
            "update public.voices set reference_object_key = $1 where id = $2",
            f"{bob.id}/{theirs}/reference.wav",
            old,
        )
        assert (await reclone(ada, old)).status == 400

    async def test_anothers_a_deleted_and_an_unknown_one(self, atelier: Atelier, ada: Caller, bob: Caller) -> None:
        theirs = await voice_of(atelier, bob, MODAL)
        mine = await voice_of(atelier, ada, MODAL)
        assert (await ada.ask("DELETE", f"/api/voices/{mine}")).status == 200
        assert [(await reclone(ada, voice_id)).status for voice_id in (theirs, mine, uuid4())] == [404] * 3
        assert atelier.front.asked == []


@pytest.fixture
async def copier(
    anyio_backend: Any, database: TestDatabase, tmp_path: Path, vendor: Emulator, front: Front
) -> AsyncIterator[Atelier]:
    """In Modal mode."""
    async with open_atelier(database, tmp_path, vendor, front, {"TTS_PROVIDER_MODE": "modal"}) as opened:
        yield opened


class TestAtModal:
    @pytest.fixture
    async def ada(self, copier: Atelier) -> Caller:
        return await copier.user()

    async def test_a_copy_that_costs_nothing(self, copier: Atelier, ada: Caller) -> None:
        old = await voice_of(copier, ada)
        answer = await reclone(ada, old)
        made = answer.json()
        assert (answer.status, made["tts_provider"], made["provider_voice_id"]) == (200, "modal", None)
        assert (made["reference_transcript"], made["name"]) == (TRANSCRIPT, "Ada")
        assert await copier.stored(f"{ada.id}/{made['id']}/reference.wav") == RECORDING
        assert len(await copier.voices(ada.id)) == 2
        assert copier.front.asked == []

    async def test_twice_and_many_at_once_are_one(self, copier: Atelier, ada: Caller) -> None:
        old = await voice_of(copier, ada)
        answers = [*await at_once(ada, old), await reclone(ada, old)]
        assert {answer.status for answer in answers} == {200}
        assert len({answer.json()["id"] for answer in answers}) == 1
        assert len(await copier.voices(ada.id)) == 2

    async def test_what_cannot_be_made_again(self, copier: Atelier, ada: Caller) -> None:
        of_modal = await voice_of(copier, ada, MODAL)
        silent = await voice_of(copier, ada, recording=None)
        untold = await voice_of(copier, ada, {"reference_transcript": None})
        assert [(await reclone(ada, voice)).status for voice in (of_modal, silent, untold)] == [409, 400, 400]
        assert len(await copier.voices(ada.id)) == 3

    async def test_a_language_that_qwen_would_not_speak(self, copier: Atelier, ada: Caller) -> None:
        old = await voice_of(copier, ada, {"language": "Hindi"})
        assert (await reclone(ada, old)).status == 200


async def test_there_and_back_again(database: TestDatabase, tmp_path: Path, vendor: Emulator, front: Front) -> None:
    """Each lane has a voice of its own then, and switching back costs nothing."""
    async with open_atelier(database, tmp_path, vendor, front) as qwen:
        ada = await qwen.user()
        old = await voice_of(qwen, ada, MODAL)
        at_qwen = UUID((await reclone(ada, old)).json()["id"])
    async with open_atelier(database, tmp_path, vendor, front, {"TTS_PROVIDER_MODE": "modal"}) as modal:
        there = Caller(modal.gateway, ada.id)
        assert (await reclone(there, old)).status == 409
        at_modal = UUID((await reclone(there, at_qwen)).json()["id"])
    async with open_atelier(database, tmp_path, vendor, front) as qwen:
        back = Caller(qwen.gateway, ada.id)
        assert UUID((await reclone(back, old)).json()["id"]) == at_qwen
        assert {voice.id for voice in await qwen.voices(ada.id)} == {old, at_qwen, at_modal}
    assert front.actions() == ["create"]


class TestRestore:
    async def test_a_deletion_is_taken_back(self, atelier: Atelier, ada: Caller) -> None:
        voice_id = await voice_of(atelier, ada)
        before = await atelier.voices(ada.id)
        assert (await ada.ask("DELETE", f"/api/voices/{voice_id}")).status == 200
        assert await atelier.voices(ada.id) == []
        answer = await post(ada, f"/voices/{voice_id}/restore")
        assert (answer.status, answer.json()["id"]) == (200, str(voice_id))
        assert await atelier.voices(ada.id) == before
        assert (await ada.ask("GET", f"/api/voices/{voice_id}/preview")).status == 302

    async def test_of_what_was_not_deleted(self, atelier: Atelier, ada: Caller) -> None:
        voice_id = await voice_of(atelier, ada)
        assert (await post(ada, f"/voices/{voice_id}/restore")).status == 200

    async def test_anothers_and_an_unknown_one(self, atelier: Atelier, ada: Caller, bob: Caller) -> None:
        theirs = await voice_of(atelier, bob)
        assert (await bob.ask("DELETE", f"/api/voices/{theirs}")).status == 200
        for voice_id in (theirs, uuid4(), "voice"):
            assert (await post(ada, f"/voices/{voice_id}/restore")).status == 404
        assert await atelier.voices(bob.id) == []
