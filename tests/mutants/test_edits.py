"""The mistakes themselves: each is one, each is different, and no entry of a table is forgotten."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

from protocol import state
from tests.mutants.__main__ import EQUIVALENT
from tests.mutants.edits import TABLES, mutants

pytestmark = pytest.mark.slow

PACKAGE = Path(state.__file__).parent
ALL = list(mutants(PACKAGE))


def test_each_is_a_program_that_differs_from_the_real_one_and_from_all_others() -> None:
    originals = {f"protocol.{path.stem}": ast.dump(ast.parse(path.read_text())) for path in PACKAGE.glob("*.py")}
    programs = {(mutant.module, ast.dump(ast.parse(mutant.source))) for mutant in ALL}
    assert len(programs) == len(ALL)
    assert programs.isdisjoint(originals.items())


def test_every_entry_is_dropped_once_and_sent_to_every_other_state() -> None:
    tables = {name: getattr(state, name) for name in TABLES}
    entries = sum(len(row) for table in tables.values() for row in table.values())
    others = sum(len(row) * (len(table) - 1) for table in tables.values() for row in table.values())
    of_tables = [mutant for mutant in ALL if mutant.what.startswith(tuple(f"{name}[" for name in TABLES))]
    assert sum(mutant.what.endswith("is dropped") for mutant in of_tables) == entries
    assert len(of_tables) == entries + others


def test_every_coupling_is_dropped_once() -> None:
    dropped = [mutant for mutant in ALL if mutant.what.startswith("Coupling(") and mutant.what.endswith("is dropped")]
    assert len(dropped) == len(state.COUPLINGS)


def test_an_excuse_is_for_one_mistake_and_hides_no_other() -> None:
    names = Counter(mutant.name for mutant in ALL)
    assert {name: names[name] for name in EQUIVALENT} == dict.fromkeys(EQUIVALENT, 1)
