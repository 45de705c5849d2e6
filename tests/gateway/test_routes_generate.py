"""Both generate routes (v1 contract 1.6, product section 4)."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID, uuid4

import msgspec
import pytest

from gateway.auth import mint_token
from protocol.errors import Fault
from tests.support.gateway import TOKEN_SECRET, Caller, Gateway, open_gateway, speech
from tests.support.postgres import TestDatabase

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

ROUTES = ("generate", "generate/stream")


async def test_generate_answers_before_there_is_audio(gateway: Gateway, ada: Caller) -> None:
    voice = await ada.add_voice()
    answer = await ada.generate(voice.id, "Hello")
    assert answer.status == 200
    accepted = answer.json()
    assert set(accepted) == {
        *("task_id", "status", "is_long_running", "estimated_duration_minutes", "generation_id"),
    }
    assert accepted["status"] == "processing"
    assert accepted["is_long_running"] is True
    assert accepted["estimated_duration_minutes"] == 0.1
    assert answer.headers["x-utter-task-id"] == accepted["task_id"]
    assert answer.headers["x-utter-generation-id"] == accepted["generation_id"]
    assert answer.headers["x-utter-provider"] == "qwen"
    assert accepted["generation_id"] in answer.headers["x-utter-stream-url"]
    timings = answer.headers["server-timing"]
    assert "admission;dur=" in timings
    assert "database_begin;dur=" in timings
    assert "gateway;dur=" in timings
    running = gateway.services.supervisor.get(UUID(accepted["generation_id"]))
    assert running is not None
    assert running.log.size == 0


async def test_the_stream_holds_its_status_until_the_first_byte(gateway: Gateway, ada: Caller) -> None:
    voice = await ada.add_voice()
    async with ada.listening("/api/generate/stream", "POST", speech(voice.id, "Hello")) as stream:
        await gateway.stage.began()
        assert not stream.begun
        await gateway.stage.say(b"one")
        await stream.received(3)
        assert (stream.status, stream.body, stream.complete) == (200, b"one", False)
        assert stream.headers["content-type"] == "audio/mpeg"
        assert stream.headers["x-utter-provider"] == "qwen"
        running = gateway.services.supervisor.get(UUID(stream.headers["x-utter-generation-id"]))
        assert running is not None
        assert stream.headers["x-utter-task-id"] == str(running.task_id)
        assert stream.headers["x-utter-stream-url"].startswith("http://127.0.0.1:8080/api/generations/")
        await gateway.stage.say(b"two")
        await stream.received(6)
        gateway.stage.finish()
        await stream.over()
        assert (stream.body, stream.complete) == (b"onetwo", True)


async def test_a_failure_before_audio_is_an_error_answer(gateway: Gateway, ada: Caller) -> None:
    voice = await ada.add_voice()
    async with ada.listening("/api/generate/stream", "POST", speech(voice.id, "Hello")) as stream:
        await gateway.stage.began()
        gateway.stage.fail(Fault.KEY_REFUSED)
        await stream.over()
    assert stream.status == 502
    assert stream.headers["x-utter-error-category"] == "provider_rejected"
    assert "admission;dur=" in stream.headers["server-timing"]
    assert "DASHSCOPE" not in stream.json()["detail"]


async def test_a_failure_after_audio_never_looks_complete(gateway: Gateway, ada: Caller) -> None:
    voice = await ada.add_voice()
    async with ada.listening("/api/generate/stream", "POST", speech(voice.id, "Hello")) as stream:
        await gateway.stage.say(b"one")
        await stream.received(3)
        gateway.stage.fail(Fault.CONNECTION_LOST)
        await stream.over()
    assert (stream.status, stream.body, stream.complete) == (200, b"one", False)


async def test_a_client_that_leaves_does_not_end_the_generation(gateway: Gateway, ada: Caller) -> None:
    voice = await ada.add_voice()
    async with ada.listening("/api/generate/stream", "POST", speech(voice.id, "Hello")) as stream:
        await gateway.stage.say(b"one")
        await stream.received(3)
        generation_id = UUID(stream.headers["x-utter-generation-id"])
        stream.leave()
        await stream.over()
    running = gateway.services.supervisor.get(generation_id)
    assert running is not None
    await gateway.stage.say(b"two")
    gateway.stage.finish()
    await running.ended.wait()
    audio = await ada.ask("GET", f"/api/generations/{generation_id}/stream")
    assert (audio.status, audio.body) == (200, b"onetwo")


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("", 400),
        (" \ufeff\u3000\n", 400),
        ("...!?", 400),
        ("\u0000", 400),
        ("a\u0000b", 400),
        ("x" * 2001, 400),
        ("😀" * 1001, 400),
        (f"  {'x' * 2001}  ", 400),
    ],
)
async def test_texts_that_cannot_be_spoken(ada: Caller, route: str, text: str, status: int) -> None:
    voice = await ada.add_voice()
    answer = await ada.generate(voice.id, text, route)
    assert answer.status == status
    assert answer.headers["x-utter-error-category"] == "validation"
    assert answer.json()["detail"]


@pytest.mark.parametrize("text", ["a", "x" * 2000, f"  {'x' * 2000}\n", "שלום", "日本", "7"])
async def test_texts_that_can(ada: Caller, text: str) -> None:
    voice = await ada.add_voice()
    assert (await ada.generate(voice.id, text)).status == 200


@pytest.mark.parametrize("route", ROUTES)
async def test_the_cap_names_its_number(database: TestDatabase, tmp_path: Path, route: str) -> None:
    async with open_gateway(database, tmp_path, QWEN_MAX_TEXT_CHARS="5") as short:
        caller = await short.user()
        voice = await caller.add_voice()
        answer = await caller.generate(voice.id, "123456", route)
    assert (answer.status, answer.json()["detail"]) == (400, "Text cannot exceed 5 characters")


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b'{"text": "Hi"}',
        b'{"voice_id": "x", "text": "Hi"}',
        b'{"voice_id": 7, "text": "Hi"}',
        b'{"voice_id": "6f1d2b3c-0000-4000-8000-000000000001", "text": "\\ud800"}',
        b'{"voice_id": "6f1d2b3c-0000-4000-8000-000000000001", "text": "\xff"}',
        b'{"voice_id": "6f1d2b3c-0000-4000-8000-000000000001", "text": ["Hi"]}',
    ],
)
async def test_bodies_that_cannot_be_used(ada: Caller, route: str, body: bytes) -> None:
    answer = await ada.ask("POST", f"/api/{route}", body=body)
    assert answer.status == 400
    assert set(answer.json()) == {"detail"}


@pytest.mark.parametrize("route", ROUTES)
async def test_a_language_that_is_not_spoken_is_400(ada: Caller, route: str) -> None:
    voice = await ada.add_voice()
    body = msgspec.json.encode({"voice_id": str(voice.id), "text": "Hi", "language": "Hindi"})
    answer = await ada.ask("POST", f"/api/{route}", body=body)
    assert answer.status == 400
    assert "Japanese" in answer.json()["detail"]


@pytest.mark.parametrize("route", ROUTES)
async def test_unknown_and_foreign_voices_are_404(ada: Caller, bob: Caller, route: str) -> None:
    foreign = await bob.add_voice()
    for voice_id in (uuid4(), foreign.id):
        assert (await ada.generate(voice_id, route=route)).status == 404


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "changes",
    [
        {"tts_provider": "modal"},
        {"provider_voice_id": None},
        {"provider_target_model": None},
        {"provider_target_model": "qwen3-tts-vc-realtime-1999-01-01"},
        {"provider_voice_kind": "vd"},
        {"provider_region": "cn"},
    ],
)
async def test_voices_that_the_provider_cannot_use_are_409(ada: Caller, route: str, changes: dict[str, object]) -> None:
    voice = await ada.add_voice(**changes)
    answer = await ada.generate(voice.id, route=route)
    assert answer.status == 409
    assert "x-utter-error-category" not in answer.headers


async def test_one_active_task_but_any_number_of_streams(gateway: Gateway, ada: Caller, bob: Caller) -> None:
    voice, other = await ada.add_voice(), await bob.add_voice()
    assert (await ada.generate(voice.id)).status == 200
    second = await ada.generate(voice.id)
    assert second.status == 409
    assert "in progress" in second.json()["detail"]
    assert (await bob.generate(other.id)).status == 200
    async with ada.listening("/api/generate/stream", "POST", speech(voice.id, "Hello")) as stream:
        await gateway.stage.began(3)
        await gateway.stage.say(b"one")
        await stream.received(3)
        assert stream.status == 200


@pytest.mark.parametrize("route", ROUTES)
async def test_a_deleted_user_is_401(gateway: Gateway, ada: Caller, route: str) -> None:
    voice = await ada.add_voice()
    gateway.database.run("delete from auth.users where id = :'id'", id=str(ada.id))
    assert (await ada.generate(voice.id, route=route)).status in {401, 404}
    nobody = {"authorization": f"Bearer {mint_token(TOKEN_SECRET, uuid4())}"}
    assert (await gateway.ask("POST", f"/api/{route}", nobody, speech(voice.id, "Hi"))).status in {401, 404}


@pytest.mark.parametrize("route", ROUTES)
async def test_nothing_new_is_begun_while_draining(gateway: Gateway, ada: Caller, route: str) -> None:
    voice = await ada.add_voice()
    gateway.services.supervisor.start_draining()
    answer = await ada.generate(voice.id, route=route)
    assert answer.status == 503
    assert answer.headers["retry-after"]


async def test_streams_can_be_switched_off_alone(database: TestDatabase, tmp_path: Path) -> None:
    async with open_gateway(database, tmp_path, ENABLE_GENERATE_STREAM="false") as off:
        caller = await off.user()
        voice = await caller.add_voice()
        refused = await caller.generate(voice.id, route="generate/stream")
        assert refused.status == 409
        assert "/api/generate" in refused.json()["detail"]
        assert (await caller.generate(voice.id)).status == 200


async def test_modal_mode_has_no_streams(database: TestDatabase, tmp_path: Path) -> None:
    """What it does instead is in tests/gateway/modal."""
    async with open_gateway(database, tmp_path, TTS_PROVIDER_MODE="modal") as modal:
        caller = await modal.user()
        voice = await caller.add_voice(tts_provider="modal")
        streamed = await caller.generate(voice.id, route="generate/stream")
        assert streamed.status == 409
        assert "poll" in streamed.json()["detail"]


async def test_a_refused_language_is_not_repeated_whatever_it_holds(ada: Caller) -> None:
    voice = await ada.add_voice()
    body = msgspec.json.encode({"voice_id": str(voice.id), "text": "Hello", "language": "x" * 10_000})
    answer = await ada.ask("POST", "/api/generate", body=body)
    assert (answer.status, answer.headers["x-utter-error-category"]) == (400, "validation")
    assert "English" in answer.json()["detail"]
    assert len(answer.body) < 500
