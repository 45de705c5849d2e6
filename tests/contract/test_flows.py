"""The v1 web client from end to end, in both modes: each page's script as the contract describes it (section 5)."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.contract.faults import running_for_ever
from tests.contract.shapes import ACCEPTED, DESIGNED, GENERATION, UPLOAD, VOICE, pagination
from tests.contract.spa import Spa, assert_shape
from tests.contract.things import Generation
from tests.contract.world import EMPTY_WAV, RECORDING, User, World

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

HANDLED_SECONDS = 0.05
"""After which the SPA deletes a task that has ended (2.5)."""

TRIES = 20
"""Of something that another process may be quicker than."""

TYPES = {"qwen": "audio/mpeg", "modal": "audio/wav"}


@pytest.fixture
def spa(world: World, owner: User) -> Spa:
    return Spa(world, owner)


class TestClone:
    def test_from_the_recording_to_the_player(self, world: World, spa: Spa) -> None:
        wanted = {"name": " Ada ", "language": "English", "transcript": "Hello there, it is me.", "description": "Me."}
        place = spa.json("POST", "/clone/upload-url", json=wanted)
        assert_shape(place, UPLOAD)
        assert place["object_key"] == f"{spa.user.id}/{place['voice_id']}/reference.wav"
        assert world.sql.value("select count(*) from public.voices where user_id = $1", spa.user.id) == 0
        put = world.ask(None, "PUT", place["upload_url"], content=RECORDING, headers={"Content-Type": "audio/wav"})
        assert put.status_code == 200
        made = spa.json("POST", "/clone/finalize", json={**wanted, "voice_id": place["voice_id"]})
        assert made == {"id": place["voice_id"], "name": "Ada"}
        [voice] = spa.listed("voices")
        assert_shape(voice, {
            **VOICE,
            "id": place["voice_id"],
            "name": "Ada",
            "reference_transcript": "Hello there, it is me.",
            "language": "English",
            "source": "uploaded",
            "description": "Me.",
            "tts_provider": world.mode,
            "provider_voice_kind": "vc" if world.mode == "qwen" else None,
        })  # fmt: skip
        assert spa.play(f"/api/voices/{made['id']}/preview") == RECORDING

    def test_an_mp3_keeps_its_type_under_the_name_of_a_wav(self, world: World, spa: Spa) -> None:
        """Keys end in .wav whatever was sent (1.4); players look at the type."""
        mp3 = b"ID3\x04\0\0\0\0\0\0" + b"\xff\xfb\x90\x64" * 2000
        made = spa.clone(mp3)
        link = spa.ask("GET", f"/voices/{made['id']}/preview").headers["Location"]
        assert urlsplit(link).path.endswith("/reference.wav")
        assert world.ask(None, "GET", link).headers["Content-Type"] == "audio/mpeg"

    def test_finalizing_again_is_refused_and_the_audio_stays(self, spa: Spa) -> None:
        """Deliberate difference: v1 destroyed it (1.4, product section 4)."""
        made = spa.clone()
        again = {"voice_id": made["id"], "name": "Eve", "language": "English", "transcript": "Something else."}
        assert spa.ask("POST", "/clone/finalize", json=again).status_code == 409
        assert spa.play(f"/api/voices/{made['id']}/preview") == RECORDING
        assert [voice["name"] for voice in spa.listed("voices")] == ["Ada"]

    def test_an_upload_is_never_overwritten(self, world: World, spa: Spa) -> None:
        wanted = {"name": "Ada", "language": "English", "transcript": "Hello there, it is me."}
        place = spa.json("POST", "/clone/upload-url", json=wanted)
        answers = [
            world.ask(None, "PUT", place["upload_url"], content=content, headers={"Content-Type": "audio/wav"})
            for content in (RECORDING, EMPTY_WAV)
        ]
        assert [answer.status_code for answer in answers] == [200, 409]
        assert world.stored("references", place["object_key"]) == RECORDING

    def test_deleted_and_restored(self, world: World, spa: Spa) -> None:
        """Deleting hides; the row and the recording stay until purged (product decision 10)."""
        made = spa.clone()
        assert spa.json("DELETE", f"/voices/{made['id']}") == {"ok": True}
        assert spa.listed("voices") == []
        assert spa.ask("GET", f"/voices/{made['id']}/preview").status_code == 404
        assert world.stored("references", f"{spa.user.id}/{made['id']}/reference.wav") == RECORDING
        assert_shape(spa.json("POST", f"/voices/{made['id']}/restore"), VOICE)
        assert spa.play(f"/api/voices/{made['id']}/preview") == RECORDING


class TestDesign:
    def test_from_the_words_to_a_voice_that_speaks(self, world: World, spa: Spa) -> None:
        billed = world.billing()["designs"]
        task = spa.start_preview()
        seen = spa.watch(task)
        assert (seen[0]["type"], seen[0]["status"]) == ("design_preview", "processing")
        assert seen[-1]["status"] == "completed", seen[-1]
        assert seen[-1]["result"]["object_key"].startswith(f"{spa.user.id}/")
        audio = spa.fetch_twice(seen[-1]["result"]["audio_url"])
        assert audio[:4] == b"RIFF"
        time.sleep(HANDLED_SECONDS)
        assert spa.json("DELETE", f"/tasks/{task}") == {"ok": True}
        assert spa.ask("GET", f"/tasks/{task}").status_code == 404
        saved = spa.save_design(audio)
        assert saved.status_code == 200, saved.text
        assert_shape(saved.json(), {**DESIGNED, "name": "Narrator", "description": "A calm narrator."})
        assert spa.fetch_twice(saved.json()["preview_url"]) == audio
        [voice] = spa.listed("voices", "?source=designed")
        assert_shape(voice, {
            **VOICE,
            "id": saved.json()["id"],
            "reference_transcript": "Good evening.",
            "source": "designed",
            "tts_provider": world.mode,
            "provider_voice_kind": "vd" if world.mode == "qwen" else None,
        })  # fmt: skip
        accepted = spa.generate(voice["id"])
        assert spa.watch(accepted["task_id"])[-1]["status"] == "completed"
        assert world.billing()["designs"] - billed == (1 if world.mode == "qwen" else 0)

    def test_the_address_is_signed_anew_on_every_read(self, spa: Spa) -> None:
        task = spa.start_preview()
        audio = spa.fetch_twice(spa.watch(task)[-1]["result"]["audio_url"])
        assert spa.fetch_twice(spa.poll(task)["result"]["audio_url"]) == audio

    def test_a_cancelled_preview_stays_cancelled(self, spa: Spa) -> None:
        """Deliberate difference: in v1 the late result flipped it (2.3, product section 4)."""
        task = cancelled_preview(spa)
        # Another one begins later and is done: by then the first one's result has come, too.
        assert spa.watch(spa.start_preview())[-1]["status"] == "completed"
        assert spa.poll(task)["status"] == "cancelled"
        assert spa.ask("POST", f"/tasks/{task}/cancel").status_code == 400


def cancelled_preview(spa: Spa) -> str:
    """One that was cancelled while it was made: its result is still to come, unless it came first."""
    for _ in range(TRIES):
        task = spa.start_preview()
        assert spa.poll(task)["status"] == "processing"
        answer = spa.ask("POST", f"/tasks/{task}/cancel")
        if answer.status_code == 200:
            assert answer.json() == {"cancelled": True, "task_id": task}
            return task
        assert spa.poll(task)["status"] == "completed"
    raise AssertionError("every preview was done before it could be cancelled")


class TestGenerate:
    def test_from_the_text_to_the_player(self, world: World, spa: Spa) -> None:
        voice = spa.clone()["id"]
        accepted = spa.generate(voice, "Good morning, dear listeners.")
        assert_shape(accepted, ACCEPTED)
        ended = spa.watch(accepted["task_id"])[-1]
        assert (ended["status"], ended["error"], ended["provider"]) == ("completed", None, world.mode)
        address = f"/api/generations/{accepted['generation_id']}/audio"
        assert ended["result"]["audio_url"] == address
        audio = spa.play(address)
        assert ended["result"]["audio_bytes"] == len(audio)
        assert ended["result"]["audio_sha256"] == hashlib.sha256(audio).hexdigest()
        link = spa.ask("GET", address.removeprefix("/api")).headers["Location"]
        assert world.ask(None, "GET", link).headers["Content-Type"] == TYPES[world.mode]
        assert spa.fetch_twice(ended["stream_url"]) == audio
        time.sleep(HANDLED_SECONDS)
        assert spa.json("DELETE", f"/tasks/{accepted['task_id']}") == {"ok": True}
        [generation] = spa.listed("generations")
        assert_shape(generation, {
            **GENERATION,
            "id": accepted["generation_id"],
            "voice_id": voice,
            "voice_name": "Ada",
            "text": "Good morning, dear listeners.",
            "language": "Auto",
            "status": "completed",
            "generation_time_seconds": float,
            "error_message": None,
        })  # fmt: skip

    def test_what_v1_keeps_on_the_task(self, world: World, spa: Spa) -> None:
        """In the database only (2.2). Lengths and the cut are in UTF-16 units: 24 emoji and two letters are 50."""
        text = "a" + "😀" * 24 + "bc, and so on."
        task = spa.generate(spa.clone()["id"], text)["task_id"]
        assert world.sql.value("select metadata from public.tasks where id::text = $1", task) == {
            "voice_id": spa.listed("voices")[0]["id"],
            "voice_name": "Ada",
            "text_length": 1 + 48 + 14,
            "text_preview": "a" + "😀" * 24 + "b...",
            "language": "Auto",
            "estimated_duration_minutes": 0.2,
        }

    def test_one_at_a_time(self, world: World, spa: Spa) -> None:
        """The guard of 2.5, released by the end, by a cancellation and by deleting the task."""
        with running_for_ever(world, spa.user) as voice:
            for release in ("cancel", "delete"):
                running = spa.generate(voice)
                refused = spa.ask("POST", "/generate", json={"voice_id": voice, "text": "Me too."})
                assert refused.status_code == 409
                if release == "cancel":
                    spa.json("POST", f"/tasks/{running['task_id']}/cancel")
                else:
                    spa.json("DELETE", f"/tasks/{running['task_id']}")
        assert spa.watch(spa.generate(spa.clone()["id"])["task_id"])[-1]["status"] == "completed"
        assert spa.generate(spa.clone()["id"])["status"] == "processing"


class TestCancel:
    @pytest.fixture
    def running(self, world: World, spa: Spa) -> Iterator[dict[str, str]]:
        with running_for_ever(world, spa.user) as voice:
            yield spa.generate(voice)

    def test_a_running_generation_ends_as_cancelled(self, world: World, spa: Spa, running: dict[str, str]) -> None:
        task = running["task_id"]
        assert spa.poll(task)["status"] in {"pending", "processing"}
        assert spa.json("POST", f"/tasks/{task}/cancel") == {"cancelled": True, "task_id": task}
        ended = spa.poll(task)
        assert ended["status"] == "cancelled"
        assert states_at_modal(world, task) == (["cancelled"] if world.mode == "modal" else [])
        assert "cancel" in ended["error"].lower()
        [generation] = spa.listed("generations", "?status=cancelled")
        assert generation["error_message"] == ended["error"]
        assert generation["generation_time_seconds"] >= 0
        assert spa.ask("POST", f"/tasks/{task}/cancel").status_code == 400
        assert spa.ask("GET", f"/generations/{running['generation_id']}/audio").status_code == 404

    def test_deleting_a_running_generation_cancels_it_first(self, spa: Spa, running: dict[str, str]) -> None:
        """Deliberate difference: in v1 its task could never end, and held the guard (2.6, product section 4)."""
        assert spa.json("DELETE", f"/generations/{running['generation_id']}") == {"ok": True}
        assert spa.listed("generations") == []
        ended = spa.poll(running["task_id"])
        assert (ended["status"], "result" in ended) == ("cancelled", False)

    def test_deleting_a_running_task_cancels_it_first(self, spa: Spa, running: dict[str, str]) -> None:
        """Deliberate difference: in v1 the generation stayed `processing` for ever (2.6, product section 4)."""
        assert spa.json("DELETE", f"/tasks/{running['task_id']}") == {"ok": True}
        assert spa.ask("GET", f"/tasks/{running['task_id']}").status_code == 404
        assert [row["status"] for row in spa.listed("generations")] == ["cancelled"]


def states_at_modal(world: World, task: str) -> list[str]:
    """What the emulator says of the task's job; nothing where it is Qwen's."""
    job = world.sql.value("select modal_job_id from public.tasks where id::text = $1", task)
    jobs = world.http.get(f"{world.stack.emulator_rest_url}/_emulator/modal").json()
    return [row["state"] for row in jobs if job in row.values()]


class TestHistory:
    def test_pages_filters_and_search(self, world: World, spa: Spa) -> None:
        begin = datetime(2026, 1, 1, tzinfo=UTC)
        for number in range(25):
            status = "failed" if number % 5 == 0 else "completed"
            columns = {"text": f"Text {number:02}", "status": status, "created_at": begin + timedelta(minutes=number)}
            world.sql.insert("generations", {"user_id": spa.user.id, "tts_provider": world.mode, **columns})
        pages = [spa.json("GET", f"/generations?page={page}&per_page=20") for page in (1, 2, 3)]
        texts = [row["text"] for page in pages for row in page["generations"]]
        assert texts == [f"Text {number:02}" for number in reversed(range(25))]
        assert [page["pagination"] for page in pages] == [pagination(page, 20, 25, 2) for page in (1, 2, 3)]
        failed = spa.json("GET", "/generations?status=failed&per_page=2")
        assert failed["pagination"] == pagination(1, 2, 5, 3)
        assert [row["text"] for row in spa.listed("generations", "?search=text%201&status=failed")] == [
            "Text 15",
            "Text 10",
        ]

    def test_once_more_and_away(self, world: World, spa: Spa) -> None:
        spa.generate(spa.clone()["id"], "Once & for all, 100%?")
        [row] = spa.listed("generations")
        before = world.sql.value("select count(*) from public.generations")
        again = spa.json("POST", f"/generations/{row['id']}/regenerate")
        target = urlsplit(again["redirect_url"])
        assert target.path == "/generate"
        assert {name: value for name, [value] in parse_qs(target.query, strict_parsing=True).items()} == {
            "voice": row["voice_id"],
            "text": "Once & for all, 100%?",
            "language": "Auto",
        }
        assert world.sql.value("select count(*) from public.generations") == before
        assert spa.json("DELETE", f"/generations/{row['id']}") == {"ok": True}
        assert spa.listed("generations") == []
        assert spa.ask("DELETE", f"/generations/{row['id']}").status_code == 404

    def test_a_deleted_generations_audio_is_gone(self, world: World, spa: Spa) -> None:
        generation = Generation().make(world, spa.user, {})
        link = spa.ask("GET", f"/generations/{generation}/audio").headers["Location"]
        spa.json("DELETE", f"/generations/{generation}")
        assert world.ask(None, "GET", link).status_code == 404
        assert not list((world.objects / "generations" / str(spa.user.id)).glob(f"{generation}*"))
