"""`utter orphans`, as a process, on a real database."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.stack import Stack
from gateway.cli.orphans import REASONS
from storage.database import Database
from tests.support import creates
from tests.support.cli import STAGING, Ran, refusal, utter, utter_alone
from tests.support.postgres import TestDatabase
from tests.support.rows import new_create

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


def orphans(database: TestDatabase, *arguments: str) -> Ran:
    ran = utter_alone("orphans", *arguments, environment={**STAGING, "DATABASE_URL": database.gateway_url})
    for name, secret in STAGING.items():
        if name not in {"UTTER_ENV", "DATABASE_URL"}:
            assert secret not in ran.stdout + ran.stderr
    return ran


async def test_nothing_is_listed_where_nothing_is_lost(database: TestDatabase) -> None:
    ran = orphans(database)
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "", "No orphans.\n")
    assert orphans(database, "--json").stdout == "[]\n"


async def test_what_was_paid_for_and_lost_is_listed_with_all_that_finds_it(database: TestDatabase) -> None:
    owner = database.create_user()
    unknown, unused = new_create(owner), new_create(owner)
    async with Database.open(database.gateway_url, max_connections=1) as opened:
        await creates.claim(opened, unknown)
        await creates.fail(opened, unknown.id, "ambiguous")
        await creates.make(opened, unused)
        made = await creates.read(opened, unused)
    listed: list[dict[str, Any]] = json.loads(orphans(database, "--json").stdout)
    rows = {row["id"]: row for row in listed}
    assert set(rows) == {str(unknown.id), str(unused.id)}
    assert (rows[str(unknown.id)]["reason"], rows[str(unknown.id)]["provider_voice_id"]) == ("ambiguous", None)
    assert rows[str(unused.id)]["provider_voice_id"] == made.provider_voice_id
    assert rows[str(unused.id)]["request_id"] == made.request_id
    assert {row["user_id"] for row in listed} == {str(owner)}
    assert {row["reason"] for row in listed} <= set(REASONS)
    ran = orphans(database)
    assert len(ran.stdout.splitlines()) == 2
    assert str(made.provider_voice_id) in ran.stdout
    assert "(id unknown)" in ran.stdout
    assert REASONS["ambiguous"] in ran.stdout
    assert "2 orphans" in ran.stderr


def test_the_database_of_a_running_demo(stack: Stack) -> None:
    ran = utter_alone("orphans", "--json", "--data-dir", stack.data_dir, environment={})
    assert ran.exit_code == 0
    assert isinstance(json.loads(ran.stdout), list)


def test_a_database_that_is_away(tmp_path: Path) -> None:
    said = refusal(utter_alone("orphans", environment=STAGING))
    assert "Check DATABASE_URL" in said
    assert "hunter2" not in said
    assert "No `utter dev` runs" in refusal(utter_alone("orphans", "--data-dir", tmp_path, environment={}))


def test_a_database_that_was_never_migrated(empty_database: TestDatabase) -> None:
    said = refusal(orphans(empty_database))
    assert "`utter migrate`" in said
    assert "Traceback" not in said


def test_help_shows_how() -> None:
    assert "utter orphans --json" in utter("orphans", "--help").stdout
