"""`utter usage`, as a process, on a real database."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from bench.stack import Stack
from storage import generations, voices
from storage.database import Database
from tests.support import creates
from tests.support.cli import STAGING, Ran, plain, refusal, utter, utter_alone
from tests.support.postgres import TestDatabase
from tests.support.rows import completion, new_create, new_generation, new_voice

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

NOTHING = {"generations": 0, "characters": 0, "clones": 0, "designs": 0, "unknown_creates": 0, "creates_usd": 0.0}


def usage(database: TestDatabase, *arguments: object) -> Ran:
    ran = utter_alone("usage", *arguments, environment={**STAGING, "DATABASE_URL": database.gateway_url})
    assert STAGING["DASHSCOPE_API_KEY"] not in ran.stdout + ran.stderr
    return ran


def report(ran: Ran) -> dict[str, Any]:
    assert ran.exit_code == 0, ran
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


async def speak(opened: Database, owner: UUID) -> UUID:
    """A generation of 13 characters, completed."""
    voice = new_voice(owner)
    new = new_generation(owner, voice.id)
    async with opened.as_user(owner) as tx:
        await voices.insert_voice(tx, voice)
        await generations.start_generation(tx, new)
    async with opened.as_service() as tx:
        assert await generations.complete_generation(tx, completion(new))
    return new.generation_id


async def test_by_user_and_day_with_what_is_billed(database: TestDatabase) -> None:
    ada, bob = database.create_user(), database.create_user()
    lost = new_create(bob)
    async with Database.open(database.gateway_url, max_connections=1) as opened:
        kept = [await speak(opened, ada) for _ in range(2)]
        await creates.make(opened, new_create(ada, "vc"))
        await creates.make(opened, new_create(bob, "vd"))
        await creates.claim(opened, lost)
        await creates.fail(opened, lost.id, "ambiguous")
        async with opened.as_user(ada) as tx:
            assert await generations.delete_generation(tx, ada, kept[0]), "paid for all the same"
    today = datetime.now(UTC).date()
    found = report(usage(database, "--json"))
    assert (found["from_day"], found["until_day"]) == (str(today.replace(day=1)), str(today))
    rows = {row["user_id"]: row for row in found["rows"]}
    assert rows == {
        str(ada): {**row_of(ada, today), "generations": 2, "characters": 26, "clones": 1},
        str(bob): {**row_of(bob, today), "designs": 1, "unknown_creates": 1},
    }
    assert found["totals"] == {
        "generations": 2,
        "characters": 26,
        "clones": 1,
        "designs": 1,
        "unknown_creates": 1,
        "creates_usd": 0.21,
    }
    assert [row["user_id"] for row in report(usage(database, "--json", "--user", ada))["rows"]] == [str(ada)]
    yesterday = today - timedelta(days=1)
    before = report(usage(database, "--json", "--from", yesterday, "--until", yesterday))
    assert (before["rows"], before["totals"]) == ([], NOTHING)
    ran = usage(database)
    header, *lines = [line.split() for line in ran.stdout.splitlines()]
    assert header == ["day", "user_id", "generations", "characters", "clones", "designs", "unknown_creates"]
    assert [str(today), str(ada), "2", "26", "1", "0", "0"] in lines
    assert "1 clones and 1 designs (0.21 USD)" in ran.stderr


def row_of(user: UUID, day: object) -> dict[str, object]:
    counts = {name: value for name, value in NOTHING.items() if name != "creates_usd"}
    return {"user_id": str(user), "day": str(day), **counts}


def test_the_database_of_a_running_demo(stack: Stack) -> None:
    """Whose two voices were made through the provider's API, and are nobody's creates."""
    found = report(utter_alone("usage", "--json", "--data-dir", stack.data_dir, environment={}))
    assert found["totals"]["generations"] == sum(row["generations"] for row in found["rows"])


def test_what_is_no_day_or_user() -> None:
    for arguments, words in (
        (("--from", "yesterday"), "Give --from as 2026-01-31"),
        (("--from", "2026-02-01", "--until", "2026-01-31"), "not after --until"),
        (("--user", "ada"), "must be a UUID"),
    ):
        assert words in refusal(utter("usage", *arguments, environment=STAGING)), arguments


def test_a_database_that_is_away() -> None:
    said = refusal(utter_alone("usage", environment=STAGING))
    assert "Check DATABASE_URL" in said
    assert "hunter2" not in said


def test_help_shows_how() -> None:
    assert "utter usage --json" in plain(utter("usage", "--help").stdout)
