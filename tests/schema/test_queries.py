"""Query files: the parser, and every query of ours against the real schema."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import msgspec
import pytest

from schema.queries import Query, QueryError, load, parse
from schema.records import TaskRow
from tests.support.postgres import TestDatabase
from tests.support.queries import all_queries

QUERY_FILES = sorted((Path(__file__).parents[2] / "schema" / "queries").glob("*.sql"))


def test_parameters_become_numbers_in_order_of_first_use() -> None:
    found = parse("-- name: a\n-- Words: with :colon.\nselect :b::text, :a, :b;\n\n-- name: c\nselect 1;\n")
    assert found == {"a": ("select $1::text, $2, $1", ("b", "a")), "c": ("select 1", ())}


def test_a_name_used_twice_is_an_error() -> None:
    with pytest.raises(QueryError, match="two queries are named a"):
        parse("-- name: a\nselect 1;\n-- name: a\nselect 2;\n")


@pytest.mark.parametrize("path", ["tasks.nothing", "nothing.get"])
def test_a_query_that_does_not_exist_is_an_error(path: str) -> None:
    with pytest.raises((QueryError, FileNotFoundError)):
        load(path, TaskRow)


def test_arguments_go_by_name_and_must_be_complete() -> None:
    query = Query("a.b", "select $1, $2", ("first", "second"), int)
    assert query.arguments({"second": 2, "first": 1}) == [1, 2]
    with pytest.raises(QueryError, match="takes"):
        query.arguments({"first": 1})
    with pytest.raises(QueryError, match="takes"):
        query.arguments({"first": 1, "second": 2, "third": 3})


def test_every_query_in_the_files_is_loaded_by_storage() -> None:
    in_files = {f"{file.stem}.{name}" for file in QUERY_FILES for name in parse(file.read_text(encoding="utf-8"))}
    assert in_files == {query.name for query in all_queries()}


@pytest.mark.integration
@pytest.mark.anyio
async def test_every_query_fits_the_schema_and_its_struct(database: TestDatabase) -> None:
    connection = await asyncpg.connect(database.admin_url)
    try:
        for query in all_queries():
            statement = await connection.prepare(query.sql)
            columns = [attribute.name for attribute in statement.get_attributes()]
            assert len(statement.get_parameters()) == len(query.parameters), query.name
            if issubclass(query.row, msgspec.Struct):
                assert sorted(columns) == sorted(query.row.__struct_fields__), query.name
            else:
                assert len(columns) == 1, query.name
    finally:
        await connection.close()
