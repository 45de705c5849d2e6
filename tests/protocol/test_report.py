"""The report of the session machine is complete, and the checked-in one is the current one."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

from protocol.report import MACHINES, render
from protocol.state import COUPLINGS, Input, State

CHECKED_IN = Path(__file__).parents[2] / "docs" / "session-machine.md"


def test_the_checked_in_report_is_current() -> None:
    assert CHECKED_IN.read_text(encoding="utf-8") == render(), "stale: run `make report` and read the difference"


def test_make_report_prints_it(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "protocol.report")
    runpy.run_module("protocol.report", run_name="__main__")
    assert capsys.readouterr().out == render()


def test_every_input_is_heard_by_some_machine() -> None:
    listened = {known for _, _, table in MACHINES for row in table.values() for known in row}
    assert listened == set(Input)


@pytest.mark.parametrize(("name", "about", "table"), MACHINES, ids=[machine[0] for machine in MACHINES])
def test_every_entry_and_every_gap_is_shown(name: str, about: str, table: dict[State, dict[Input, State]]) -> None:
    section = render().split(f"## {name}: {about}")[1].split("## ")[0]
    listened = {known for row in table.values() for known in row}
    for state, row in table.items():
        line = next(line for line in section.splitlines() if line.startswith(f"| **{state.name}**"))
        handled, missing = line.split(" | ")[1:3]
        assert set(re.findall(r"`([^`]+)` → (\w+)", handled)) == {(known.value, row[known].name) for known in row}
        assert set(re.findall(r"`([^`]+)`", missing)) == {known.value for known in listened - row.keys()}


def test_every_coupling_is_shown() -> None:
    section = render().split("## Couplings")[1]
    assert section.count("\n| ") - 1 == len(COUPLINGS)
