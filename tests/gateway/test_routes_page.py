"""What the page is told before anybody is signed in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.gateway import Gateway, open_gateway
from tests.support.postgres import TestDatabase

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

PROJECT = {"SUPABASE_URL": "https://project.supabase.co", "SUPABASE_ANON_KEY": "anon-key-of-the-project"}

NO_ACCOUNTS = {"method": "token", "supabase_url": "", "supabase_anon_key": ""}


async def test_at_qwen_a_voice_costs(gateway: Gateway) -> None:
    answer = await gateway.ask("GET", "/api/page")
    assert answer.status == 200
    facts = answer.json()
    assert (facts["clone_price_usd"], facts["design_price_usd"]) == (0.01, 0.2)
    assert facts["recording"] == {
        "max_bytes": 7_499_982,
        "min_seconds": 3.0,
        "max_seconds": 60.0,
        "advised_seconds": [10.0, 20.0],
        "sample_rate": 24_000,
    }


async def test_prices_follow_the_vendors_list(database: TestDatabase, tmp_path: Path) -> None:
    prices = {"QWEN_CLONE_PRICE_USD": "0.03", "QWEN_DESIGN_PRICE_USD": "0.4"}
    async with open_gateway(database, tmp_path, **prices) as gateway:
        facts = (await gateway.ask("GET", "/api/page")).json()
    assert (facts["clone_price_usd"], facts["design_price_usd"]) == (0.03, 0.4)


async def test_at_modal_a_voice_is_a_copy(database: TestDatabase, tmp_path: Path) -> None:
    async with open_gateway(database, tmp_path, TTS_PROVIDER_MODE="modal") as gateway:
        facts = (await gateway.ask("GET", "/api/page")).json()
    assert (facts["clone_price_usd"], facts["design_price_usd"]) == (0, 0)


async def test_this_machines_own_page_signs_itself_in(database: TestDatabase, tmp_path: Path) -> None:
    async with open_gateway(database, tmp_path, **PROJECT) as gateway:
        own = await gateway.ask("GET", "/api/page", {"host": "127.0.0.1:8080"})
        others = await gateway.ask("GET", "/api/page", {"host": "utter.example"})
    assert own.json()["sign_in"]["method"] == "development"
    assert others.json()["sign_in"] == {
        "method": "supabase",
        "supabase_url": "https://project.supabase.co",
        "supabase_anon_key": "anon-key-of-the-project",
    }


@pytest.mark.parametrize("given", [{}, {"SUPABASE_URL": PROJECT["SUPABASE_URL"]}], ids=["none", "without its key"])
async def test_without_a_project_a_token_is_asked_for(
    database: TestDatabase, tmp_path: Path, given: dict[str, str]
) -> None:
    async with open_gateway(database, tmp_path, UTTER_DEV_TOKENS="false", **given) as gateway:
        facts = (await gateway.ask("GET", "/api/page", {"host": "127.0.0.1:8080"})).json()
    assert facts["sign_in"] == NO_ACCOUNTS
