"""The history over HTTP (v1 contract 1.7)."""

from __future__ import annotations

from uuid import UUID

import anyio
import pytest

from tests.support.gateway import Caller, Gateway

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

BASE = "http://127.0.0.1:8080"


async def texts(caller: Caller, query: str = "") -> list[str]:
    answer = await caller.ask("GET", f"/api/generations{query}")
    assert answer.status == 200
    return [generation["text"] for generation in answer.json()["generations"]]


async def test_newest_first(ada: Caller) -> None:
    await ada.add_generation(b"audio", "first")
    second = (await ada.add_generation(text="second")).generation_id
    answer = (await ada.ask("GET", "/api/generations")).json()
    assert [generation["text"] for generation in answer["generations"]] == ["second", "first"]
    running, done = answer["generations"]
    assert running["audio_path"] == f"/api/generations/{second}/audio"
    assert (running["status"], running["duration_seconds"]) == ("processing", None)
    assert (done["status"], done["voice_name"]) == ("completed", "Ada")
    assert isinstance(done["duration_seconds"], float)
    assert answer["pagination"] == {"page": 1, "per_page": 20, "total": 2, "pages": 1}


async def test_filters(ada: Caller) -> None:
    await ada.add_generation(b"audio", "50% off")
    await ada.add_generation(text="Fifty")
    assert await texts(ada, "?search=%25") == ["50% off"]
    assert await texts(ada, "?search=fif") == ["Fifty"]
    assert await texts(ada, "?status=completed") == ["50% off"]
    assert len(await texts(ada, "?status=all")) == 2
    assert len(await texts(ada, "?status=%20")) == 2
    assert await texts(ada, "?status=lost") == []
    assert await texts(ada, "?page=2") == []
    assert (await ada.ask("GET", "/api/generations?search=%00")).status == 400
    assert (await ada.ask("GET", "/api/generations?status=%00")).status == 400


async def test_the_name_of_a_deleted_voice_stays(ada: Caller) -> None:
    await ada.add_generation(b"audio")
    voice = (await ada.ask("GET", "/api/voices")).json()["voices"][0]
    await ada.ask("DELETE", f"/api/voices/{voice['id']}")
    assert (await ada.ask("GET", "/api/generations")).json()["generations"][0]["voice_name"] == "Ada"


async def test_audio_leads_to_a_link_that_needs_no_token(gateway: Gateway, ada: Caller) -> None:
    generation_id = (await ada.add_generation(b"some audio")).generation_id
    answer = await ada.ask("GET", f"/api/generations/{generation_id}/audio")
    assert answer.status == 302
    location = answer.headers["location"].removeprefix(BASE)
    for _ in range(2):
        audio = await gateway.ask("GET", location)
        assert (audio.status, audio.body) == (200, b"some audio")
        assert audio.headers["content-type"] == "audio/mpeg"
    part = await gateway.ask("GET", location, {"range": "bytes=5-"})
    assert (part.status, part.body, part.headers["content-range"]) == (206, b"audio", "bytes 5-9/10")


async def test_audio_that_is_not_there_yet(ada: Caller) -> None:
    generation_id = (await ada.add_generation()).generation_id
    assert (await ada.ask("GET", f"/api/generations/{generation_id}/audio")).status == 404


async def test_regenerate_tells_what_to_fill_in_and_makes_nothing(ada: Caller) -> None:
    said = '50% off & more? (it\'s "new")\n~Süß \U0001f600!*'
    new = await ada.add_generation(b"audio", said)
    answer = await ada.ask("POST", f"/api/generations/{new.generation_id}/regenerate")
    assert answer.status == 200
    assert answer.json() == {
        "voice_id": str(new.voice_id),
        "text": said,
        "language": new.language,
        # as encodeURIComponent writes it
        "redirect_url": f"/generate?voice={new.voice_id}"
        "&text=50%25%20off%20%26%20more%3F%20(it's%20%22new%22)%0A~S%C3%BC%C3%9F%20%F0%9F%98%80!*"
        f"&language={new.language}",
    }
    assert len(await texts(ada)) == 1


async def test_regenerate_without_its_voice_is_400(gateway: Gateway, ada: Caller) -> None:
    """Deleted here, or, as in v1, gone from the row as well."""
    new = await ada.add_generation(b"audio")
    regenerate = f"/api/generations/{new.generation_id}/regenerate"
    await ada.ask("DELETE", f"/api/voices/{new.voice_id}")
    assert (await ada.ask("POST", regenerate)).status == 400
    script = "delete from public.voices where id = :'id'"
    await anyio.to_thread.run_sync(lambda: gateway.database.run(script, id=str(new.voice_id)))
    answer = await ada.ask("POST", regenerate)
    assert answer.status == 400
    assert "deleted" in answer.json()["detail"]


async def test_anothers_generation_is_not_there(ada: Caller, bob: Caller) -> None:
    generation_id = (await ada.add_generation(b"some audio")).generation_id
    assert await texts(bob) == []
    assert (await bob.ask("GET", f"/api/generations/{generation_id}/audio")).status == 404
    assert (await bob.ask("GET", f"/api/generations/{generation_id}/stream")).status == 404
    assert (await bob.ask("POST", f"/api/generations/{generation_id}/regenerate")).status == 404
    assert (await bob.ask("DELETE", f"/api/generations/{generation_id}")).status == 404
    assert await texts(ada) == ["Good morning."]


async def test_delete_removes_row_and_audio(gateway: Gateway, ada: Caller) -> None:
    generation_id = (await ada.add_generation(b"some audio")).generation_id
    answer = await ada.ask("DELETE", f"/api/generations/{generation_id}")
    assert (answer.status, answer.json()) == (200, {"ok": True})
    assert await texts(ada) == []
    assert await gateway.services.objects.head("generations", f"{ada.id}/{generation_id}.mp3") is None
    assert (await ada.ask("DELETE", f"/api/generations/{generation_id}")).status == 404


async def test_deleting_a_running_generation_cancels_it_and_frees_the_guard(gateway: Gateway, ada: Caller) -> None:
    voice = await ada.add_voice()
    accepted = (await ada.generate(voice.id)).json()
    await gateway.stage.say(b"one")
    assert (await ada.ask("DELETE", f"/api/generations/{accepted['generation_id']}")).status == 200
    assert gateway.services.supervisor.get(UUID(accepted["generation_id"])) is None
    task = (await ada.ask("GET", f"/api/tasks/{accepted['task_id']}")).json()
    assert task["status"] == "cancelled"
    assert (await ada.generate(voice.id)).status == 200


async def test_deleting_a_generation_that_nobody_runs_ends_its_task(ada: Caller) -> None:
    new = await ada.add_generation()
    assert (await ada.ask("DELETE", f"/api/generations/{new.generation_id}")).status == 200
    task = (await ada.ask("GET", f"/api/tasks/{new.task_id}")).json()
    assert task["status"] == "cancelled"
