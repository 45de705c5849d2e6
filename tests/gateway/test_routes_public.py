"""health, ready, languages, me, transcriptions, dev/token (v1 contract 1.1 and 1.9, product sections 4 and 10)."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from uuid import uuid4

import pytest

from gateway.app import create_app
from gateway.auth import mint_token
from tests.support.exchange import request
from tests.support.gateway import TOKEN_SECRET, Caller, Gateway, open_gateway
from tests.support.postgres import TestDatabase

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

SAME_ORIGIN = {"sec-fetch-site": "same-origin", "origin": "http://127.0.0.1:8080"}


async def test_health(gateway: Gateway) -> None:
    for mount in ("/api", "/functions/v1/api"):
        answer = await gateway.ask("GET", f"{mount}/health")
        assert (answer.status, answer.json()) == (200, {"ok": True})


async def test_ready(gateway: Gateway) -> None:
    answer = await gateway.ask("GET", "/api/ready")
    assert (answer.status, answer.json()) == (200, {"ready": True, "degraded": []})


async def test_not_ready_while_draining(gateway: Gateway) -> None:
    gateway.services.supervisor.start_draining()
    answer = await gateway.ask("GET", "/api/ready")
    assert answer.status == 503
    assert "shutting down" in answer.json()["detail"]
    assert answer.headers["retry-after"]


async def test_not_ready_without_a_database(gateway: Gateway) -> None:
    gateway.database.server.run_script('drop database :"name" with (force)', name=gateway.database.name)
    try:
        answer = await gateway.ask("GET", "/api/ready")
    finally:
        gateway.database.server.run_script('create database :"name"', name=gateway.database.name)
    assert answer.status == 503
    assert "database" in answer.json()["detail"]


async def test_not_ready_until_the_demo_is(gateway: Gateway) -> None:
    waiting = dataclasses.replace(gateway.services, not_ready_reason=lambda: "The demo voices are being made.")
    answer = await request(create_app(waiting), "GET", "/api/ready")
    assert (answer.status, answer.json()["detail"]) == (503, "The demo voices are being made.")


async def test_a_store_that_is_away_is_degraded_and_no_more(gateway: Gateway, tmp_path: Path) -> None:
    objects = tmp_path / "objects"
    shutil.rmtree(objects, ignore_errors=True)
    objects.write_text("not a folder")
    answer = await gateway.ask("GET", "/api/ready")
    assert answer.status == 200
    assert answer.json()["ready"] is True
    assert len(answer.json()["degraded"]) == 1


async def test_languages(gateway: Gateway) -> None:
    answer = (await gateway.ask("GET", "/api/languages")).json()
    assert len(answer["languages"]) == 15
    assert answer["languages"][:3] == ["Auto", "English", "Chinese"]
    assert answer["default"] == "Auto"
    assert answer["provider"] == "qwen"
    assert answer["transcription"]["enabled"] is False
    assert "Hindi" in answer["languages"]
    assert "Hindi" not in answer["spoken_languages"]
    assert answer["capabilities"] == {
        "supports_generate": True,
        "supports_generate_stream": True,
        "default_generate_mode": "stream",
        "allow_generate_mode_toggle": False,
        "max_text_chars": 2000,
    }


async def test_capabilities_without_streams(database: TestDatabase, tmp_path: Path) -> None:
    async with open_gateway(database, tmp_path, ENABLE_GENERATE_STREAM="false", QWEN_MAX_TEXT_CHARS="600") as off:
        capabilities = (await off.ask("GET", "/api/languages")).json()["capabilities"]
    assert capabilities["supports_generate_stream"] is False
    assert capabilities["default_generate_mode"] == "task"
    assert capabilities["max_text_chars"] == 600


async def test_languages_name_the_mode(database: TestDatabase, tmp_path: Path) -> None:
    async with open_gateway(database, tmp_path, TTS_PROVIDER_MODE="modal") as modal:
        answer = (await modal.ask("GET", "/api/languages")).json()
    assert answer["provider"] == "modal"
    assert answer["capabilities"]["supports_generate"] is True
    assert answer["capabilities"]["supports_generate_stream"] is False


async def test_me(ada: Caller) -> None:
    answer = (await ada.ask("GET", "/api/me")).json()
    assert answer["signed_in"] is True
    assert answer["user"] == {"id": str(ada.id)}
    profile = answer["profile"]
    assert (profile["id"], profile["subscription_tier"], profile["credits_remaining"]) == (str(ada.id), "free", 100)
    assert profile["created_at"].endswith("+00:00")


@pytest.mark.parametrize("authorization", [None, "Bearer x", "Basic x"])
async def test_me_is_never_401(gateway: Gateway, authorization: str | None) -> None:
    answer = await gateway.ask("GET", "/api/me", {"authorization": authorization} if authorization else {})
    assert answer.status == 200
    assert answer.json() == {"signed_in": False, "user": None, "profile": None}


async def test_me_of_a_deleted_user(gateway: Gateway) -> None:
    headers = {"authorization": f"Bearer {mint_token(TOKEN_SECRET, uuid4())}"}
    assert (await gateway.ask("GET", "/api/me", headers)).json()["signed_in"] is False


async def test_transcription_is_not_offered(ada: Caller) -> None:
    assert (await ada.ask("POST", "/api/transcriptions")).status == 503


async def test_the_page_signs_itself_in(gateway: Gateway) -> None:
    answer = await gateway.ask("POST", "/api/dev/token", SAME_ORIGIN)
    assert answer.status == 200
    assert answer.json()["expires_in"] == 3600
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    user = gateway.services.authenticator.verify(f"Bearer {answer.json()['token']}")
    assert answer.json()["user"] == {"id": str(user.id)}


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site", "origin": "https://evil.example"},
        {"sec-fetch-site": "same-site", "origin": "http://127.0.0.1:9999"},
        {"host": "evil.example", "origin": "http://evil.example", "sec-fetch-site": "same-origin"},
        {"origin": "null"},
    ],
)
async def test_nobody_elses_page_signs_itself_in(gateway: Gateway, headers: dict[str, str]) -> None:
    answer = await gateway.ask("POST", "/api/dev/token", headers)
    assert answer.status == 404
    assert set(answer.json()) == {"detail"}


async def test_no_token_is_given_when_it_is_off(database: TestDatabase, tmp_path: Path) -> None:
    async with open_gateway(database, tmp_path, UTTER_DEV_TOKENS="false") as off:
        assert (await off.ask("POST", "/api/dev/token", SAME_ORIGIN)).status == 404
