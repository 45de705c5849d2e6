"""The SQL of `queries/*.sql`, by name, with the type of the rows it gives.

A file holds queries, each under a line `-- name: ...`; the comment lines after it say what it is for. Parameters are
written `:name` and become `$1, $2, ...` in order of first use, so a call names its arguments. No SQL is written or
assembled in Python.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Generic, TypeVar, cast

import msgspec

Row = TypeVar("Row")

_HEADING = re.compile(r"^-- name: *([a-z_]+) *$", re.MULTILINE)
_PARAMETER = re.compile(r"(?<![:\w]):([a-z_][a-z0-9_]*)")
_COMMENT = re.compile(r"--[^\n]*")


class QueryError(Exception):
    """A query file or a call of a query is wrong: a mistake of ours, found by the first test that loads it."""


@dataclass(frozen=True, slots=True)
class Query(Generic[Row]):
    """One named statement. `row` is the struct its columns fill, or the type of its only column."""

    name: str
    sql: str
    parameters: tuple[str, ...]
    row: type[Row]

    def arguments(self, values: Mapping[str, object]) -> list[object]:
        """The values in the statement's order. Raises `QueryError` unless exactly the parameters are given."""
        if values.keys() != set(self.parameters):
            raise QueryError(f"{self.name} takes {sorted(self.parameters)}, was given {sorted(values)}")
        return [values[name] for name in self.parameters]

    def decode(self, record: Mapping[str, Any]) -> Row:
        """One row of the answer. Raises TypeError when the columns are not the struct's fields."""
        if issubclass(self.row, msgspec.Struct):
            return self.row(**record)
        (value,) = record.values()
        return cast("Row", value)


def parse(text: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Name -> (statement, parameter names) of one query file. Raises `QueryError` on a name used twice."""
    _, *parts = _HEADING.split(text)
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        if name in found:
            raise QueryError(f"two queries are named {name}")
        found[name] = _number(_COMMENT.sub("", body).strip().removesuffix(";"))
    return found


def _number(sql: str) -> tuple[str, tuple[str, ...]]:
    names = tuple(dict.fromkeys(_PARAMETER.findall(sql)))
    return _PARAMETER.sub(lambda match: f"${names.index(match[1]) + 1}", sql), names


@cache
def _file(stem: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    return parse(files("schema").joinpath("queries", f"{stem}.sql").read_text(encoding="utf-8"))


def load(path: str, row: type[Row]) -> Query[Row]:
    """The query `file.name`. Raises `QueryError` when there is none."""
    stem, name = path.split(".")
    try:
        sql, parameters = _file(stem)[name]
    except KeyError:
        raise QueryError(f"queries/{stem}.sql has no query named {name}") from None
    return Query(path, sql, parameters, row)
