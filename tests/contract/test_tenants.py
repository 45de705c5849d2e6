"""Two users, each with one of everything. Whatever one of them names or lists over HTTP, nothing of the other's is seen
or changed: by every route with every id, and by every id in a body.
"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from gateway.routes import API as OPERATIONS
from gateway.routes.operations import Operation
from tests.contract.asking import filled_in
from tests.contract.rows import UNKNOWN
from tests.contract.shapes import Made
from tests.contract.spa import Spa
from tests.contract.tenants import Tenant, assert_apart, everything_of, handle_of
from tests.contract.things import TRANSCRIPT
from tests.contract.world import EMPTY_WAV, World

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

CLONE = {"name": "Eve", "language": "English", "transcript": TRANSCRIPT}

WITH_IDS = [
    operation
    for operation in OPERATIONS
    if any(f"{{{name}}}" in operation.path for name in ("voice_id", "generation_id", "task_id"))
]
LISTS = ("/voices", "/generations", "/me")


@pytest.mark.parametrize("operation", WITH_IDS, ids=lambda operation: f"{operation.method} {operation.path}")
def test_an_id_in_a_path(world: World, pair: tuple[Tenant, Tenant], operation: Operation) -> None:
    """A foreign id is an unknown id, to the byte."""
    ann, bob = pair
    before = everything_of(world, bob)
    kinds = {
        "voice_id": ("voice_id", "deleted_voice"),
        "generation_id": ("generation_id", "running_generation"),
        "task_id": ("task_id", "preview"),
    }
    [parameter] = operation.path_parameters
    unknown = world.ask(ann.user, operation.method, "/api" + operation.path.format(**{parameter: UNKNOWN}))
    for kind in kinds[parameter]:
        for identity in (bob.ids[kind], bob.ids[kind].upper()):
            path = "/api" + operation.path.format(**{parameter: identity})
            answer = world.ask(ann.user, operation.method, path)
            assert (answer.status_code, answer.json()) == (404, unknown.json())
            assert_apart(world, answer, bob, before)


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    "query", ["", "?search=mine", "?search=%25", "?user_id={id}", "?status=all&source=uploaded", "?per_page=100"]
)
def test_lists(world: World, pair: tuple[Tenant, Tenant], path: str, query: str) -> None:
    ann, bob = pair
    before = everything_of(world, bob)
    nobody = world.user()
    for user in (ann.user, nobody):
        answer = world.ask(user, "GET", f"/api{path}" + query.replace("{id}", str(bob.user.id)))
        assert answer.status_code == 200
        assert not [secret for secret in bob.secrets if secret in answer.text]
        assert_apart(world, answer, bob, before) if user is nobody else None


FOREIGN_FIELDS: dict[str, tuple[str, dict[str, object], set[int]]] = {
    "generate: voice_id": ("POST /generate", {"text": "Good.", "voice_id": Made("{voice_id}")}, {404}),
    "generate: a deleted voice_id": ("POST /generate", {"text": "Good.", "voice_id": Made("{deleted_voice}")}, {404}),
    "generate/stream: voice_id": ("POST /generate/stream", {"text": "A.", "voice_id": Made("{voice_id}")}, {404, 409}),
    "clone/finalize: a voice": ("POST /clone/finalize", {**CLONE, "voice_id": Made("{voice_id}")}, {400, 409}),
    "clone/finalize: an upload": ("POST /clone/finalize", {**CLONE, "voice_id": Made("{upload}")}, {400}),
    "clone/upload-url: voice_id": ("POST /clone/upload-url", {**CLONE, "voice_id": Made("{voice_id}")}, {200}),
    "profile: id": ("PATCH /profile", {"id": Made("{owner}"), "display_name": "Eve"}, {200}),
    "profile: handle": ("PATCH /profile", {"handle": Made("{handle}")}, {400}),
}
"""Each field of a body that may name something of Bob's: the request with it, and what Ann may be told."""


@pytest.mark.parametrize("field", FOREIGN_FIELDS)
def test_an_id_in_a_body(world: World, pair: tuple[Tenant, Tenant], field: str) -> None:
    ann, bob = pair
    before = everything_of(world, bob)
    request, body, statuses = FOREIGN_FIELDS[field]
    method, path = request.split()
    names = {**bob.ids, "owner": str(bob.user.id), "handle": handle_of(bob.user)}
    answer = world.ask(ann.user, method, f"/api{path}", json=filled_in(body, names))
    assert answer.status_code in statuses, answer.text
    assert_apart(world, answer, bob, before)


@pytest.mark.parametrize("task", ["task_id", "preview"])
def test_a_task_in_a_form(world: World, pair: tuple[Tenant, Tenant], task: str) -> None:
    """Modal mode ignores the field, as v1 does (1.5): what is saved there is Ann's own file."""
    ann, bob = pair
    before = everything_of(world, bob)
    answer = Spa(world, ann.user).save_design(EMPTY_WAV, task_id=bob.ids[task])
    assert answer.status_code == (404 if world.mode == "qwen" else 200)
    assert_apart(world, answer, bob, before)


def test_a_signed_address_is_for_one_object(world: World, pair: tuple[Tenant, Tenant]) -> None:
    """Ann's link with Bob's path in it opens nothing, to read or to write."""
    ann, bob = pair
    before = everything_of(world, bob)
    link = world.ask(ann.user, "GET", f"/api/voices/{ann.ids['voice_id']}/preview").headers["Location"]
    upload = world.ask(ann.user, "POST", "/api/clone/upload-url", json=CLONE).json()
    swapped = link.replace(str(ann.user.id), str(bob.user.id)).replace(ann.ids["voice_id"], bob.ids["voice_id"])
    mine, theirs = upload["object_key"], f"{bob.user.id}/{uuid4()}/reference.wav"
    for method, url in (("GET", swapped), ("PUT", upload["upload_url"].replace(mine, theirs)), ("PUT", swapped)):
        how: dict[str, Any] = (
            {"content": EMPTY_WAV, "headers": {"Content-Type": "audio/wav"}} if method == "PUT" else {}
        )
        answer = world.ask(ann.user, method, url, **how)
        assert answer.status_code == 401
        assert_apart(world, answer, bob, before)


def test_work_under_way_is_not_anothers_to_hear_or_stop(world: World) -> None:
    """Real work, not only rows."""
    ann, bob = Spa(world, world.user()), Spa(world, world.user())
    accepted = bob.generate(bob.clone()["id"], "A long story. " * 20)
    paths = (
        ("GET", f"/generations/{accepted['generation_id']}/stream"),
        ("POST", f"/tasks/{accepted['task_id']}/cancel"),
        ("DELETE", f"/tasks/{accepted['task_id']}"),
        ("DELETE", f"/generations/{accepted['generation_id']}"),
    )
    assert {ann.ask(method, path).status_code for method, path in paths} == {404}
    assert bob.watch(accepted["task_id"])[-1]["status"] == "completed"
