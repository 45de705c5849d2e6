"""Who may reach schema `utter`, and what functions with their owner's rights may be talked into."""

from __future__ import annotations

import asyncpg
import pytest

from storage.migrate import migrate
from tests.support.migrations import connected
from tests.support.postgres import TestDatabase

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

OTHERS = ("anon", "authenticated", "service_role", "utter_api")


async def test_a_function_with_its_owners_rights_looks_names_up_nowhere_but_where_it_says(
    database: TestDatabase,
) -> None:
    async with connected(database) as sql:
        loose = await sql.value(
            """
            select array_agg(oid::regprocedure::text) from pg_proc
            where prosecdef and pronamespace in ('public'::regnamespace, 'utter'::regnamespace)
              and proconfig is distinct from array['search_path=""']
            """
        )
        assert loose is None
        assert await sql.value("select count(*) from pg_proc where prosecdef and pronamespace = 'utter'::regnamespace")


async def test_nobody_but_the_gateways_login_calls_a_service_function(database: TestDatabase) -> None:
    async with connected(database) as sql:
        open_to_others = await sql.value(
            """
            select array_agg(distinct function.oid::regprocedure::text || ' to ' || coalesce(role.rolname, 'public'))
            from pg_proc function
            cross join aclexplode(coalesce(function.proacl, acldefault('f', function.proowner))) granted
            left join pg_roles role on role.oid = granted.grantee
            where function.pronamespace = 'utter'::regnamespace
              and granted.grantee <> function.proowner and role.rolname is distinct from 'utter_gateway'
            """
        )
        assert open_to_others is None
        helper = "utter.end_generation(uuid, uuid, text, text)"
        assert not await sql.value("select has_function_privilege('utter_gateway', $1, 'execute')", helper)


async def test_the_ledger_of_creates_is_read_and_linked_by_its_user_and_nothing_else(database: TestDatabase) -> None:
    rights = "select array_agg(distinct privilege_type order by privilege_type) from information_schema."
    of_ours = " where table_schema = 'utter' and table_name = 'voice_creates' and grantee = $1"
    async with connected(database) as sql:
        for role in (*OTHERS, "utter_gateway", "PUBLIC"):
            user = role == "utter_api"
            assert await sql.value(f"{rights}role_table_grants{of_ours}", role) == (["SELECT"] if user else None), role
            writable = "select array_agg(column_name::text) from information_schema.column_privileges"
            found = await sql.value(f"{writable}{of_ours} and privilege_type = 'UPDATE'", role)
            assert found == (["voice_id"] if user else None), role
        assert await sql.value("select relrowsecurity from pg_class where oid = 'utter.voice_creates'::regclass")


@pytest.mark.parametrize(("table", "rights"), [("leases", ["select"]), ("idempotency_keys", ["delete", "select"])])
async def test_what_keeps_work_alive_is_seen_by_its_user_only(
    database: TestDatabase, table: str, rights: list[str]
) -> None:
    """Beside it there are columns that may be inserted."""
    has = "select has_table_privilege($1, $2, $3)"
    kinds = ["delete", "insert", "select", "truncate", "update"]
    async with connected(database) as sql:
        for role in (*OTHERS, "utter_gateway"):
            allowed = [kind for kind in kinds if await sql.value(has, role, f"utter.{table}", kind)]
            assert allowed == (rights if role == "utter_api" else []), role
        assert await sql.value("select relrowsecurity from pg_class where oid = $1::regclass", f"utter.{table}")


@pytest.mark.parametrize("role", ["anon", "authenticated", "service_role"])
async def test_browsers_roles_are_not_let_into_the_schema(database: TestDatabase, role: str) -> None:
    async with connected(database) as sql:
        assert not await sql.value("select has_schema_privilege($1, 'utter', 'usage')", role)


@pytest.mark.parametrize("role", OTHERS)
@pytest.mark.parametrize(
    "statement",
    [
        "select utter.fail_stranded(0, 'x')",
        "select from utter.schema_migrations",
        "select * from utter.orphans(0)",
        "select * from utter.take_stale_designs(1, 1)",
        "delete from utter.voice_creates",
    ],
)
async def test_the_grants_a_platform_makes_by_default_open_no_door(
    empty_database: TestDatabase, role: str, statement: str
) -> None:
    """The widest there are: on whatever this owner makes, in any schema. Nobody is let into ours."""
    async with connected(empty_database) as sql:
        await sql.execute(
            "do $$ begin"
            " if to_regrole('anon') is null then create role anon nologin; end if;"
            " if to_regrole('authenticated') is null then create role authenticated nologin; end if;"
            " end $$"
        )
        await sql.execute("alter default privileges grant all on tables to anon, authenticated")
        await sql.execute("alter default privileges grant execute on functions to anon, authenticated")
        migrate(empty_database.admin_url)
        await sql.execute(f"set role {role}")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await sql.execute(statement)
