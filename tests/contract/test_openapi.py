"""Every operation of `/api/openapi.json`, called as the document says, over a real socket and in both modes.

The calls are made from the document: what its paths and bodies name is made for somebody new, and the answer has to be
one that the document describes, with no field that it leaves out.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from jsonschema_rs import Draft202012Validator

from gateway.openapi import describe
from gateway.routes import API
from tests.contract.things import (
    TRANSCRIPT,
    Generation,
    Names,
    Preview,
    ReadLink,
    Task,
    Thing,
    Upload,
    UploadLink,
    Voice,
)
from tests.contract.world import RECORDING, User, World

pytestmark = [pytest.mark.integration, pytest.mark.slow]

Json = dict[str, Any]

OPERATIONS = {
    operation["operationId"]: (path, method.upper(), operation)
    for path, methods in describe(API)["paths"].items()
    for method, operation in methods.items()
}

UNKNOWN = "6f1d2b3c-0000-4000-8000-000000000001"

IN_PATHS: dict[str, Thing] = {
    "voice_id": Voice(),
    "generation_id": Generation(),
    "task_id": Task({"status": "processing", "type": "generate"}),
}
"""What a path's parameter names."""

IN_BODIES: Json = {
    "text": "Good morning.",
    "language": "English",
    "name": "Ada",
    "transcript": TRANSCRIPT,
    "description": "A calm narrator.",
    "instruct": "A calm narrator.",
    "handle": None,
    "display_name": "Ada",
    "avatar_url": "https://example.com/ada.png",
}
"""What a body's field holds."""


@dataclass(frozen=True, slots=True)
class VoiceOfTheOther:
    """A voice of the provider that is not active."""

    def make(self, world: World, owner: User, made: Names) -> str:
        other = "modal" if world.mode == "qwen" else "qwen"
        return Voice({"tts_provider": other}).make(world, owner, made)


INSTEAD: dict[str, Json] = {
    "get_tasks_events": {"task_id": Task({"status": "completed"})},  # of another the answer goes on
    "post_clone_finalize": {"voice_id": Upload()},
    "post_voices_design": {"task_id": Preview()},
    "post_voices_restore": {"voice_id": Voice({"deleted_at": datetime(2026, 1, 1, tzinfo=UTC)})},
    "post_voices_reclone": {"voice_id": VoiceOfTheOther()},
}
"""Things that an operation needs instead of those above."""

NOT_IN_BODIES = frozenset({"on_disconnect"})
"""Fields that are left to their default."""

REFUSED: dict[tuple[str, str], int] = {
    ("post_transcriptions", "qwen"): 503,
    ("post_transcriptions", "modal"): 503,
    ("post_generate_stream", "modal"): 409,
}
"""Operations that a good request does not succeed with, by mode."""


@dataclass(frozen=True, slots=True)
class Called:
    """An answer, and what the document says about it."""

    document: Json
    operation: Json
    answer: httpx.Response

    def check(self) -> None:
        """The status, the content type, the schema and the headers are described ones."""
        status = str(self.answer.status_code)
        about = f"{self.operation['operationId']} {status} {self.answer.text[:200]}"
        assert status in self.operation["responses"], about
        described = resolve(self.document, self.operation["responses"][status])
        assert self.answer.headers["x-request-id"], about
        for name in {"Location", "Retry-After"} & set(described["headers"]):
            assert self.answer.headers[name], about
        content = described.get("content", {})
        if not content:
            assert self.answer.content == b"", about
            return
        kind = self.answer.headers["content-type"].partition(";")[0]
        assert kind in content, about
        if "schema" in content[kind]:
            validator(self.document, content[kind]["schema"]).validate(self.answer.json())
        else:
            assert self.answer.content, about


def resolve(document: Json, thing: Json) -> Json:
    """What a `$ref` leads to."""
    while "$ref" in thing:
        found: Any = document
        for step in thing["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        thing = found
    return thing


def validator(document: Json, schema: Json) -> Draft202012Validator:
    """Strict: a field that the document does not have is a mistake of the document."""
    schemas = copy.deepcopy(document["components"]["schemas"])
    for shape in schemas.values():
        if "properties" in shape:
            shape["additionalProperties"] = False
    whole = {**schema, "components": {"schemas": schemas}}
    return Draft202012Validator(whole, validate_formats=True)


@pytest.fixture
def document(world: World) -> Json:
    """As it is served."""
    answer = world.ask(None, "GET", "/api/openapi.json")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    found: Json = answer.json()
    return found


def test_the_served_document_is_the_table_s(document: Json, world: World) -> None:
    assert document == describe(API)
    assert world.ask(None, "GET", "/functions/v1/api/openapi.json").json() == document


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_good_request_gets_a_described_answer(document: Json, world: World, owner: User, name: str) -> None:
    path, method, operation = OPERATIONS[name]
    answer = call(world, owner, document, name)
    Called(document, operation, answer).check()
    wanted = REFUSED.get((name, world.mode)) or min(int(status) for status in operation["responses"])
    assert answer.status_code == wanted, (method, path, answer.text[:300])


@pytest.mark.parametrize("name", [name for name, (_, _, found) in OPERATIONS.items() if {} not in found["security"]])
def test_nobody_gets_a_described_401(document: Json, world: World, name: str) -> None:
    path, method, operation = OPERATIONS[name]
    target = path.replace("{bucket}", "references").replace("{key}", f"{UNKNOWN}/reference.wav")
    for parameter in operation["parameters"]:
        target = target.replace(f"{{{parameter['name']}}}", UNKNOWN)
    answer = world.ask(None, method, f"/api{target}", content=b"x" if "requestBody" in operation else None)
    Called(document, operation, answer).check()
    assert answer.status_code == 401


@pytest.mark.parametrize("name", [name for name, (path, _, _) in OPERATIONS.items() if "_id}" in path])
@pytest.mark.parametrize("given", [UNKNOWN, "not-a-uuid"])
def test_an_unknown_row_is_a_described_404(document: Json, world: World, owner: User, name: str, given: str) -> None:
    path, method, operation = OPERATIONS[name]
    for parameter in operation["parameters"]:
        path = path.replace(f"{{{parameter['name']}}}", given)
    answer = world.ask(owner, method, f"/api{path}")
    Called(document, operation, answer).check()
    assert answer.status_code == 404


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, (_, _, found) in OPERATIONS.items()
        if {"bearer": []} in found["security"] and "requestBody" in found
    ],
)
def test_a_body_that_cannot_be_read_is_a_described_400(document: Json, world: World, owner: User, name: str) -> None:
    path, method, operation = OPERATIONS[name]
    answer = world.ask(owner, method, f"/api{path}", content=b"{ not json", headers={"Content-Type": "text/plain"})
    Called(document, operation, answer).check()
    # Whether a stream is offered at all is decided before its body is looked at.
    assert answer.status_code == REFUSED.get((name, world.mode), 400)


def call(world: World, owner: User, document: Json, name: str) -> httpx.Response:
    """The operation with what it needs; a redirect is the answer, not where it leads."""
    path, method, operation = OPERATIONS[name]
    if {"link": []} in operation["security"] and {"bearer": []} not in operation["security"]:
        return by_link(world, owner, method)
    made: Names = {"owner": str(owner.id), "mode": world.mode}
    things = {**IN_PATHS, **INSTEAD.get(name, {})}
    for parameter in operation["parameters"]:
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", things[parameter["name"]].make(world, owner, made))
    return world.ask(owner, method, f"/api{path}", follow_redirects=False, **body(world, owner, document, name))


def by_link(world: World, owner: User, method: str) -> httpx.Response:
    """A signed address is only ever taken whole."""
    if method == "GET":
        return world.ask(None, "GET", "/" + ReadLink().make(world, owner, {}))
    link = UploadLink().make(world, owner, {})
    assert parse_qs(urlsplit(link).query)["token"]
    return world.ask(None, method, f"/{link}", content=RECORDING, headers={"Content-Type": "audio/wav"})


def body(world: World, owner: User, document: Json, name: str) -> Json:
    """The body, as httpx takes it."""
    content = OPERATIONS[name][2].get("requestBody", {}).get("content", {})
    for kind, media in content.items():
        fields = resolve(document, media["schema"])["properties"]
        values = {field: value_of(world, owner, name, field) for field in fields if field not in NOT_IN_BODIES}
        if kind == "application/json":
            return {"json": values}
        files = [
            (
                field,
                ("preview.wav", RECORDING, "audio/wav") if schema.get("format") == "binary" else (None, values[field]),
            )
            for field, schema in fields.items()
        ]
        return {"files": files}
    return {}


def value_of(world: World, owner: User, name: str, field: str) -> Any:
    things: dict[str, Thing] = {**IN_PATHS, **INSTEAD.get(name, {})}
    if field in things:
        return things[field].make(world, owner, {"owner": str(owner.id), "mode": world.mode})
    return IN_BODIES.get(field)
