"""The fuzzer runs for a moment in every test run, and notices what it is there to notice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from protocol.session import ClientSession
from tests.fuzz.target import connection, seeds

SECONDS = 5
ROOT = Path(__file__).parents[2]


def test_the_seeds_are_good_sessions() -> None:
    for seed in seeds():
        connection(seed)


def test_another_exception_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def receive(_session: ClientSession, _message: str | bytes) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(ClientSession, "receive", receive)
    with pytest.raises(ValueError, match="a bug"):
        connection(b"\0anything")


@pytest.mark.slow
def test_nothing_is_found_in_a_moment() -> None:
    pytest.importorskip("atheris", reason="atheris has no wheel for this platform")
    command = [sys.executable, "-m", "tests.fuzz", str(SECONDS)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    [line] = [line for line in run.stderr.splitlines() if line.startswith("stat::number_of_executed_units")]
    assert int(line.split()[-1]) > len(seeds()) * 10
