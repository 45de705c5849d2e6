"""v1's code on a migrated database: its statements, by its roles, do what they did before (v1 contract, section 3)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from storage.migrate import BASELINE, migrate, rollback
from tests.support.migrations import NAMES, Sql, add_v1_rows, connected, up_to
from tests.support.postgres import TestDatabase

pytestmark = [pytest.mark.integration, pytest.mark.anyio]


@pytest.fixture
async def sql(empty_database: TestDatabase) -> AsyncIterator[Sql]:
    async with connected(empty_database) as found:
        yield found


@asynccontextmanager
async def acting(sql: Sql, role: str, user: UUID | None = None) -> AsyncIterator[None]:
    """As PostgREST does it."""
    await sql.value("select set_config('request.jwt.claims', $1, false)", f'{{"sub": "{user}"}}' if user else "")
    await sql.execute(f"set role {role}")
    try:
        yield
    finally:
        await sql.execute("reset role")


async def refused(sql: Sql, statement: str, *values: object) -> str:
    """The SQLSTATE it fails with."""
    with pytest.raises(asyncpg.PostgresError) as caught:
        await sql.execute(statement, *values)
    return str(caught.value.sqlstate)


async def clone_and_generate(sql: Sql, user: UUID) -> tuple[UUID, UUID, UUID]:
    """What the functions of v1 write until a job runs (contract 1.4, 1.6)."""
    voice = await sql.value(
        "insert into public.voices (id, user_id, name, reference_object_key, reference_transcript, language, source)"
        " values (gen_random_uuid(), $1, 'Ada', 'k', 'words', 'English', 'uploaded')"
        " returning id",
        user,
    )
    generation = await sql.value(
        "insert into public.generations (user_id, voice_id, text, language, status)"
        " values ($1, $2, 'hello', 'English', 'processing') returning id",
        user,
        voice,
    )
    task = await sql.value(
        "insert into public.tasks (user_id, type, status, generation_id, voice_id, metadata)"
        " values ($1, 'generate', 'pending', $2, $3, '{}') returning id",
        user,
        generation,
        voice,
    )
    await sql.execute("update public.tasks set modal_job_id = 'fc-1', status = 'processing' where id = $1", task)
    return voice, generation, task


async def poll_to_the_end(sql: Sql, user: UUID, generation: UUID, task: UUID) -> list[object]:
    """Contract 2.3: the polls are counted, the audio is stored once, the task gets its result."""
    counter = "select public.increment_task_modal_poll_count($1, $2)"
    store = (
        "update public.generations set status = 'completed', audio_object_key = $2, completed_at = now(),"
        " generation_time_seconds = 1 where id = $1 and audio_object_key is null"
    )
    return [
        await sql.value(counter, task, user),
        await sql.value(counter, task, user),
        await sql.execute(store, generation, f"{user}/{generation}.wav"),
        await sql.execute(store, generation, "another key"),
        await sql.execute(
            "update public.tasks set status = 'completed', result = '{\"audio_url\": \"/a\"}', completed_at = now(),"
            " error = null where id = $1 and user_id = $2",
            task,
            user,
        ),
    ]


async def look_around(sql: Sql, user: UUID, stranger: UUID) -> list[object]:
    """What a browser's role is shown, and what it is refused (contract 1.3, 1.7, 3.4)."""
    async with acting(sql, "authenticated", user):
        seen = [
            await sql.value("select count(*) from public.voices where name ilike '%ad%'"),
            await sql.value(
                "select voice.name from public.generations generation"
                " left join public.voices voice on voice.id = generation.voice_id"
                " order by generation.created_at desc limit 1"
            ),
            await sql.value("select result ->> 'audio_url' from public.tasks where status = 'completed'"),
            await sql.execute("update public.profiles set display_name = 'Ada'"),
            await sql.execute("delete from public.voices where user_id = $1", stranger),
            await refused(sql, "update public.voices set name = 'Eve'"),
            await refused(sql, "update public.generations set status = 'failed'"),
            await refused(sql, "insert into public.tasks (user_id, type) values ($1, 'generate')", user),
        ]
    async with acting(sql, "anon"):
        seen.append(await sql.value("select count(*) from public.generations"))
        seen.append(await refused(sql, "delete from public.voices"))
    return seen


async def play(sql: Sql) -> list[object]:
    """A day of v1: what its statements answer, ids left out."""
    user = await sql.value("insert into auth.users default values returning id")
    stranger, *_ = await add_v1_rows(sql)
    async with acting(sql, "service_role"):
        voice, generation, task = await clone_and_generate(sql, user)
        second = "insert into public.tasks (user_id, type) values ($1, 'generate')"
        answers: list[object] = [await refused(sql, second, user)]
        answers += await poll_to_the_end(sql, user, generation, task)
        answers.append(await sql.execute(second, user))
    answers += await look_around(sql, user, stranger)
    async with acting(sql, "service_role"):
        answers.append(await sql.execute("delete from public.voices where id = $1 and user_id = $2", voice, user))
        answers.append(await sql.value("select voice_id from public.generations where id = $1", generation))
        answers.append(await sql.execute("delete from public.tasks where user_id = $1", user))
        answers.append(await sql.execute("delete from public.generations where user_id = $1", user))
    return answers


PLAYED = [
    "23505",
    *(1, 2, "UPDATE 1", "UPDATE 0", "UPDATE 1", "INSERT 0 1"),
    *(1, "Ada", "/a", "UPDATE 1", "DELETE 0", "42501", "42501", "42501", 0, "42501"),
    *("DELETE 1", None, "DELETE 2", "DELETE 1"),
]


@pytest.mark.parametrize("last", NAMES)
async def test_v1s_statements_answer_the_same_after_every_migration(
    empty_database: TestDatabase, sql: Sql, tmp_path: Path, last: str
) -> None:
    migrate(empty_database.admin_url, up_to(last, tmp_path))
    assert await play(sql) == PLAYED


async def test_v1s_statements_answer_the_same_after_the_way_back(
    empty_database: TestDatabase, sql: Sql, tmp_path: Path
) -> None:
    migrate(empty_database.admin_url, up_to(BASELINE, tmp_path))
    assert await play(sql) == PLAYED
    migrate(empty_database.admin_url)
    for _ in NAMES[1:]:
        rollback(empty_database.admin_url)
    assert await play(sql) == PLAYED
