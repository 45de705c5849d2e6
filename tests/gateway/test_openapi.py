"""The OpenAPI document: valid, whole, and made of nothing but the table and the types."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pytest
from openapi_spec_validator import validate
from starlette.routing import Route

from gateway.middleware.paths import ROUTE_PREFIXES
from gateway.openapi import describe, document
from gateway.routes import API, all_routes
from gateway.routes.operations import ERRORS, HEADERS, Answer, Auth, Json, Operation
from schema.http import Task, Voice

DOCUMENT = describe(API)


class Inner(msgspec.Struct):
    """What an answer holds."""

    number: int


class Outer(msgspec.Struct):
    """An answer (product section 4)."""

    always: bool = True
    nothing: str | None = None
    maybe: str | msgspec.UnsetType = msgspec.UNSET
    inner: list[Inner] = []


OPERATIONS = [
    (path, method, operation) for path, methods in DOCUMENT["paths"].items() for method, operation in methods.items()
]


def names(operation: dict[str, Any]) -> str:
    return str(operation["operationId"])


every_operation = pytest.mark.parametrize("operation", [operation for _, _, operation in OPERATIONS], ids=names)


def row(name: str) -> Operation:
    return next(found for found in API if found.name == name)


def test_it_is_a_valid_document() -> None:
    validate(DOCUMENT)


def test_it_has_every_route_and_no_other() -> None:
    served = {
        (method, route.path)
        for route in all_routes()
        if isinstance(route, Route) and route.path.startswith(ROUTE_PREFIXES)
        for method in route.methods or ()
        if method != "HEAD"
    }
    described = {(found.method, mount + found.path) for found in API for mount in ROUTE_PREFIXES}
    assert served == described
    assert len(OPERATIONS) == len(API)


def test_both_mounts_are_servers() -> None:
    assert [server["url"] for server in DOCUMENT["servers"]] == ["/api", "/functions/v1/api"]


@every_operation
def test_an_operation_says_what_it_is(operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["tags"][0] in {tag["name"] for tag in DOCUMENT["tags"]}
    assert all(int(status) in ERRORS or int(status) < 400 for status in operation["responses"])


@every_operation
def test_who_must_be_signed_in_is_told_of_401(operation: dict[str, Any]) -> None:
    assert ("401" in operation["responses"]) is ({} not in operation["security"])


@pytest.mark.parametrize(("path", "method", "operation"), OPERATIONS, ids=lambda value: str(value)[:40])
def test_a_row_in_the_path_may_be_missing(path: str, method: str, operation: dict[str, Any]) -> None:
    if "{" in path:
        assert "404" in operation["responses"]
    if "requestBody" in operation:
        assert {"400", "408", "413"} <= set(operation["responses"])


def test_a_row_more_is_an_operation_more() -> None:
    more = dataclasses.replace(row("get_health"), path="/health/again", summary="Once more")
    again = describe([*API, more])
    assert again["paths"]["/health/again"]["get"]["summary"] == "Once more"
    validate(again)


def test_two_rows_with_one_address_are_refused() -> None:
    with pytest.raises(ValueError, match="same"):
        describe([*API, dataclasses.replace(row("get_health"))])


def test_schemas_follow_the_types() -> None:
    given = Operation("GET", "/things", row("get_health").endpoint, "Things", Auth.NOBODY, {200: Outer})
    schemas = describe([given])["components"]["schemas"]
    assert schemas["Outer"]["required"] == ["always", "nothing", "inner"]
    assert schemas["Outer"]["description"] == "An answer."
    assert schemas["Inner"]["properties"] == {"number": {"type": "integer"}}


def test_what_is_read_may_leave_out_what_has_a_default() -> None:
    assert DOCUMENT["components"]["schemas"]["GenerateRequest"]["required"] == ["voice_id", "text"]


@pytest.mark.parametrize("shape", [Task, Voice], ids=lambda shape: shape.__name__)
def test_every_field_of_an_answer_is_described(shape: type[msgspec.Struct]) -> None:
    assert list(DOCUMENT["components"]["schemas"][shape.__name__]["properties"]) == list(shape.__struct_fields__)


def test_nothing_in_it_refers_to_papers_of_ours() -> None:
    text = document(API).decode()
    for ours in ("v1 contract", "product section", "protocol reference"):
        assert ours not in text


@pytest.mark.parametrize("found", API, ids=lambda found: found.name)
def test_every_header_of_an_answer_has_a_meaning(found: Operation) -> None:
    for answer in found.answers.values():
        if isinstance(answer, Answer):
            assert set(answer.headers) <= set(HEADERS)
            assert answer.body is None or isinstance(answer.body, Json) or answer.body.media_types
