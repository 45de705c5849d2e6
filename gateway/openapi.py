"""The OpenAPI 3.1 document of a table of operations, with schemas from the msgspec types (product section 4).

Nothing is described here: what the document says stands in the table's rows and in the types.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

import msgspec

from gateway.middleware.paths import ROUTE_PREFIXES
from gateway.routes.operations import ERRORS, HEADERS, Answer, Json, Operation, Parameter
from schema.http import Detail

JsonObject = dict[str, Any]

_SCHEMAS = "#/components/schemas/"
_ABOUT = (
    "Text in, speech out.\n\n"
    "Sign in with `Authorization: Bearer <access token>`. Every error is a JSON object with a `detail` in words for "
    "people, and every answer has an `X-Request-Id`. `GET` routes answer `HEAD` too, and every path `OPTIONS`. Limits "
    "on text count UTF-16 units."
)

_REFERENCE = re.compile(r"\s*\((?:v1 contract|product|reference)\b[^)]*\)")

_SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "An access token."},
    "link": {
        "type": "apiKey",
        "in": "query",
        "name": "token",
        "description": "The signature of a signed address, which other answers hand out whole.",
    },
}


@functools.cache
def document(operations: tuple[Operation, ...]) -> bytes:
    """The document, encoded."""
    return msgspec.json.encode(describe(operations))


def describe(operations: Iterable[Operation]) -> JsonObject:
    """The document. Raises ValueError when two operations would share a name or an address."""
    table = list(operations)
    for key in (lambda row: row.name, lambda row: (row.method, row.template)):
        if len({key(row) for row in table}) < len(table):
            raise ValueError("two operations have the same name or address")
    paths: dict[str, JsonObject] = {}
    for row in table:
        paths.setdefault(row.template, {})[row.method.lower()] = _operation(row)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Utter", "version": version("utter-gateway"), "description": _ABOUT},
        "servers": [{"url": prefix} for prefix in ROUTE_PREFIXES],
        "tags": [{"name": group} for group in dict.fromkeys(row.group for row in table)],
        "paths": paths,
        "components": {
            "schemas": _schemas(table),
            "headers": {name: {"description": note, "schema": {"type": "string"}} for name, note in HEADERS.items()},
            "responses": {f"Error{status}": _error(status, note) for status, note in ERRORS.items()},
            "securitySchemes": _SECURITY_SCHEMES,
        },
    }


def _operation(row: Operation) -> JsonObject:
    errors = {str(status): {"$ref": f"#/components/responses/Error{status}"} for status in row.errors}
    answers = {str(status): _answer(given) for status, given in row.answers.items()}
    described: JsonObject = {
        "operationId": row.name,
        "summary": row.summary,
        "tags": [row.group],
        "parameters": _parameters(row),
        "responses": dict(sorted((answers | errors).items())),
        "security": [{scheme: []} if scheme else {} for scheme in row.auth.value],
    }
    if row.body is not None:
        content = {kind: _content(row.body.content) for kind in row.body.media_types}
        described["requestBody"] = {"required": True, "content": content}
    return described


def _words(docstring: str | None) -> str:
    """A type's docstring for people who have neither our code nor what it refers to."""
    return _REFERENCE.sub("", inspect.cleandoc(docstring or ""))


def _parameters(row: Operation) -> list[JsonObject]:
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": _path_schema(name)} for name in row.path_parameters
    ]
    in_query = [_given("query", parameter) for parameter in row.query]
    return in_path + in_query + [_given("header", parameter) for parameter in row.headers]


def _path_schema(name: str) -> JsonObject:
    schema: JsonObject = {"type": "string", "minLength": 1}
    return {**schema, "format": "uuid"} if name.endswith("_id") else schema


def _given(place: str, parameter: Parameter) -> JsonObject:
    return {
        "name": parameter.name,
        "in": place,
        "required": False,
        "description": parameter.note,
        "schema": dict(parameter.schema),
    }


def _answer(given: Answer | type[msgspec.Struct]) -> JsonObject:
    answer = given if isinstance(given, Answer) else Answer(_words(given.__doc__), Json(given))
    described: JsonObject = {"description": answer.note, "headers": _headers(*answer.headers)}
    if answer.body is not None:
        described["content"] = {kind: _content(answer.body.content) for kind in answer.body.media_types}
    return described


def _error(status: int, note: str) -> JsonObject:
    names = ["X-Utter-Error-Category"] + ["Retry-After"] * (status == 503)
    return {
        "description": note,
        "headers": _headers(*names),
        "content": {"application/json": _content(Detail)},
    }


def _headers(*names: str) -> JsonObject:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-Id", *names)}


def _content(shape: type[msgspec.Struct] | None) -> JsonObject:
    """A media type. Bytes have no schema: OpenAPI 3.1 leaves it out for what is not text."""
    return {} if shape is None else {"schema": {"$ref": _SCHEMAS + shape.__name__}}


def _schemas(table: Iterable[Operation]) -> JsonObject:
    asked = {row.body.content for row in table if row.body is not None and row.body.content is not None}
    answered: set[type[msgspec.Struct]] = {Detail}
    for row in table:
        for given in row.answers.values():
            shape = (given.body.content if given.body else None) if isinstance(given, Answer) else given
            if shape is not None:
                answered.add(shape)
    _, components = msgspec.json.schema_components(
        sorted(asked | answered, key=lambda shape: shape.__name__), ref_template=_SCHEMAS + "{name}"
    )
    for schema in components.values():
        schema["description"] = _words(schema.get("description"))
    # The schemas of msgspec say what it reads, where a default may stand in; what it writes is always there.
    for shape in _with_parts(answered):
        components[shape.__name__]["required"] = _always_written(shape)
    return components


def _with_parts(shapes: Iterable[type[msgspec.Struct]]) -> set[type[msgspec.Struct]]:
    """`shapes` and the structs that their fields hold, however deep."""
    found: set[type[msgspec.Struct]] = set()
    waiting = [msgspec.inspect.type_info(shape) for shape in shapes]
    while waiting:
        match waiting.pop():
            case msgspec.inspect.StructType(cls=shape, fields=fields) if shape not in found:
                found.add(shape)
                waiting += [field.type for field in fields]
            case msgspec.inspect.UnionType(types=types):
                waiting += types
            case msgspec.inspect.ListType(item_type=item) | msgspec.inspect.Metadata(type=item):
                waiting.append(item)
            case msgspec.inspect.DictType(value_type=value):
                waiting.append(value)
    return found


def _always_written(shape: type[msgspec.Struct]) -> list[str]:
    """The fields that are in every answer, by their names on the wire."""
    fields = msgspec.structs.fields(shape)
    leaves_out = shape.__struct_config__.omit_defaults
    return [field.encode_name for field in fields if field.required or not (leaves_out or _may_be_unset(field))]


def _may_be_unset(field: msgspec.structs.FieldInfo) -> bool:
    return field.default is msgspec.UNSET
