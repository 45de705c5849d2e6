"""Every row of the v1 contract in both modes over a real socket, as its owner, as nobody and as somebody else.

The rows are data, in the modules beside this one; what is compared, and how, is in `asking` and `shapes`.
"""

from __future__ import annotations

import pytest

from gateway.routes import API as OPERATIONS
from gateway.routes.operations import Operation
from tests.contract import (
    rows_clone,
    rows_common,
    rows_design,
    rows_generate,
    rows_generations,
    rows_listen,
    rows_profile,
    rows_public,
    rows_tasks,
    rows_voices,
)
from tests.contract.asking import API, SUPABASE, ask, check, check_headers, make_things
from tests.contract.rows import AUDIO, EVENTS, MODES, NOTHING, UNKNOWN, Auth, Row
from tests.contract.world import World

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

MODULES = (
    rows_common,
    rows_public,
    rows_profile,
    rows_voices,
    rows_clone,
    rows_design,
    rows_generate,
    rows_generations,
    rows_listen,
    rows_tasks,
)

ROWS = [row for module in MODULES for row in module.ROWS]

NEVER_GOOD = {("POST", "/transcriptions")}
"""Not offered to anybody (1.9)."""

SIGNED_PATHS = {"/objects/{bucket}/{key:path}": "/{link}"}
"""Routes whose whole path comes from a signed address."""

WITHOUT_CORS = "/dev/token"
"""No foreign page may read it (product section 10)."""


def named(mode: str, row: Row) -> str:
    return f"{mode}: {row.name}"


def rows(*wanted: Row) -> pytest.MarkDecorator:
    """Run a test for each row in each of its modes."""
    cases = [(mode, row) for mode in MODES for row in wanted if mode in row.modes]
    return pytest.mark.parametrize(("mode", "row"), cases, ids=[named(*case) for case in cases])


@rows(*ROWS)
def test_the_owner_gets(world: World, row: Row) -> None:
    owner = world.user()
    made = make_things(world, owner, row)
    check(ask(world, owner, row, made), row, made, status=row.status, shape=row.shape)


@pytest.mark.parametrize("request_line", sorted({row.request for row in ROWS if row.auth is Auth.BEARER}))
def test_nobody_gets(world: World, request_line: str) -> None:
    """401 before the body is looked at, good or bad: without a token, and with one that another project signed.

    Only a body over the transport's limit is refused unread, whoever sent it.
    """
    for row in (row for row in ROWS if row.request == request_line and world.mode in row.modes):
        names = {name: UNKNOWN for thing in row.given for name in (thing, thing.upper())}
        status = 413 if row.status == 413 else 401
        for user, mount in ((None, API), (world.forged(world.stranger), SUPABASE)):
            answer = ask(world, user, row, names, mount)
            assert answer.status_code == status, row.name
            check(answer, row, names, status=status, shape=None)


@rows(*(row for row in ROWS if row.auth is not Auth.BEARER))
def test_anybody_gets(world: World, row: Row) -> None:
    """Without a token, and with one that another project signed."""
    for of in (lambda _: None, world.forged):
        owner = world.user()
        made = make_things(world, owner, row)
        shape = row.signed_out if row.auth is Auth.OPTIONAL else row.shape
        check(ask(world, of(owner), row, made), row, made, status=row.status, shape=shape)


@rows(*(row for row in ROWS if row.auth is Auth.BEARER and row.given))
def test_somebody_else_gets(world: World, row: Row) -> None:
    """The answer to an id that is unknown, and nothing of what the owner has."""
    made = make_things(world, world.user(), row)
    answer = ask(world, world.user(), row, made, SUPABASE)
    check(answer, row, made, status=row.for_strangers, shape=_anything(row))
    leaked = [made[name] for name in ("owner", *row.given) if made[name].encode() in answer.content]
    assert not leaked


@rows(*{(row.method, row.path.partition("?")[0]): row for row in ROWS if row.status < 400}.values())
def test_the_other_mount_answers_alike(world: World, row: Row) -> None:
    """Payloads say /api under both (1.0)."""
    owner = world.user()
    made = make_things(world, owner, row)
    check(ask(world, owner, row, made, SUPABASE), row, made, status=row.status, shape=row.shape)


@rows(
    *{(row.path.partition("?")[0], row.status): row for row in ROWS if row.method == "GET" and not row.sends}.values()
)
def test_head_is_get_without_a_body(world: World, row: Row) -> None:
    owner = world.user()
    made = make_things(world, owner, row)
    answer = ask(world, owner, row, made, method="HEAD")
    assert (answer.status_code, answer.content) == (row.status, b"")
    check_headers(answer, category=row.expected_category)


@pytest.mark.parametrize(
    "path", sorted({operation.template for operation in OPERATIONS} | {"/nothing", "", "/health/"})
)
def test_options_is_204_for_anybody(world: World, path: str) -> None:
    for mount in (API, SUPABASE):
        target = mount + path.replace("{", "").replace("}", "")
        answer = world.ask(None, "OPTIONS", target, headers={"Origin": "https://app.example"})
        assert (answer.status_code, answer.content) == (204, b"")
        check_headers(answer, category=None, cors=path != WITHOUT_CORS)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: f"{operation.method} {operation.path}")
def test_every_route_has_rows(operation: Operation) -> None:
    """A route that is added without a row for its good answer fails here."""
    template = SIGNED_PATHS.get(operation.path, operation.path).split("/")
    found = [row for row in ROWS if row.method == operation.method and _follows(row.path.partition("?")[0], template)]
    assert found
    never_good = (operation.method, operation.path) in NEVER_GOOD
    assert any(row.status < 400 for row in found) is not never_good


def test_no_two_rows_have_one_name() -> None:
    """The name is all that a failure says."""
    for mode in MODES:
        names = [row.name for row in ROWS if mode in row.modes]
        assert sorted(set(names)) == sorted(names)


def _anything(row: Row) -> object:
    """A stranger's own answer, where there is one, is the owner's with nothing in it: only its kind is compared."""
    return row.shape if row.shape in (NOTHING, AUDIO, EVENTS) else lambda _: True


def _follows(path: str, template: list[str]) -> bool:
    parts = path.split("/")
    return len(parts) == len(template) and all(
        wanted.startswith("{") or part == wanted for part, wanted in zip(parts, template, strict=True)
    )
