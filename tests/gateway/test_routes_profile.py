"""`PATCH /profile` (v1 contract 1.2): a row of its table for each test."""

from __future__ import annotations

from typing import Any

import anyio
import msgspec
import pytest

from tests.support.exchange import Exchange
from tests.support.gateway import Caller, Gateway

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

FIELDS = ("handle", "display_name", "avatar_url")

NO_TEXTS: tuple[object, ...] = (5, True, False, 0, [], {}, ["ada"], 1.5)

GOOD = {"handle": "Ada_1815", "display_name": "Ada Lovelace", "avatar_url": "https://example.com/ada.png"}


async def patch(caller: Caller, body: object) -> Exchange:
    return await caller.ask("PATCH", "/api/profile", body=msgspec.json.encode(body))


async def profile(caller: Caller) -> dict[str, Any]:
    found: dict[str, Any] = (await caller.ask("GET", "/api/me")).json()["profile"]
    return found


async def test_all_three_fields_are_written(ada: Caller) -> None:
    before = await profile(ada)
    answer = await patch(ada, GOOD)
    assert answer.status == 200
    assert set(answer.json()) == {"profile"}
    after = answer.json()["profile"]
    assert {name: after[name] for name in FIELDS} == GOOD
    assert after == await profile(ada)
    assert list(after) == list(before)
    assert after["updated_at"] > before["updated_at"]
    unchanged = set(before) - {*FIELDS, "updated_at"}
    assert {name: after[name] for name in unchanged} == {name: before[name] for name in unchanged}


@pytest.mark.parametrize("name", FIELDS)
async def test_one_field_leaves_the_others(ada: Caller, name: str) -> None:
    await patch(ada, GOOD)
    after = (await patch(ada, {name: None})).json()["profile"]
    assert {field: after[field] for field in FIELDS} == {**GOOD, name: None}


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("blank", [None, "", "   ", "\ufeff\u00a0"], ids=repr)
async def test_null_and_blank_clear(ada: Caller, name: str, blank: str | None) -> None:
    await patch(ada, GOOD)
    assert (await patch(ada, {name: blank})).json()["profile"][name] is None


@pytest.mark.parametrize(
    ("name", "value", "stored"),
    [
        ("handle", "abc", "abc"),
        ("handle", "a" * 30, "a" * 30),
        ("handle", " ada ", "ada"),
        ("display_name", "x", "x"),
        ("display_name", "x" * 100, "x" * 100),
        ("display_name", "\U0001f600" * 50, "\U0001f600" * 50),
        ("display_name", "%_\\'; drop table", "%_\\'; drop table"),
        ("avatar_url", "mailto:ada@example.com", "mailto:ada@example.com"),
        ("avatar_url", " https://example.com ", "https://example.com"),
    ],
)
async def test_what_is_allowed(ada: Caller, name: str, value: str, stored: str) -> None:
    answer = await patch(ada, {name: value})
    assert (answer.status, answer.json()["profile"][name]) == (200, stored)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("handle", "ab"),
        ("handle", "a" * 31),
        ("handle", "ada-lovelace"),
        ("handle", "ada lovelace"),
        ("handle", "adä"),
        ("handle", "ada\u0661"),
        ("handle", "ada\nx"),
        ("display_name", "x" * 101),
        ("display_name", "\U0001f600" * 51),
        ("avatar_url", "example.com/ada.png"),
        ("avatar_url", "/ada.png"),
        ("avatar_url", "//example.com/ada.png"),
        ("avatar_url", "https://"),
        ("avatar_url", "http://exa mple.com"),
        *[(name, wrong) for name in FIELDS for wrong in NO_TEXTS],
        *[(name, "a\0b") for name in FIELDS],
    ],
    ids=repr,
)
async def test_what_is_refused_changes_nothing(ada: Caller, name: str, value: object) -> None:
    await patch(ada, GOOD)
    answer = await patch(ada, {**dict.fromkeys(FIELDS), name: value})
    assert answer.status == 400
    assert name in answer.json()["detail"]
    assert answer.headers["x-utter-error-category"] == "validation"
    after = await profile(ada)
    assert {field: after[field] for field in FIELDS} == GOOD


@pytest.mark.parametrize("body", [b"{}", b"[]", b'"text"', b"null", b"0", b"", b"{", b'{"credits_remaining": 9}'])
async def test_nothing_to_change(ada: Caller, body: bytes) -> None:
    assert (await ada.ask("PATCH", "/api/profile", body=body)).status == 400


async def test_other_columns_are_ignored(ada: Caller, bob: Caller) -> None:
    wanted = {"credits_remaining": 1_000_000, "subscription_tier": "gold", "id": str(bob.id), "display_name": "Ada"}
    after = (await patch(ada, wanted)).json()["profile"]
    assert (after["credits_remaining"], after["subscription_tier"], after["id"]) == (100, "free", str(ada.id))
    assert (await profile(bob))["display_name"] is None


async def test_a_taken_handle_is_400(ada: Caller, bob: Caller) -> None:
    await patch(ada, {"handle": "taken"})
    answer = await patch(bob, {"handle": "taken", "display_name": "Bob"})
    assert answer.status == 400
    assert "taken" in answer.json()["detail"]
    assert (await profile(bob))["display_name"] is None
    assert (await patch(ada, {"handle": "taken"})).status == 200  # one's own


async def test_a_missing_profile_is_500(gateway: Gateway, ada: Caller) -> None:
    script = "delete from public.profiles where id = :'id'"
    await anyio.to_thread.run_sync(lambda: gateway.database.run(script, id=str(ada.id)))
    answer = await patch(ada, GOOD)
    assert answer.status == 500
    assert isinstance(answer.json()["detail"], str)


async def test_nobody_is_asked_before_they_are_signed_in(gateway: Gateway) -> None:
    for mount in ("/api", "/functions/v1/api"):
        assert (await gateway.ask("PATCH", f"{mount}/profile", body=b"{ not json")).status == 401
