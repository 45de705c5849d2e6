"""The HTTP reference, from the OpenAPI document that the gateway serves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gateway.openapi import describe
from gateway.routes.table import API
from tools.site.markdown import cell, table

JsonObject = dict[str, Any]

_CONSTRAINTS = ("minLength", "maxLength", "minimum", "maximum", "maxItems", "pattern", "format", "default")


def render() -> str:
    """The whole page, Markdown."""
    document = describe(API)
    prefixes = " and ".join(f"`{server['url']}`" for server in document["servers"])
    parts = ["# HTTP", document["info"]["description"]]
    parts += [f"Every path is served below {prefixes}. A running gateway answers this document at `/api/openapi.json`,"]
    parts[-1] += " and lets it be tried at `/docs`."
    for tag in document["tags"]:
        parts.append(f"## {tag['name']}")
        for path, item in document["paths"].items():
            parts += [_operation(path, verb, row) for verb, row in item.items() if tag["name"] in row["tags"]]
    parts.append("## Types")
    parts += [_type(name, schema) for name, schema in document["components"]["schemas"].items()]
    parts.append("## Headers of answers")
    headers = document["components"]["headers"]
    parts.append(
        table(("header", "meaning"), ((f"`{name}`", cell(said["description"])) for name, said in headers.items()))
    )
    return "\n\n".join(parts) + "\n"


def _operation(path: str, verb: str, row: JsonObject) -> str:
    parts = [f"### `{verb.upper()} {path}` {{ #{row['operationId']} }}", f"{row['summary']}", _who(row["security"])]
    if row["parameters"]:
        given = ((f"`{one['name']}`", one["in"], cell(one.get("description", ""))) for one in row["parameters"])
        parts.append(table(("parameter", "in", "meaning"), given))
    if "requestBody" in row:
        parts.append("Body: " + "; ".join(_contents(row["requestBody"]["content"])) + ".")
    parts.append(table(("status", "answer", "body"), (_answer(*one) for one in row["responses"].items())))
    return "\n\n".join(parts)


def _who(security: list[JsonObject]) -> str:
    names = {"bearer": "an access token", "link": "a signed address"}
    ways = [names[scheme] for given in security for scheme in given]
    needed = " or ".join(ways) or "nothing"
    return f"Needs {needed}." if {} not in security or not ways else f"Takes {needed}, and works without."


def _answer(status: str, answer: JsonObject) -> tuple[str, str, str]:
    if "$ref" in answer:  # the shared error of that status
        answer = describe(API)["components"]["responses"][answer["$ref"].rsplit("/", 1)[1]]
    told = ", ".join(f"`{name}`" for name in answer.get("headers", {}) if name != "X-Request-Id" and int(status) < 400)
    note = cell(answer["description"]) + (f"<br>Headers: {told}." if told else "")
    return status, note, ", ".join(_contents(answer.get("content", {})))


def _contents(content: JsonObject) -> Iterator[str]:
    for kind, said in content.items():
        yield f"{_shape(said['schema'])}, `{kind}`" if "schema" in said else f"`{kind}`"


def _type(name: str, schema: JsonObject) -> str:
    required = set(schema.get("required", ()))
    rows = (
        (f"`{field}`", _shape(said), "yes" if field in required else "no", cell(_limits(said)))
        for field, said in schema.get("properties", {}).items()
    )
    heading = f"### {name} {{ #{name} }}\n\n{schema.get('description', '')}"
    return f"{heading}\n\n" + table(("field", "type", "always there", "limits"), rows)


def _shape(schema: JsonObject) -> str:
    """The type of a value in a few words, other types as links."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name})"
    if "anyOf" in schema:
        return " or ".join(_shape(one) for one in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_shape(schema['items'])}" if isinstance(schema.get("items"), dict) else "list"
    return str(schema.get("type", "anything"))


def _limits(schema: JsonObject) -> str:
    return ", ".join(f"{name} `{schema[name]}`" for name in _CONSTRAINTS if schema.get(name) is not None)
