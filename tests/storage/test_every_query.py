"""Every named query as another tenant's enemy would have it: without its owner filter, as `utter_api`.

Nothing here names a query. Each one is told by its SQL to be a call of a service function, an insert, or a statement
with an owner filter, and one that is none of them fails the test.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest

from schema.queries import Query
from schema.records import NewGeneration, NewLease, RequestKey
from storage import creates, generations, voices
from storage.database import Database, Transaction
from tests.support.migrations import Sql, connected
from tests.support.postgres import TestDatabase
from tests.support.queries import all_queries
from tests.support.rows import created, new_create, new_generation, new_voice

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

_SERVICE_CALL = re.compile(r"\butter\.\w+\(")
_TABLE = re.compile(r"\b(?:public|utter|auth)\.\w+")

ROWS_OF_A_USER = """
select jsonb_build_array(
  (select jsonb_agg(found order by id) from public.profiles found where id = $1),
  (select jsonb_agg(found order by id) from public.voices found where user_id = $1),
  (select jsonb_agg(found order by id) from public.generations found where user_id = $1),
  (select jsonb_agg(found order by id) from public.tasks found where user_id = $1),
  (select jsonb_agg(found order by id) from utter.voice_creates found where user_id = $1),
  (select jsonb_agg(found order by task_id) from utter.leases found
    where task_id in (select id from public.tasks where user_id = $1)),
  (select jsonb_agg(found order by key) from utter.idempotency_keys found where user_id = $1)
)
"""


class Undo(Exception):
    """Rolls a test's transaction back."""


@dataclass(frozen=True)
class Tenant:
    """A user with a voice, a running stream (task, lease, key), and a preview that sounds like everybody's."""

    id: UUID
    voice_id: UUID
    stream: NewGeneration
    create_id: UUID

    @property
    def ids(self) -> set[UUID]:
        return {self.id, self.voice_id, self.stream.generation_id, self.stream.task_id, self.create_id}


async def add_tenant(opened: Database, database: TestDatabase) -> Tenant:
    user = database.create_user()
    voice, create = new_voice(user), new_create(user)
    stream = msgspec.structs.replace(
        new_generation(user, voice.id),
        lease=NewLease(instance=uuid4(), address=None, seconds=60),
        request_key=RequestKey(key="k", request_sha256="ab" * 32),
    )
    async with opened.as_user(user) as tx:
        await voices.insert_voice(tx, voice)
        await generations.start_generation(tx, stream)
    async with opened.as_service() as tx:
        await creates.claim_create(tx, create, seconds=60)
        await creates.record_created(tx, created(create))
    return Tenant(user, voice.id, stream, create.id)


@dataclass(frozen=True)
class Scene:
    """Alice, who has one of each, asks; Bob, who has a `generate` besides, must not notice."""

    opened: Database
    admin: Database
    onlooker: Sql
    alice: Tenant
    bob: Tenant

    async def rows_of_bob(self) -> object:
        return await self.onlooker.value(ROWS_OF_A_USER, self.bob.id)

    async def as_alice(self, query: Query[object], named: Tenant) -> list[object]:
        """What she gets by naming that tenant's rows; undone."""
        return await fetched(self.opened.as_user(self.alice.id), query, arguments(query, self.alice.id, named))

    async def without_any_lock(self, query: Query[object]) -> list[object]:
        """What the same statement gives where no policy holds: proof that it has no filter left."""
        return await fetched(self.admin.as_service(), query, arguments(query, self.alice.id, self.bob))

    def is_anothers(self, value: object) -> bool:
        """Whether an answer tells Alice of a row that is not hers. She has one of each, and no active `generate`."""
        match value:
            case bool():
                return value
            case int():
                return value != 1
            case UUID():
                return value not in self.alice.ids
            case msgspec.Struct():
                return getattr(value, "user_id", getattr(value, "id", None)) != self.alice.id
        raise AssertionError(f"cannot tell whose {value!r} is")


async def fetched(unit: object, query: Query[object], values: dict[str, object]) -> list[object]:
    rows: list[object] = []
    with suppress(Undo):
        async with unit as tx:  # type: ignore[attr-defined]
            assert isinstance(tx, Transaction)
            rows = await tx.fetch(query, **values)
            raise Undo
    return rows


@pytest.fixture
async def scene(database: TestDatabase) -> AsyncIterator[Scene]:
    async with (
        Database.open(database.gateway_url, max_connections=1) as opened,
        Database.open(database.admin_url, max_connections=1) as admin,
        connected(database) as onlooker,
    ):
        alice, bob = await add_tenant(opened, database), await add_tenant(opened, database)
        async with opened.as_user(bob.id) as tx:
            await generations.start_generation(tx, new_generation(bob.id, bob.voice_id, "generate"))
        yield Scene(opened, admin, onlooker, alice, bob)


def arguments(query: Query[object], owner: UUID, named: Tenant) -> dict[str, object]:
    """A value for every parameter there is, by its name. Raises KeyError for a parameter that is new."""
    everything: dict[str, object] = {
        "owner": owner,
        "user_id": named.id,
        "id": uuid4(),
        "voice_id": named.voice_id,
        "generation_id": named.stream.generation_id,
        "task_id": named.stream.task_id,
        "create_id": named.create_id,
        "sha256": created(new_create(owner)).preview_sha256,
        "search": None,
        "source": None,
        "status": None,
        "limit": 100,
        "offset": 0,
        "set_handle": False,
        "handle": None,
        "set_display_name": True,
        "display_name": "Mallory",
        "set_avatar_url": False,
        "avatar_url": None,
        "name": "Ada",
        "text": "Hello.",
        "language": "English",
        "description": None,
        "reference_object_key": None,
        "reference_transcript": None,
        "tts_provider": "qwen",
        "provider": "qwen",
        "provider_model": None,
        "provider_status": "queued",
        "provider_voice_id": "v",
        "provider_target_model": None,
        "provider_region": None,
        "provider_request_id": None,
        "provider_voice_kind": None,
        "provider_metadata": {},
        "metadata": {},
        "type": "generate_stream",
        "kind": "vd",
        "region": "intl",
        "target_model": "m",
        "request": {},
        "request_id": None,
        "warnings": [],
        "preview_object_key": None,
        "preview_sha256": None,
        "billed": 1,
        "state": "refused",
        "error": "why",
        "attempt": 1,
        "seconds": 1.0,
        "unsaved_seconds": 1.0,
        "idle_seconds": 1.0,
        "kept_seconds": 3600.0,
        "older_than_seconds": -1.0,
        "key": "k",
        "after": None,
        "request_sha256": "ab" * 32,
        "fault": None,
        "free_key": False,
        "instance": uuid4(),
        "address": None,
        "epoch": 1,
        "sign": datetime.now(UTC),
        "task_ids": [],
        "message": "why",
        "result": {},
        "job_id": "fc-1",
        "object_key": "k",
        "output_format": "mp3",
        "audio_bytes": 1,
        "audio_sha256": "ab" * 32,
        "duration_seconds": 1.0,
        "generation_time_seconds": 1.0,
        "characters_billed": 1,
        "first_audio_seconds": 1.0,
        "timings": [],
        "lane": "l",
        "per_second": 1,
        "per_minute": 1,
        "longest_wait": 1.0,
        "claims": "{}",
        "channel": "c",
        "from_day": datetime.now(UTC).date(),
        "until_day": datetime.now(UTC).date() + timedelta(days=1),
    }
    if query.sql.startswith("insert into public.voices"):
        everything["source"] = "uploaded"
    return {name: everything[name] for name in query.parameters}


def without_owner_filter(query: Query[object]) -> Query[object] | None:
    """The query, its owner still a parameter but compared with nothing; None when it was compared with nothing."""
    if "owner" not in query.parameters:
        return None
    number = query.parameters.index("owner") + 1
    sql, count = re.subn(rf"(?:\w+\.)?\b(?:user_id|id) = \${number}\b", f"(${number}::uuid is not null)", query.sql)
    return replace(query, sql=sql) if count else None


async def test_row_level_security_alone_holds_for_every_query(scene: Scene) -> None:
    before = await scene.rows_of_bob()
    seen = {"service": 0, "insert": 0, "filter": 0}
    for query in all_queries():
        bare = without_owner_filter(query)
        if bare is not None:
            seen["filter"] += 1
            answers = [*await scene.as_alice(bare, scene.bob), *await scene.as_alice(bare, scene.alice)]
            assert answers, f"{query.name} gives Alice nothing at all"
            assert not any(map(scene.is_anothers, answers)), f"{query.name} shows another's row"
            control = await scene.without_any_lock(bare)
            assert any(map(scene.is_anothers, control)), f"{query.name} still has a filter of its own"
        elif _SERVICE_CALL.search(query.sql) or query.sql.startswith("insert into"):
            seen["service" if _SERVICE_CALL.search(query.sql) else "insert"] += 1
            values = arguments(query, scene.bob.id, scene.bob)
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await fetched(scene.opened.as_user(scene.alice.id), query, values)
                pytest.fail(f"{query.name} lets Alice do what is Bob's or the service's")
        else:
            assert not _TABLE.search(query.sql), f"{query.name} reads a table and names no owner"
        assert await scene.rows_of_bob() == before, f"{query.name} changed another's row"
    assert all(seen.values()), "a kind of query was never recognised"


async def test_every_query_with_an_owner_filter_keeps_tenants_apart_by_it_alone(scene: Scene) -> None:
    """The other lock by itself: as a superuser, for whom no policy holds."""
    for query in all_queries():
        if without_owner_filter(query) is None:
            continue
        answers = await scene.without_any_lock(query)
        assert not any(map(scene.is_anothers, answers)), f"{query.name} relies on row level security"
