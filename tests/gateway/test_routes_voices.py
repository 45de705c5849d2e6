"""Voices over HTTP (v1 contract 1.3 and appendix A)."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.support.gateway import Caller, Gateway

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


async def names(caller: Caller, query: str = "") -> list[str]:
    answer = await caller.ask("GET", f"/api/voices{query}")
    assert answer.status == 200
    return [voice["name"] for voice in answer.json()["voices"]]


async def test_newest_first_with_the_additive_fields(ada: Caller) -> None:
    await ada.add_voice(name="old")
    new = await ada.add_voice(name="new")
    answer = (await ada.ask("GET", "/functions/v1/api/voices")).json()
    assert [voice["name"] for voice in answer["voices"]] == ["new", "old"]
    assert answer["pagination"] == {"page": 1, "per_page": 20, "total": 2, "pages": 1}
    first = answer["voices"][0]
    assert first["id"] == str(new.id)
    assert (first["tts_provider"], first["provider_voice_kind"]) == ("qwen", "vc")
    assert not {"user_id", "reference_object_key"} & set(first)


async def test_nobody_sees_anothers_voices(ada: Caller, bob: Caller) -> None:
    voice = await ada.add_voice()
    assert await names(bob) == []
    assert (await bob.ask("GET", f"/api/voices/{voice.id}/preview")).status == 404
    assert (await bob.ask("DELETE", f"/api/voices/{voice.id}")).status == 404
    assert await names(ada) == ["Ada"]


async def test_paging(ada: Caller) -> None:
    for number in range(3):
        await ada.add_voice(name=f"{number}")
    assert await names(ada, "?per_page=2") == ["2", "1"]
    assert await names(ada, "?per_page=2&page=2") == ["0"]
    assert await names(ada, "?per_page=0x1&page=1e0") == ["2"]
    assert await names(ada, "?per_page=abc&page=-1") == ["2", "1", "0"]
    page = (await ada.ask("GET", "/api/voices?per_page=1000&page=2.9")).json()
    assert page["pagination"] == {"page": 2, "per_page": 100, "total": 3, "pages": 1}


@pytest.mark.parametrize("page", ["4", "1e15", "1e300"])
async def test_a_page_past_the_end_is_empty(ada: Caller, page: str) -> None:
    await ada.add_voice()
    assert await names(ada, f"?page={page}") == []


async def test_search_is_literal_and_ignores_case(ada: Caller) -> None:
    for name in ("100% Ada", "under_score", "back\\slash", "Ada*"):
        await ada.add_voice(name=name)
    assert await names(ada, "?search=%25") == ["100% Ada"]
    assert await names(ada, "?search=_") == ["under_score"]
    assert await names(ada, "?search=%5C") == ["back\\slash"]
    assert await names(ada, "?search=*") == ["Ada*"]
    assert await names(ada, "?search=%20ADA%20") == ["Ada*", "100% Ada"]
    assert len(await names(ada, "?search=%20%20")) == 4


async def test_source(ada: Caller) -> None:
    await ada.add_voice(name="cloned")
    await ada.add_voice(name="made up", source="designed", provider_voice_kind="vd")
    assert await names(ada, "?source=designed") == ["made up"]
    assert await names(ada, "?source=uploaded") == ["cloned"]
    assert len(await names(ada, "?source=elsewhere")) == 2


@pytest.mark.parametrize("field", ["search", "source"])
async def test_nul_in_a_filter_is_400(ada: Caller, field: str) -> None:
    answer = await ada.ask("GET", f"/api/voices?{field}=a%00b")
    assert answer.status == 400
    assert "NUL" in answer.json()["detail"]
    assert answer.headers["x-utter-error-category"] == "validation"


async def test_the_preview_leads_to_the_recording(gateway: Gateway, ada: Caller) -> None:
    voice = await ada.add_voice()
    assert voice.reference_object_key is not None
    await gateway.services.objects.put("references", voice.reference_object_key, b"RIFF and so on", "audio/wav")
    answer = await ada.ask("GET", f"/api/voices/{voice.id}/preview")
    assert (answer.status, answer.headers["cache-control"]) == (302, "no-store")
    base, location = "http://127.0.0.1:8080", answer.headers["location"]
    assert location.startswith(f"{base}/api/objects/references/{voice.reference_object_key}?token=")
    for _ in range(2):
        recording = await gateway.ask("GET", location.removeprefix(base))
        assert (recording.status, recording.body) == (200, b"RIFF and so on")
        assert recording.headers["content-type"] == "audio/wav"


async def test_links_name_what_a_trusted_client_used(ada: Caller) -> None:
    voice = await ada.add_voice()
    answer = await ada.ask("GET", f"/api/voices/{voice.id}/preview", {"host": "localhost:5173"})
    assert answer.headers["location"].startswith("http://localhost:5173/api/objects/")


async def test_a_voice_without_recording_has_no_preview(ada: Caller) -> None:
    voice = await ada.add_voice(reference_object_key=None)
    assert (await ada.ask("GET", f"/api/voices/{voice.id}/preview")).status == 404


async def test_nothing_outside_the_owners_folder_is_signed(ada: Caller, bob: Caller) -> None:
    voice = await ada.add_voice(reference_object_key=f"{bob.id}/{uuid4()}/reference.wav")
    assert (await ada.ask("GET", f"/api/voices/{voice.id}/preview")).status == 404


async def test_delete_hides_the_voice_and_can_be_repeated(ada: Caller) -> None:
    voice = await ada.add_voice()
    for _ in range(2):
        answer = await ada.ask("DELETE", f"/api/voices/{voice.id}")
        assert (answer.status, answer.json()) == (200, {"ok": True})
    assert await names(ada) == []
    assert (await ada.ask("GET", f"/api/voices/{voice.id}/preview")).status == 404
    assert (await ada.generate(voice.id)).status == 404
