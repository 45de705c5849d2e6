"""Two users with one of everything each, and a look at whether either can tell that there is the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

from tests.contract.shapes import Made
from tests.contract.things import Generation, Names, Task, Upload, Voice
from tests.contract.world import User, World

OWNED = ("profiles", "voices", "generations", "tasks")
"""Tables of which every row is somebody's."""

ALL_OF = {
    "profiles": "select * from public.profiles where id = $1",
    "voices": "select * from public.voices where user_id = $1 order by id",
    "generations": "select * from public.generations where user_id = $1 order by id",
    "tasks": "select * from public.tasks where user_id = $1 order by id",
    "creates": "select * from utter.voice_creates where user_id = $1 order by id",
}
"""Every row of a user, by table."""


@dataclass(frozen=True)
class Tenant:
    """A user, and the ids of what is theirs by the name a route gives them."""

    user: User
    ids: Names

    @property
    def secrets(self) -> list[str]:
        """What must never appear in an answer to somebody else."""
        return [str(self.user.id), *self.ids.values()]


def add_tenant(world: World) -> Tenant:
    """One of everything: also work under way, a deleted voice, an upload, and a design preview."""
    user = world.user()
    made: Names = {"owner": str(user.id)}
    things: dict[str, Any] = {
        "voice_id": Voice({"name": "Mine alone"}),
        "deleted_voice": Voice({"deleted_at": None}),
        "generation_id": Generation({"voice_id": Made("{voice_id}"), "text": "For my ears only."}),
        "running_generation": Generation({"voice_id": Made("{voice_id}"), "status": "processing"}),
        "task_id": Task({"generation_id": Made("{running_generation}"), "voice_id": Made("{voice_id}")}),
        "preview": Task({"type": "design_preview", "status": "processing", "provider_poll_count": 1}),
        "upload": Upload(),
    }
    for name, thing in things.items():
        made[name] = thing.make(world, user, made)
    world.sql.run("update public.voices set deleted_at = now() where id::text = $1", made["deleted_voice"])
    world.sql.run(
        "insert into utter.voice_creates"
        " (id, user_id, kind, region, target_model, state, provider_voice_id, claimed_until)"
        " values (gen_random_uuid(), $1, 'vd', 'intl', 'a-model', 'created', $2, now())",
        user.id,
        f"qwen-tts-vd-{user.id}",
    )
    world.sql.run("update public.profiles set handle = $2 where id = $1", user.id, handle_of(user))
    return Tenant(user, {name: value for name, value in made.items() if name != "owner"})


def handle_of(user: User) -> str:
    return f"h_{user.id.hex[:20]}"


def everything_of(world: World, tenant: Tenant) -> dict[str, object]:
    """All rows and objects of a user."""
    rows: dict[str, object] = {table: world.sql.rows(query, tenant.user.id) for table, query in ALL_OF.items()}
    for bucket in ("references", "generations"):
        files = sorted((world.objects / bucket / str(tenant.user.id)).rglob("*"))
        rows[bucket] = {str(file): file.read_bytes() for file in files if file.is_file()}
    return rows


def assert_apart(world: World, answer: httpx.Response, bob: Tenant, before: dict[str, object]) -> None:
    """The answer says nothing of Bob's, and Bob has everything he had."""
    assert not [secret for secret in bob.secrets if secret in answer.text and secret not in str(answer.request.url)]
    assert "Mine alone" not in answer.text
    assert "For my ears only" not in answer.text
    assert everything_of(world, bob) == before
