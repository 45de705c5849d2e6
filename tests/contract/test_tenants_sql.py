"""The same two users by SQL, as each role that clients have: row level security alone, no filter in the statements.

`tests/storage/test_tenants.py` has the gateway's own queries and `test_rights.py` the service functions.
"""

from __future__ import annotations

from uuid import uuid4

import asyncpg
import pytest

from tests.contract.tenants import OWNED, Tenant, everything_of
from tests.contract.world import World

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

ROLES = ("authenticated", "anon", "utter_api")

OWN, NONE, REFUSED = "their own rows", "no row, without an error", "permission denied"

V1_RIGHTS = {
    # table: select, insert (in another's name), update, delete
    "profiles": (OWN, REFUSED, OWN, NONE),
    "voices": (OWN, REFUSED, REFUSED, OWN),
    "generations": (OWN, REFUSED, REFUSED, OWN),
    "tasks": (OWN, REFUSED, REFUSED, REFUSED),
}
"""What the role `authenticated` reaches without any filter (3.4). anon reads nothing, and all else is refused it."""

UTTER_API_RIGHTS = {
    "profiles": (OWN, REFUSED, OWN, REFUSED),
    "voices": (OWN, REFUSED, REFUSED, REFUSED),
    "generations": (OWN, REFUSED, REFUSED, OWN),
    "tasks": (OWN, REFUSED, REFUSED, OWN),
}
"""The gateway's own role for users: what the product does for them, and no more (product section 8)."""

ACTIONS = ("select", "insert", "update", "delete")


def rights(role: str, table: str, action: str) -> str:
    """What the role reaches in this way."""
    if role == "anon":
        return NONE if action == "select" else REFUSED
    found = V1_RIGHTS if role == "authenticated" else UTTER_API_RIGHTS
    return found[table][ACTIONS.index(action)]


UPDATES = {
    "profiles": "display_name = 'Eve'",
    "voices": "name = 'Eve'",
    "generations": "text = 'Eve'",
    "tasks": "error = 'Eve'",
}

INSERTS = {
    "profiles": "(id) values ($1)",
    "voices": "(user_id, name, source) values ($1, 'Eve', 'uploaded')",
    "generations": "(user_id, text) values ($1, 'Eve')",
    "tasks": "(user_id, type) values ($1, 'generate')",
}


def _owner(table: str) -> str:
    return "id" if table == "profiles" else "user_id"


def statement(action: str, table: str) -> str:
    """Without any filter: what keeps it from others' rows is row level security alone."""
    owner = _owner(table)
    return {
        "select": f"select {owner} as owner from public.{table}",  # noqa: S608
        "update": f"update public.{table} set {UPDATES[table]} returning {owner} as owner",  # noqa: S608
        "delete": f"delete from public.{table} returning {owner} as owner",  # noqa: S608
        "insert": f"insert into public.{table} {INSERTS[table]} returning {owner} as owner",
    }[action]


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("table", OWNED)
@pytest.mark.parametrize("role", ROLES)
def test_sql_without_a_filter(world: World, pair: tuple[Tenant, Tenant], role: str, table: str, action: str) -> None:
    ann, bob = pair
    before = everything_of(world, bob)
    values = [bob.user.id] if action == "insert" else []
    try:
        touched = {row["owner"] for row in world.sql.as_role(role, ann.user.id, statement(action, table), *values)}
        assert touched <= {ann.user.id}
        found = OWN if touched else NONE
    except asyncpg.InsufficientPrivilegeError:
        found = REFUSED
    assert found == rights(role, table, action)
    assert everything_of(world, bob) == before


@pytest.mark.parametrize("table", OWNED)
@pytest.mark.parametrize("role", ROLES)
def test_sql_without_claims_reads_nothing(world: World, pair: tuple[Tenant, Tenant], role: str, table: str) -> None:
    assert world.sql.as_role(role, None, statement("select", table)) == []


@pytest.mark.parametrize("role", ["authenticated", "anon"])
def test_what_browsers_may_be_never_enters_our_own_schema(world: World, role: str) -> None:
    tables = [
        row["name"]
        for row in world.sql.rows(
            "select quote_ident(relname) as name from pg_class"
            " where relnamespace = 'utter'::regnamespace and relkind in ('r', 'v', 'p', 'm')"
        )
    ]
    assert tables
    for table in tables:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            world.sql.as_role(role, world.stranger.id, f"select * from utter.{table}")  # noqa: S608


@pytest.mark.parametrize("role", ["authenticated", "anon"])
def test_credits_are_nobodys_own_to_write_by_another_role(world: World, pair: tuple[Tenant, Tenant], role: str) -> None:
    """v1's hole, one's own credits, is v1's and stays (3.4); another's are out of reach for every role."""
    ann, bob = pair
    change = "update public.profiles set credits_remaining = 1000000 where id = $1 returning id as owner"
    try:
        assert world.sql.as_role(role, ann.user.id, change, bob.user.id) == []
    except asyncpg.InsufficientPrivilegeError:
        assert role == "anon"


def test_creates_are_their_owners_to_see_and_to_link(world: World, pair: tuple[Tenant, Tenant]) -> None:
    """`utter.voice_creates`: what a save finds its preview by (product section 6)."""
    ann, bob = pair
    before = everything_of(world, bob)
    own = [{"user_id": ann.user.id}]
    assert world.sql.as_role("utter_api", ann.user.id, "select distinct user_id from utter.voice_creates") == own
    link = "update utter.voice_creates set voice_id = $1 returning user_id"
    touched = world.sql.as_role("utter_api", ann.user.id, link, uuid4())
    assert {row["user_id"] for row in touched} == {ann.user.id}
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        world.sql.as_role("utter_api", ann.user.id, "update utter.voice_creates set user_id = $1", ann.user.id)
    assert everything_of(world, bob) == before


def test_objects_belong_to_the_folder_of_their_owner(world: World, pair: tuple[Tenant, Tenant]) -> None:
    """`storage.objects`, which browsers may ask themselves (3.5)."""
    ann, bob = pair
    names = [f"{tenant.user.id}/{uuid4()}/reference.wav" for tenant in (ann, bob)]
    for name in names:
        world.sql.run("insert into storage.objects (bucket_id, name) values ('references', $1)", name)
    seen = world.sql.as_role("authenticated", ann.user.id, "select name from storage.objects")
    assert {row["name"].partition("/")[0] for row in seen} == {str(ann.user.id)}
    assert world.sql.as_role("anon", None, "select name from storage.objects") == []
    into = "insert into storage.objects (bucket_id, name) values ($1, $2) returning name"
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        world.sql.as_role("authenticated", ann.user.id, into, "references", f"{bob.user.id}/x.wav")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        world.sql.as_role("authenticated", ann.user.id, into, "generations", f"{ann.user.id}/x.wav")
