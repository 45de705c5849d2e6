"""`utter voices migrate` and `utter voices purge`, as processes, on a real database, store and emulated account."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest

from gateway.studio.reclone import modal_id, qwen_id
from storage import voices
from storage.database import Database
from storage.objects import REFERENCES, ObjectStore
from tests.gateway.doctor.deployment import Deployment
from tests.support.cli import Ran, plain, refusal, utter, utter_alone
from tests.support.emulator import VC_MODEL, start_emulator, wav_recording
from tests.support.postgres import TestDatabase
from tests.support.rows import new_voice

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

RECORDING = wav_recording()

MODAL: dict[str, Any] = {
    "tts_provider": "modal",
    "provider_voice_id": None,
    "provider_target_model": None,
    "provider_region": None,
    "provider_voice_kind": None,
}


@dataclass
class Estate:
    """A deployment with voices in it."""

    deployment: Deployment
    opened: Database
    objects: ObjectStore

    async def add(self, owner: UUID, recording: bytes | None = RECORDING, **columns: Any) -> UUID:
        """A voice of Qwen unless its columns say otherwise; without its recording in the store where that is None."""
        voice = msgspec.structs.replace(new_voice(owner), language="English", **columns)
        if recording is not None and voice.reference_object_key:
            await self.objects.put(REFERENCES, voice.reference_object_key, recording, "audio/wav")
        async with self.opened.as_user(owner) as tx:
            await voices.insert_voice(tx, voice)
        return voice.id

    async def delete(self, owner: UUID, voice_id: UUID, *, days: float = 0.0) -> None:
        """As its user did, so many days ago."""
        async with self.opened.as_user(owner) as tx:
            assert await voices.delete_voice(tx, owner, voice_id)
        admin = await asyncpg.connect(self.deployment.database.admin_url)
        try:
            aged = "update public.voices set deleted_at = now() - $2::interval where id = $1"
            await admin.execute(aged, voice_id, timedelta(days=days))
        finally:
            await admin.close()

    async def row(self, owner: UUID, voice_id: UUID) -> Any:
        async with self.opened.as_user(owner) as tx:
            return await voices.get_any_voice(tx, owner, voice_id)

    def run(self, *arguments: object) -> Ran:
        ran = utter_alone("voices", *arguments, environment=self.deployment.environment)
        assert "Traceback" not in ran.stderr, ran
        assert self.deployment.emulator.api_key not in ran.stdout + ran.stderr
        return ran


@pytest.fixture
async def estate(anyio_backend: object, database: TestDatabase, tmp_path: Path) -> AsyncIterator[Estate]:
    with start_emulator(tmp_path / "emulator") as emulator:
        deployment = Deployment(database, emulator, tmp_path)
        objects = ObjectStore.open(deployment.environment["OBJECTS_URL"])
        async with Database.open(database.gateway_url, max_connections=1) as opened:
            yield Estate(deployment, opened, objects)


def report(ran: Ran, status: int = 0) -> dict[str, Any]:
    assert ran.exit_code == status, ran
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def standings(found: dict[str, Any]) -> dict[UUID, str]:
    return {UUID(row["voice_id"]): row["standing"] for row in found["voices"]}


class TestMigrate:
    async def test_what_the_other_provider_made_is_made_once_with_the_price_first(self, estate: Estate) -> None:
        database = estate.deployment.database
        ada, bob = database.create_user(), database.create_user()
        first, second = await estate.add(ada, **MODAL), await estate.add(bob, **MODAL)
        usable = await estate.add(ada)
        copy = await estate.add(ada, id=modal_id(usable), **MODAL)
        mute = await estate.add(bob, reference_transcript=None, **MODAL)
        gone = await estate.add(bob, **MODAL)
        await estate.delete(bob, gone)
        plan = estate.run("migrate", "--everybody", "--dry-run", "--json")
        found = report(plan)
        assert standings(found) == {first: "to be made", second: "to be made", mute: "cannot be made"}
        assert (found["usd"], found["usable"], found["provider"]) == (0.02, 2, "qwen"), copy
        assert "2 voices are to be made at qwen, for 0.02 USD" in plan.stderr
        assert "Nothing was made" in refusal(estate.run("migrate", "--user", str(ada)))
        assert estate.deployment.emulator.billing()["clones"] == 0
        ran = estate.run("migrate", "--user", str(ada), "--yes")
        assert ran.exit_code == 0, ran
        assert f"made            voice {first}  user {ada}  as {new_id(first)}" in ran.stdout
        found = report(estate.run("migrate", "--everybody", "--yes", "--json"))
        assert standings(found) == {second: "made", mute: "cannot be made"}, "the rest, and no other"
        assert "clone or design it anew" in found["voices"][0]["remedy"]
        assert standings(report(estate.run("migrate", "--everybody", "--yes", "--json"))) == {mute: "cannot be made"}
        assert estate.deployment.emulator.billing()["clones"] == 2
        for owner, voice_id in ((ada, first), (bob, second)):
            made = await estate.row(owner, new_id(voice_id))
            assert (made.tts_provider, made.provider_target_model) == ("qwen", VC_MODEL)
            assert (await estate.row(owner, voice_id)).tts_provider == "modal", "the old one stays"

    async def test_a_provider_that_refuses_ends_the_run_and_the_next_goes_on(self, estate: Estate) -> None:
        ada = estate.deployment.database.create_user()
        lost = await estate.add(ada, recording=None, id=UUID(int=1), **MODAL)
        good = [await estate.add(ada, **MODAL) for _ in range(4)]
        estate.deployment.emulator.order_faults("customization:create", "voice_quota")
        found = report(estate.run("migrate", "--everybody", "--yes", "--json"), status=1)
        assert list(standings(found).values()) == ["failed"] * 4 + ["not begun"]
        assert "clone or design it anew" in found["voices"][0]["remedy"], lost
        assert "(voice_quota)" in found["voices"][1]["remedy"]
        estate.deployment.emulator.clear_faults()
        found = report(estate.run("migrate", "--everybody", "--limit", "3", "--yes", "--json"), status=1)
        assert [row["standing"] for row in found["voices"]] == ["failed", "made", "made"]
        assert report(estate.run("migrate", "--everybody", "--yes", "--json"), status=1)["counts"] == {
            "failed": 1,
            "made": 2,
        }
        assert estate.deployment.emulator.billing()["clones"] == len(good)

    async def test_to_modal_it_costs_nothing(self, estate: Estate) -> None:
        ada = estate.deployment.database.create_user()
        voice_id = await estate.add(ada)
        estate.deployment.set(TTS_PROVIDER_MODE="modal")
        found = report(estate.run("migrate", "--everybody", "--yes", "--json"))
        assert (found["usd"], standings(found)) == (0.0, {voice_id: "made"})
        made = await estate.row(ada, modal_id(voice_id))
        assert made.tts_provider == "modal"
        estate.deployment.set(TTS_PROVIDER_MODE="qwen")
        assert report(estate.run("migrate", "--everybody", "--dry-run", "--json"))["voices"] == []

    def test_whose_voices_must_be_said(self) -> None:
        for words in ((), ("--everybody", "--user", str(uuid4()))):
            assert "either --user ID or --everybody" in refusal(utter("voices", "migrate", *words))
        assert "must be a UUID" in refusal(utter("voices", "migrate", "--user", "ada"))


class TestPurge:
    async def test_rows_and_recordings_of_what_was_deleted_long_ago(self, estate: Estate) -> None:
        ada = estate.deployment.database.create_user()
        old, young, kept = [await estate.add(ada) for _ in range(3)]
        bare = await estate.add(ada, reference_object_key=None)
        for voice_id, days in ((old, 31), (bare, 40), (young, 29)):
            await estate.delete(ada, voice_id, days=days)
        ran = estate.run("purge", "--older-than", "30d", "--dry-run")
        assert (ran.exit_code, ran.stdout.count("to be purged")) == (0, 2)
        assert "Nothing was purged" in refusal(estate.run("purge", "--older-than", "30d"))
        assert await estate.row(ada, old) is not None
        found = report(estate.run("purge", "--older-than", "30d", "--yes", "--json"))
        assert (found["found"], found["purged"]) == (2, 2)
        assert [await estate.row(ada, voice_id) for voice_id in (old, bare)] == [None, None]
        assert await estate.objects.head(REFERENCES, key(ada, old)) is None
        for voice_id in (young, kept):
            assert await estate.row(ada, voice_id) is not None
            assert await estate.objects.head(REFERENCES, key(ada, voice_id)) is not None
        assert report(estate.run("purge", "--older-than", "30d", "--yes", "--json"))["found"] == 0

    async def test_what_the_store_cannot_remove_keeps_its_row(self, estate: Estate) -> None:
        ada = estate.deployment.database.create_user()
        voice_id = await estate.add(ada)
        await estate.delete(ada, voice_id, days=31)
        bucket = Path(estate.deployment.environment["OBJECTS_URL"]) / REFERENCES
        bucket.rename(bucket.with_name("away"))
        bucket.write_bytes(b"")
        found = report(estate.run("purge", "--older-than", "12h", "--yes", "--json"), status=1)
        assert (found["purged"], found["voices"][0]["purged"]) == (0, False)
        assert "`utter doctor`" in found["voices"][0]["remedy"]
        assert await estate.row(ada, voice_id) is not None
        bucket.unlink()
        bucket.with_name("away").rename(bucket)
        assert "1 of 1 purged" in estate.run("purge", "--older-than", "12h", "--yes").stderr

    def test_what_is_no_age(self) -> None:
        for age in ("30", "a month", "-1d"):
            assert "as 30d or 12h" in refusal(utter("voices", "purge", f"--older-than={age}"))


@pytest.mark.parametrize("name", ["migrate", "purge"])
def test_help_shows_how(name: str) -> None:
    said = plain(utter("voices", name, "--help").stdout).partition(" Options ")[0]
    assert said.count(f"utter voices {name}") >= 2


def key(owner: UUID, voice_id: UUID) -> str:
    return f"{owner}/{voice_id}/reference.wav"


def new_id(voice_id: UUID) -> UUID:
    return qwen_id(voice_id, "intl", VC_MODEL)
