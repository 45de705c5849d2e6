"""`make mutants`: every mistake of `edits.py` against the tests of `protocol/`, and a list of those nobody noticed.

    python -m tests.mutants [part of a mutant's name]

Exit status 1 when one survives that is not listed in `EQUIVALENT`.
"""

from __future__ import annotations

import ast
import importlib.abc
import importlib.machinery
import os
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import pytest
from rich.progress import track

from tests.mutants.edits import Mutant, mutants

ROOT = Path(__file__).parents[2]

PATIENCE_SECONDS = 300
"""A mistake that makes the tests hang is a noticed one; they take 60 s."""

TEST_SECONDS = 90
"""The same for a single test; the longest takes 12 s."""

MEMORY_BYTES = 4 << 30
"""A mistake that makes a loop endless may fill the memory faster than it takes time."""

EQUIVALENT: dict[str, str] = {
    "protocol.chunker _BLOCK_CHARS = 512 + 1": "a block bounds the work; where the cuts fall does not depend on it",
    "protocol.chunker _BLOCK_CHARS = 512 - 1": "the same",
    "protocol.chunker _find_cut break -> continue": "boundaries come in order: those behind it are skipped as well",
    "protocol.chunker _find_cut return 0 -> return None": "only its truth is asked for, and mypy refuses the type",
    "protocol.machine _due_coupling c.when <= current -> (c.when < current)": "four states at least are current, and "
    "no coupling names as many",
    "protocol.modal _words 4 -> 5 in 4 * MAX_ERROR_CHARS": "no character takes more than four bytes",
    "protocol.mp3 __init__ 0 -> 1 in self._zeros = 0": "zeros count behind a frame only, and every frame sets it first",
    "protocol.mp3 __init__ self._zeros = 0 -> pass": "the same",
}
"""Mutants that change nothing anybody could see, by name and in the order of names, and why."""


class _Source(importlib.abc.InspectLoader, importlib.abc.MetaPathFinder):
    """Imports one module from a text instead of its file."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(fullname, self) if fullname == self._mutant.module else None

    def get_source(self, _fullname: str) -> str:
        return self._mutant.source


def _tests_of(module: str) -> list[str]:
    """Its own tests first: most mistakes are noticed there, and the first failure ends the run.

    The report's for the report alone: they compare a file that is generated from the tables, and so would notice every
    change of them without knowing a right one from a wrong one.
    """
    folder = ROOT / "tests" / "protocol"
    own, bounds = folder / f"test_{module.rpartition('.')[2]}.py", folder / "test_bounds.py"
    rest = [path for path in sorted(folder.glob("test_*.py")) if path not in {own, bounds, folder / "test_report.py"}]
    concerned = [path for path in rest if module in _imports(path.read_text(), set())]
    return [str(path) for path in (own, bounds, *concerned) if path.exists()]


def _imports(source: str, seen: set[str]) -> set[str]:
    """The modules of ours that are imported by `source`, and by those: `seen`, completed."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                path = (ROOT / name.replace(".", "/")).with_suffix(".py")
                if name not in seen and path.exists():
                    seen.add(name)
                    _imports(path.read_text(), seen)
    return seen


def _run(mutant: Mutant) -> int:
    """In a child process: 0 when no test noticed."""
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    sys.meta_path.insert(0, _Source(mutant))
    options = ["-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0", f"--timeout={TEST_SECONDS}"]
    return int(pytest.main([*options, *_tests_of(mutant.module)]))


def _start(mutant: Mutant) -> int:
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            code = _run(mutant)
        finally:
            os._exit(code)
    return pid


def _survivors(chosen: list[Mutant]) -> Iterator[Mutant]:
    running: dict[int, tuple[Mutant, float]] = {}
    waiting = iter(track(chosen, description="mutants"))
    exhausted = False
    while running or not exhausted:
        while not exhausted and len(running) < (os.cpu_count() or 1):
            mutant = next(waiting, None)
            if mutant is None:
                exhausted = True
            else:
                running[_start(mutant)] = mutant, time.monotonic() + PATIENCE_SECONDS
        for pid, (mutant, deadline) in list(running.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del running[pid]
                if status == 0:
                    print(f"  survived: {mutant.module} {mutant.what}", flush=True)
                    yield mutant
            elif time.monotonic() > deadline:
                os.kill(pid, 9)
        time.sleep(0.02)


def _control(module: str) -> Mutant:
    """No mistake: it must survive, or every other verdict would be worth nothing."""
    return Mutant(module, "nothing", (ROOT / module.replace(".", "/")).with_suffix(".py").read_text())


def main(part: str = "") -> int:
    chosen = [mutant for mutant in mutants(ROOT / "protocol") if part in f"{mutant.module} {mutant.what}"]
    if not chosen:
        print(f"no mutant is called like {part!r}")
        return 2
    if not list(_survivors([_control(chosen[0].module)])):
        print("the tests fail without a mutant; make them pass first")
        return 2
    survivors = list(_survivors(chosen))
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} mutants were noticed")
    unexplained = [mutant for mutant in survivors if mutant.name not in EQUIVALENT]
    for name in sorted({mutant.name for mutant in survivors} & EQUIVALENT.keys()):
        print(f"  changes nothing: {name}: {EQUIVALENT[name]}")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
