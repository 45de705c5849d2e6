"""What a run left behind, judged from outside: database, objects, spools, and what the provider counted."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from uuid import UUID

import anyio
import asyncpg
import structlog

from gateway.audit import audit
from storage.database import Database
from storage.objects import GENERATIONS, ObjectStore
from tests.chaos.load import Asked, Load
from tests.chaos.world import LEASE_SECONDS, World

SETTLE_SECONDS = 90.0
"""How long the service may take to end everything once nothing breaks any more: leases, retries, the spool."""

SESSIONS_AN_ATTEMPT = 3
"""Provider sessions of one attempt: the first and two retries, all before the first audio (product section 5)."""


CRASHES = ('"event": "generation.crashed"', '"event": "job.crashed"', '"event": "sweeper.chore_failed"', "Traceback (")
"""What the log of a gateway never says, whatever breaks outside."""


async def settled(world: World) -> list[str]:
    """Wait until nothing runs; what still does after `SETTLE_SECONDS` is a problem."""
    with anyio.move_on_after(SETTLE_SECONDS):
        while await _active(world):  # noqa: ASYNC110  nothing tells us
            await anyio.sleep(LEASE_SECONDS / 4)
        return []
    return [f"still running: {row}" for row in await _active(world)]


async def problems(world: World, load: Load) -> list[str]:
    """Everything that is not as the product promises, in words."""
    found = await settled(world)
    found += await _disagreements(world)
    found += await _broken_words(world, load)
    found += _paid_twice(world, load)
    return found


async def _active(world: World) -> list[str]:
    connection = await asyncpg.connect(world.postgres.admin_url)
    try:
        rows = await connection.fetch(
            "select id, type, status, provider_status from public.tasks where status in ('pending', 'processing')"
        )
    finally:
        await connection.close()
    return [" ".join(map(str, row.values())) for row in rows]


async def _disagreements(world: World) -> list[str]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    objects = ObjectStore.open(world.objects_url)
    found = []
    async with Database.open(world.login_url, max_connections=2) as database:
        for number, spool in enumerate(world.spools):
            findings = audit(database, objects, spool, digests=number == 0)
            found += [f"{one.kind.value} {one.subject}: {one.detail}" async for one in findings]
    return sorted(set(found))


async def _broken_words(world: World, load: Load) -> list[str]:
    """What clients were told must be true: what completed has audio, what was heard whole is what is stored."""
    objects = ObjectStore.open(world.objects_url)
    rows = await _generations(world)
    found = []
    for asked in load.asked:
        if len(asked.generation_ids) > 1 and not asked.streamed:
            states = Counter(rows[UUID(one)][0] for one in asked.generation_ids if UUID(one) in rows)
            if states["completed"] > 1:
                found.append(f"key {asked.key} was made {states['completed']} times")
        for generation_id in asked.generation_ids:
            status, key = rows.get(UUID(generation_id), ("gone", None))
            if status not in ("completed", "failed"):
                found.append(f"generation {generation_id} ended as {status} though nobody cancelled it")
            if asked.heard and status == "completed" and key is not None:
                found += await _heard(objects, asked, generation_id, key)
    return found


async def _heard(objects: ObjectStore, asked: Asked, generation_id: str, key: str) -> list[str]:
    stored = b"".join([piece async for piece in objects.read(GENERATIONS, key)])
    if asked.whole and hashlib.sha256(asked.heard).digest() != hashlib.sha256(stored).digest():
        return [f"generation {generation_id}: heard {len(asked.heard)} bytes, stored {len(stored)}, not the same"]
    if not stored.startswith(asked.heard):
        return [f"generation {generation_id}: what was heard is not the beginning of what is stored"]
    return []


def _paid_twice(world: World, load: Load) -> list[str]:
    """No text was spoken by more sessions than its attempts allow, and a completed one not by fewer than one."""
    sessions = Counter(session["text_sha256"] for session in world.emulator.sessions() if session["characters"])
    attempts = int(world.gateways[0].environment["UTTER_TASK_ATTEMPTS"])
    found = []
    for asked in load.asked:
        spoken = sessions[hashlib.sha256(asked.text.encode()).hexdigest()]
        allowed = SESSIONS_AN_ATTEMPT * (max(len(asked.generation_ids), 1) if asked.streamed else attempts)
        if spoken > allowed:
            found.append(f"a text was spoken {spoken} times, {allowed} are allowed")
    return found


async def _generations(world: World) -> dict[UUID, tuple[str, str | None]]:
    connection = await asyncpg.connect(world.postgres.admin_url)
    try:
        rows = await connection.fetch("select id, status, audio_object_key from public.generations")
    finally:
        await connection.close()
    return {row["id"]: (row["status"], row["audio_object_key"]) for row in rows}


def leftovers(folder: Path) -> list[str]:
    """Stack traces in the gateways' logs: nothing that breaks outside may crash anything inside."""
    found = []
    for log in folder.glob("gateway-*/log"):
        lines = log.read_text().splitlines()
        crashed = [number for number, line in enumerate(lines) if any(sign in line for sign in CRASHES)]
        found += [f"{log.parent.name}: " + "\n".join(lines[number : number + 20])[:2000] for number in crashed]
    return found
