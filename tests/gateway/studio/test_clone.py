"""Cloning at Qwen, at an emulator that counts what it would bill: one create for each voice, whatever goes wrong."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import anyio
import pytest
from structlog.testing import capture_logs

import storage.database
from gateway.studio.base import FALLBACK_WARNING
from protocol.customization import max_recording_bytes
from schema.http_voices import CloneRequest
from storage import creates
from storage.database import DatabaseUnavailable
from storage.objects import REFERENCES
from tests.gateway.studio.atelier import RECORDING, TRANSCRIPT, Atelier, finalize_request, open_atelier, post, until
from tests.gateway.studio.front import Front
from tests.support.emulator import VC_MODEL, Emulator, wav_recording
from tests.support.exchange import Exchange
from tests.support.gateway import Caller
from tests.support.postgres import TestDatabase
from tests.support.rows import created, new_create
from tests.support.workshop import cut_off

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

AT_ONCE = 20

FINALIZE = "/clone/finalize"


async def test_upload_and_finalize(atelier: Atelier, ada: Caller) -> None:
    wanted = CloneRequest(name=" Ada ", language="English", transcript=TRANSCRIPT, description="Mine.")
    link = (await post(ada, "/clone/upload-url", wanted)).json()
    put = await ada.gateway.ask(
        "PUT", link["upload_url"].removeprefix("http://127.0.0.1:8080"), {"content-type": "audio/wav"}, RECORDING
    )
    assert put.status == 200
    voice_id = UUID(link["voice_id"])
    answer = await post(ada, FINALIZE, finalize_request(voice_id, name=" Ada ", description="Mine."))
    assert (answer.status, answer.json()) == (200, {"id": str(voice_id), "name": "Ada"})
    [voice] = await atelier.voices(ada.id)
    [provider_voice] = atelier.billed(voice_id)
    assert (voice.id, voice.source, voice.tts_provider) == (voice_id, "uploaded", "qwen")
    assert (voice.provider_voice_id, voice.provider_voice_kind) == (provider_voice, "vc")
    assert (voice.provider_target_model, voice.provider_region) == (VC_MODEL, "intl")
    assert voice.provider_request_id
    assert voice.provider_metadata == {"usage": {"count": 1}}
    assert (voice.reference_transcript, voice.description) == (TRANSCRIPT, "Mine.")
    row = await atelier.ledger(ada.id, voice_id)
    assert (row.state, row.provider_voice_id, row.voice_id) == ("created", provider_voice, voice_id)
    assert await atelier.orphans() == {}


async def test_what_the_provider_is_told(atelier: Atelier, ada: Caller) -> None:
    """Nothing of the user's words names the voice, and `Auto` is never left to the vendor's default."""
    wanted = await atelier.upload(ada.id)
    german = finalize_request(wanted.voice_id, language="Auto", transcript="Der schnelle braune Fuchs springt weit.")
    assert (await post(ada, FINALIZE, german)).status == 200
    [asked] = atelier.front.asked
    assert asked["model"] == "qwen-voice-enrollment"
    assert asked["input"]["text"] == german.transcript
    assert asked["input"]["language"] == "de"
    assert asked["input"]["audio"]["data"].startswith("data:audio/wav;base64,")
    assert "ada" not in asked["input"]["preferred_name"].lower()


class TestOnce:
    async def test_many_at_once(self, atelier: Atelier, ada: Caller) -> None:
        wanted = await atelier.upload(ada.id)
        answers: list[Exchange] = []

        async def finalize() -> None:
            answers.append(await post(ada, FINALIZE, wanted))

        with atelier.front.held():
            async with anyio.create_task_group() as group:
                for _ in range(AT_ONCE):
                    group.start_soon(finalize)
                await until(lambda: len(answers) == AT_ONCE - 1)  # all but the one that waits for the provider
                assert {answer.status for answer in answers} == {409}
                atelier.front.release()
        assert Counter(answer.status for answer in answers) == {200: 1, 409: AT_ONCE - 1}
        assert atelier.front.actions() == ["create"]
        assert len(atelier.billed(wanted.voice_id)) == len(await atelier.voices(ada.id)) == 1

    async def test_again_and_the_voice_and_its_recording_stay(self, atelier: Atelier, ada: Caller) -> None:
        wanted = await atelier.upload(ada.id)
        assert (await post(ada, FINALIZE, wanted)).status == 200
        before = await atelier.voices(ada.id)
        again = await post(ada, FINALIZE, finalize_request(wanted.voice_id, name="Grace"))
        assert again.status == 409
        assert await atelier.voices(ada.id) == before
        assert await atelier.stored(str(before[0].reference_object_key)) == RECORDING
        assert len(atelier.billed(wanted.voice_id)) == 1

    async def test_of_a_deleted_voice(self, atelier: Atelier, ada: Caller) -> None:
        wanted = await atelier.upload(ada.id)
        assert (await post(ada, FINALIZE, wanted)).status == 200
        assert (await ada.ask("DELETE", f"/api/voices/{wanted.voice_id}")).status == 200
        assert (await post(ada, FINALIZE, wanted)).status == 409
        assert await atelier.voices(ada.id) == []

    async def test_when_a_try_got_as_far_as_the_ledger(self, atelier: Atelier, ada: Caller) -> None:
        """The row is what was missing, and nothing is asked of the provider."""
        wanted = await atelier.upload(ada.id)
        new = new_create(ada.id, "vc", wanted.voice_id)
        async with atelier.pool.as_service() as transaction:
            await creates.claim_create(transaction, new, seconds=60)
            await creates.record_created(transaction, created(new))
        assert set(await atelier.orphans()) == {wanted.voice_id}
        assert (await post(ada, FINALIZE, wanted)).status == 200
        [voice] = await atelier.voices(ada.id)
        assert voice.provider_voice_id == created(new).provider_voice_id
        assert atelier.front.asked == []
        assert await atelier.orphans() == {}

    async def test_while_another_process_makes_it(self, atelier: Atelier, ada: Caller) -> None:
        wanted = await atelier.upload(ada.id)
        async with atelier.pool.as_service() as transaction:
            await creates.claim_create(transaction, new_create(ada.id, "vc", wanted.voice_id), seconds=60)
        assert (await post(ada, FINALIZE, wanted)).status == 409
        assert atelier.front.asked == []

    async def test_in_two_processes(
        self, atelier: Atelier, ada: Caller, database: TestDatabase, tmp_path: Path, vendor: Emulator, front: Front
    ) -> None:
        """On one database: who comes second neither sends nor waits."""
        wanted = await atelier.upload(ada.id)
        answers: list[Exchange] = []

        async def finalize() -> None:
            answers.append(await post(ada, FINALIZE, wanted))

        async with open_atelier(database, tmp_path, vendor, front) as other, anyio.create_task_group() as group:
            with atelier.front.held():
                group.start_soon(finalize)
                await anyio.to_thread.run_sync(front.wait_until_done, "create")
                assert (await post(Caller(other.gateway, ada.id), FINALIZE, wanted)).status == 409
        assert [answer.status for answer in answers] == [200]
        assert front.actions() == ["create"]

    async def test_for_a_client_that_leaves(self, atelier: Atelier, ada: Caller) -> None:
        """The voice is paid for, so it is finished."""
        wanted = await atelier.upload(ada.id)
        with atelier.front.held():
            async with anyio.create_task_group() as group:
                group.start_soon(post, ada, FINALIZE, wanted)
                await anyio.to_thread.run_sync(atelier.front.wait_until_done, "create")
                group.cancel_scope.cancel()
        await atelier.idle()
        [voice] = await atelier.voices(ada.id)
        assert [voice.provider_voice_id] == atelier.billed(wanted.voice_id)


class TestLostAnswers:
    @pytest.mark.parametrize("fault", ["lost_answer", "lost_answer_cut"])
    async def test_the_voice_is_found(self, atelier: Atelier, ada: Caller, fault: str) -> None:
        wanted = await atelier.upload(ada.id)
        atelier.order(fault)
        assert (await post(ada, FINALIZE, wanted)).status == 200
        [voice] = await atelier.voices(ada.id)
        assert [voice.provider_voice_id] == atelier.billed(wanted.voice_id)
        assert voice.provider_metadata == {}, "the answer that counted it was never heard"
        assert atelier.front.actions() == ["create", "list"]

    @pytest.mark.parametrize("fault", ["lost_answer", "lost_answer_cut"])
    async def test_the_voice_is_found_by_the_next_try(self, atelier: Atelier, ada: Caller, fault: str) -> None:
        """Nobody knew, and nobody could look: that is said, listed, and looked into before anything is paid again."""
        wanted = await atelier.upload(ada.id)
        atelier.order(fault)
        atelier.order("rest_500", action="list", times=None)
        assert (await post(ada, FINALIZE, wanted)).status == 503
        assert (await atelier.orphans())[wanted.voice_id].reason == "ambiguous"
        assert (await post(ada, FINALIZE, wanted)).status == 503, "it still cannot look"
        assert (await atelier.ledger(ada.id, wanted.voice_id)).state == "ambiguous"
        atelier.emulator.clear_faults()
        assert (await post(ada, FINALIZE, wanted)).status == 200
        [voice] = await atelier.voices(ada.id)
        assert [voice.provider_voice_id] == atelier.billed(wanted.voice_id)
        assert atelier.front.actions().count("create") == 1
        assert await atelier.orphans() == {}

    @pytest.mark.parametrize("fault", ["rest_500", "rest_cut"])
    async def test_nothing_was_made(self, atelier: Atelier, ada: Caller, fault: str) -> None:
        wanted = await atelier.upload(ada.id)
        atelier.order(fault)
        assert (await post(ada, FINALIZE, wanted)).status == 503
        assert (await post(ada, FINALIZE, wanted)).status == 200
        assert atelier.front.actions()[-2:] == ["list", "create"]
        assert len(atelier.billed(wanted.voice_id)) == 1

    async def test_a_maker_that_died(self, atelier: Atelier, ada: Caller) -> None:
        """Its claim runs out; then the voice it made is found."""
        wanted = await atelier.upload(ada.id)
        answers: list[Exchange] = []

        async def finalize() -> None:
            answers.append(await post(ada, FINALIZE, wanted))

        async with anyio.create_task_group() as group:
            with atelier.front.held():
                group.start_soon(finalize)
                await anyio.to_thread.run_sync(atelier.front.wait_until_done, "create")
                atelier.kill_jobs()
                await atelier.idle()
        assert [answer.status for answer in answers] == [503]
        assert (await post(ada, FINALIZE, wanted)).status == 409, "it may be alive"
        await atelier.let_claims_run_out()
        assert (await atelier.orphans())[wanted.voice_id].reason == "abandoned"
        assert (await post(ada, FINALIZE, wanted)).status == 200
        assert atelier.front.actions() == ["create", "list"]
        assert len(atelier.billed(wanted.voice_id)) == 1

    async def test_the_pin_has_moved_since(
        self, atelier: Atelier, ada: Caller, database: TestDatabase, tmp_path: Path, emulator: Emulator, front: Front
    ) -> None:
        """A voice of the earlier model is found too: it was paid for."""
        wanted = await atelier.upload(ada.id)
        atelier.order("lost_answer")
        atelier.order("rest_500", action="list")
        assert (await post(ada, FINALIZE, wanted)).status == 503
        moved = {"QWEN_VC_TARGET_MODEL": "qwen3-tts-vc-realtime-2027-01-01"}
        async with open_atelier(database, tmp_path, emulator, front, moved) as later:
            made = await later.studio.finalize_clone(ada.id, wanted)
        assert [made.voice.provider_voice_id] == atelier.billed(wanted.voice_id)
        assert made.voice.provider_target_model == VC_MODEL


class TestRefusals:
    @pytest.mark.parametrize(
        ("fault", "words"),
        [
            ("recording_too_short", "10 seconds"),
            ("recording_silent", "10 seconds"),
            ("recording_low_rate", "24 kHz"),
            ("recording_too_long", "60 seconds"),
            ("transcript_mismatch", "matches the transcript"),
            ("content_blocked", "transcript"),
        ],
    )
    async def test_what_its_user_must_redo(self, atelier: Atelier, ada: Caller, fault: str, words: str) -> None:
        wanted = await atelier.upload(ada.id)
        atelier.order(fault)
        answer = await post(ada, FINALIZE, wanted)
        assert answer.status == 400
        assert answer.headers["x-utter-error-category"] == "validation"
        assert words in answer.json()["detail"]
        assert "Audio." not in answer.json()["detail"]
        assert (await atelier.ledger(ada.id, wanted.voice_id)).state == "refused"
        assert atelier.billed(wanted.voice_id) == []
        assert await atelier.orphans() == {}
        assert (await post(ada, FINALIZE, wanted)).status == 200
        assert atelier.front.actions() == ["create", "create"], "a refusal made nothing: nothing is looked for"

    @pytest.mark.parametrize(
        ("fault", "status", "category"),
        [("wrong_key", 502, "provider_rejected"), ("voice_quota", 502, "provider_rejected")],
    )
    async def test_what_the_operator_must_settle(
        self, atelier: Atelier, ada: Caller, fault: str, status: int, category: str
    ) -> None:
        wanted = await atelier.upload(ada.id)
        atelier.order(fault)
        answer = await post(ada, FINALIZE, wanted)
        assert (answer.status, answer.headers["x-utter-error-category"]) == (status, category)
        assert (await atelier.ledger(ada.id, wanted.voice_id)).state == "refused"
        assert atelier.billed(wanted.voice_id) == []

    async def test_real_recordings(self, atelier: Atelier, ada: Caller) -> None:
        """Told by the emulator's own ears."""
        for recording in (wav_recording(seconds=1), wav_recording(amplitude=0), wav_recording(rate=16_000)):
            wanted = await atelier.upload(ada.id, recording)
            assert (await post(ada, FINALIZE, wanted)).status == 400
            assert atelier.billed(wanted.voice_id) == []

    async def test_a_poor_copy_is_warned_about(self, atelier: Atelier, ada: Caller) -> None:
        wanted = await atelier.upload(ada.id)
        atelier.order("fallback_mode")
        answer = await post(ada, FINALIZE, wanted)
        assert answer.json() == {"id": str(wanted.voice_id), "name": "Ada", "warning": FALLBACK_WARNING}
        [voice] = await atelier.voices(ada.id)
        assert voice.provider_metadata["warnings"] == ["fallback_mode"]

    async def test_a_provider_that_is_away(
        self, database: TestDatabase, tmp_path: Path, emulator: Emulator, front: Front
    ) -> None:
        nowhere = {"DASHSCOPE_BASE_URL": "http://127.0.0.1:9"}
        async with open_atelier(database, tmp_path, emulator, front, nowhere) as atelier:
            ada = await atelier.user()
            wanted = await atelier.upload(ada.id)
            answer = await post(ada, FINALIZE, wanted)
            assert (answer.status, answer.headers["retry-after"]) == (503, "5")
            row = await atelier.ledger(ada.id, wanted.voice_id)
            assert (row.state, row.error) == ("refused", "unreachable"), "nothing was sent"

    async def test_a_server_that_stops_leaves_no_claim(self, atelier: Atelier, ada: Caller) -> None:
        wanted = await atelier.upload(ada.id)
        atelier.supervisor.start_draining()
        assert (await post(ada, FINALIZE, wanted)).status == 503
        assert await atelier.sql("select count(*) from utter.voice_creates") == 0
        assert atelier.front.asked == []


class TestRecordings:
    async def test_none(self, ada: Caller) -> None:
        answer = await post(ada, FINALIZE, finalize_request(uuid4()))
        assert answer.status == 400
        assert "upload" in answer.json()["detail"]

    async def test_anothers(self, atelier: Atelier, ada: Caller, bob: Caller) -> None:
        wanted = await atelier.upload(ada.id)
        assert (await post(bob, FINALIZE, wanted)).status == 400
        assert (await post(ada, FINALIZE, wanted)).status == 200
        assert (await post(bob, FINALIZE, wanted)).status == 400

    async def test_anothers_id_with_a_recording_of_ones_own(self, atelier: Atelier, ada: Caller, bob: Caller) -> None:
        wanted = await atelier.upload(ada.id)
        assert (await post(ada, FINALIZE, wanted)).status == 200
        await atelier.objects.put(REFERENCES, f"{bob.id}/{wanted.voice_id}/reference.wav", RECORDING, "audio/wav")
        assert (await post(bob, FINALIZE, wanted)).status == 404
        assert len(atelier.billed(wanted.voice_id)) == 1
        assert await atelier.voices(bob.id) == []

    async def test_a_design_of_ones_own_is_no_voice(self, atelier: Atelier, ada: Caller) -> None:
        task_id, _ = await atelier.preview(ada)
        await atelier.objects.put(REFERENCES, f"{ada.id}/{task_id}/reference.wav", RECORDING, "audio/wav")
        assert (await post(ada, FINALIZE, finalize_request(task_id))).status == 404

    async def test_no_audio(self, atelier: Atelier, ada: Caller) -> None:
        wanted = await atelier.upload(ada.id, b"<html>")
        assert (await post(ada, FINALIZE, wanted)).status == 400
        assert atelier.front.asked == []

    async def test_as_long_as_a_data_url_may_be(self, atelier: Atelier, ada: Caller) -> None:
        limit = max_recording_bytes("audio/mpeg")
        assert 7_400_000 < limit < 7_600_000
        fits = await atelier.upload(ada.id, b"ID3" + bytes(limit - 3))
        assert (await post(ada, FINALIZE, fits)).status == 200
        too_long = await atelier.upload(ada.id, b"ID3" + bytes(limit - 2))
        answer = await post(ada, FINALIZE, too_long)
        assert answer.status == 400
        assert "7.5 MB" in answer.json()["detail"]
        assert atelier.front.actions() == ["create"]
        assert await atelier.sql("select count(*) from utter.voice_creates") == 1, "no claim for what is never sent"

    async def test_larger_than_the_bucket_allows(self, atelier: Atelier, ada: Caller) -> None:
        wanted = await atelier.upload(ada.id, b"ID3" + bytes(10 * 1024 * 1024))
        answer = await post(ada, FINALIZE, wanted)
        assert answer.status == 400
        assert "10 MB" in answer.json()["detail"]

    async def test_by_a_link_where_the_provider_can_follow_one(
        self, database: TestDatabase, tmp_path: Path, emulator: Emulator, front: Front
    ) -> None:
        """Signed, for this recording, and without a sign-in; the emulator cannot reach that host, and says so."""
        public = {"PUBLIC_BASE_URL": "https://speech.example.com"}
        async with open_atelier(database, tmp_path, emulator, front, public) as atelier:
            ada = await atelier.user()
            wanted = await atelier.upload(ada.id, b"ID3" + bytes(9_000_000))  # more than a data URL carries
            answer = await post(ada, FINALIZE, wanted)
            [asked] = front.asked
            url = asked["input"]["audio"]["data"]
            key = f"{ada.id}/{wanted.voice_id}/reference.wav"
            assert url.startswith(f"https://speech.example.com/api/objects/references/{key}?token=")
            fetched = await ada.gateway.ask("GET", url.removeprefix("https://speech.example.com"))
            assert (fetched.status, len(fetched.body)) == (200, 9_000_003)
            assert answer.status == 503, "that the provider could not fetch it is not its user's mistake"
            assert "could not fetch" in answer.json()["detail"]

    @pytest.mark.parametrize("route", ["/clone/upload-url", FINALIZE])
    async def test_a_language_nobody_speaks_here(self, atelier: Atelier, ada: Caller, route: str) -> None:
        wanted = await atelier.upload(ada.id)
        answer = await post(ada, route, finalize_request(wanted.voice_id, language="Hindi"))
        assert answer.status == 400
        assert "Portuguese" in answer.json()["detail"]
        assert atelier.front.asked == []


class TestStorage:
    async def test_away_before_the_claim(self, atelier: Atelier, ada: Caller, database: TestDatabase) -> None:
        wanted = await atelier.upload(ada.id)
        async with cut_off(database):
            assert (await post(ada, FINALIZE, wanted)).status == 503
        assert atelier.front.asked == []

    async def test_away_when_the_voice_is_made(self, atelier: Atelier, ada: Caller, database: TestDatabase) -> None:
        """It comes back: what is paid for is written down then."""
        wanted = await atelier.upload(ada.id)
        answers: list[Exchange] = []

        async def finalize() -> None:
            answers.append(await post(ada, FINALIZE, wanted))

        async with anyio.create_task_group() as group:
            with atelier.front.held():
                group.start_soon(finalize)
                await anyio.to_thread.run_sync(atelier.front.wait_until_done, "create")
                away = cut_off(database)
                await away.__aenter__()
            await anyio.to_thread.run_sync(atelier.front.wait_until_quiet)
            await away.__aexit__(None, None, None)
        assert [answer.status for answer in answers] == [200]
        [voice] = await atelier.voices(ada.id)
        assert [voice.provider_voice_id] == atelier.billed(wanted.voice_id)

    async def test_a_row_that_cannot_be_written(self, atelier: Atelier, ada: Caller) -> None:
        """The voice is logged and listed, and nothing is paid again once the row can be."""
        wanted = await atelier.upload(ada.id)
        await atelier.sql("alter table public.voices add constraint no_ada check (name <> 'Ada')")
        with capture_logs() as lines:
            assert (await post(ada, FINALIZE, wanted)).status == 500
        [provider_voice] = atelier.billed(wanted.voice_id)
        [line] = [line for line in lines if line["event"] == "voice.orphaned"]
        orphan = (await atelier.orphans())[wanted.voice_id]
        assert (orphan.reason, orphan.provider_voice_id) == ("never_saved", provider_voice)
        assert (line["provider_voice_id"], line["vendor_request_id"]) == (provider_voice, orphan.request_id)
        assert orphan.request_id
        await atelier.sql("alter table public.voices drop constraint no_ada")
        assert (await post(ada, FINALIZE, wanted)).status == 200
        assert (await atelier.voices(ada.id))[0].provider_metadata == {"usage": {"count": 1}}
        assert atelier.front.actions() == ["create"]
        assert await atelier.orphans() == {}

    async def test_a_row_whose_commit_was_not_heard_of(
        self, atelier: Atelier, ada: Caller, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The second try finds what the first one wrote, and that is the answer."""
        wanted = await atelier.upload(ada.id)
        commit = storage.database._commit
        lost: list[object] = []

        async def commit_and_lose(*work: Any) -> None:
            await commit(*work)
            if not lost and await atelier.sql("select exists (select from public.voices)"):
                lost.append(work)
                raise DatabaseUnavailable("the answer was lost")

        monkeypatch.setattr(storage.database, "_commit", commit_and_lose)
        assert (await post(ada, FINALIZE, wanted)).status == 200
        assert lost
        assert len(await atelier.voices(ada.id)) == len(atelier.billed(wanted.voice_id)) == 1

    async def test_its_user_is_deleted_meanwhile(self, atelier: Atelier, ada: Caller) -> None:
        """The voice stays at the provider, and on the list of orphans."""
        wanted = await atelier.upload(ada.id)
        answers: list[Exchange] = []

        async def finalize() -> None:
            answers.append(await post(ada, FINALIZE, wanted))

        async with anyio.create_task_group() as group:
            with atelier.front.held():
                group.start_soon(finalize)
                await anyio.to_thread.run_sync(atelier.front.wait_until_done, "create")
                await atelier.sql("delete from auth.users where id = $1", ada.id)
        assert [answer.status for answer in answers] == [401]
        orphan = (await atelier.orphans())[wanted.voice_id]
        assert orphan.reason == "never_saved"
        assert [orphan.provider_voice_id] == atelier.billed(wanted.voice_id)
        assert orphan.request_id
