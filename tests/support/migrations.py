"""Migrations under test: folders of some of them, the catalogue as text, and rows as v1 code writes them."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from storage.migrate import MIGRATIONS
from storage.programs import programs
from tests.support.postgres import TestDatabase

NAMES = sorted(file.name for file in MIGRATIONS.glob("*.sql"))

ANSWER_SECONDS = 30.0
"""Longest wait for the database, which nobody else uses: a test that waits for a lock fails instead of hanging."""


def catalogue(database: TestDatabase, *options: str) -> str:
    """The whole schema as SQL, grants and comments included, without pg_dump's random guard word."""
    return catalogue_of(database.admin_url, *options)


def catalogue_of(admin_url: str, *options: str) -> str:
    """As `catalogue`, of any database."""
    command = [str(programs() / "pg_dump"), "--schema-only", *options, admin_url]
    dump = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    return re.sub(r"^\\(un)?restrict .*$", "", dump, flags=re.MULTILINE)


def up_to(last: str, tmp_path: Path) -> Path:
    """A folder with the migrations up to this one."""
    folder = tmp_path / last
    folder.mkdir()
    for name in NAMES:
        if name <= last:
            shutil.copy(MIGRATIONS / name, folder)
    return folder


class Sql:
    """A superuser's connection for one test."""

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        self._connection = connection
        self.execute = connection.execute

    async def value(self, sql: str, *values: object) -> Any:
        return await self._connection.fetchval(sql, *values)

    async def row(self, sql: str, *values: object) -> dict[str, Any]:
        found = await self._connection.fetchrow(sql, *values)
        assert found is not None
        return dict(found)


@asynccontextmanager
async def connected(database: TestDatabase) -> AsyncIterator[Sql]:
    connection = await asyncpg.connect(database.admin_url, timeout=ANSWER_SECONDS, command_timeout=ANSWER_SECONDS)
    try:
        yield Sql(connection)
    finally:
        await connection.close(timeout=ANSWER_SECONDS)


async def add_v1_rows(sql: Sql, status_now: str = "completed") -> tuple[UUID, UUID, UUID, UUID]:
    """A user with one of each, by the statements of v1 code."""
    user = await sql.value("insert into auth.users default values returning id")
    voice = await sql.value(
        "insert into public.voices (user_id, name, reference_object_key, reference_transcript, source)"
        " values ($1, 'Ada', 'k', 'words', 'uploaded') returning id",
        user,
    )
    generation = await sql.value(
        "insert into public.generations (user_id, voice_id, text, status) values ($1, $2, 'hello', $3) returning id",
        user,
        voice,
        status_now,
    )
    task = await sql.value(
        "insert into public.tasks (user_id, type, status, generation_id, voice_id, metadata)"
        " values ($1, 'generate', $4, $2, $3, '{\"text_length\": 5}') returning id",
        user,
        generation,
        voice,
        status_now,
    )
    return user, voice, generation, task
