"""Single mistakes in `protocol/`, as edits of its source: the ordinary ones, and some that ordinary tools hardly touch.

Each entry of a transition table is dropped and redirected to every other state, each coupling is dropped, loses a
condition or gets another end, each input changes sides, and each numeric constant is off by one.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.ordinary import replacements

TABLES = ("SENDING", "INPUT_BUFFER", "SESSION", "RESPONSE", "AUDIO")

ENUMS = ("Sending", "InputBuffer", "Session", "Response", "Audio", "Fault")
"""Whose members an entry or a coupling may be redirected to."""


@dataclass(frozen=True)
class Mutant:
    """`source` is the whole text of `module` with one mistake, which `what` names."""

    module: str
    what: str
    source: str

    @property
    def name(self) -> str:
        """Without the number of its line: lines move."""
        return f"{self.module} {re.sub(r':[0-9]+ ', ' ', self.what, count=1)}"


@dataclass(frozen=True)
class _Module:
    name: str
    text: str

    def cut(self, node: ast.AST, replacement: str = "") -> str:
        """The text with `node` replaced; where a list element is cut, the comma stays behind and must be legal."""
        start, end = self._offset(node, "lineno", "col_offset"), self._offset(node, "end_lineno", "end_col_offset")
        return self.text[:start] + replacement + self.text[end:]

    def cut_pair(self, key: ast.expr, value: ast.expr) -> str:
        start, end = self._offset(key, "lineno", "col_offset"), self._offset(value, "end_lineno", "end_col_offset")
        rest = self.text[end:].lstrip()
        return self.text[:start] + rest.removeprefix(",")

    def _offset(self, node: ast.AST, line: str, column: str) -> int:
        lines = self.text.encode().splitlines(keepends=True)
        before = b"".join(lines[: getattr(node, line) - 1]) + lines[getattr(node, line) - 1][: getattr(node, column)]
        return len(before.decode())


def mutants(package: Path) -> Iterator[Mutant]:
    """Every mistake in the modules of `package`, in the order of their files."""
    members = _enum_members(package)
    for path in sorted(package.glob("*.py")):
        module = _Module(f"{package.name}.{path.stem}", path.read_text())
        for node in ast.parse(module.text).body:
            if not isinstance(node, (ast.Assign, ast.AnnAssign)) or node.value is None:
                continue
            name = ast.unparse(node.target if isinstance(node, ast.AnnAssign) else node.targets[0])
            if name in TABLES:
                yield from _of_table(module, name, node.value, members)
            elif name == "COUPLINGS":
                yield from _of_couplings(module, node.value, members)
            elif name == "SENT_BY":
                yield from _of_senders(module, node.value)
            else:
                yield from _of_constant(module, name, node.value)
        yield from _of_functions(module)


def _of_functions(module: _Module) -> Iterator[Mutant]:
    for function in ast.walk(ast.parse(module.text)):
        if isinstance(function, ast.FunctionDef):
            parents = {child: parent for parent in ast.walk(function) for child in ast.iter_child_nodes(parent)}
            for node, mistake in replacements(function):
                line, what = getattr(node, "lineno", 0), f"{_words(node)} -> {mistake}"
                if isinstance(node, ast.Constant):  # a bare number says little
                    what += f" in {_words(parents[node])}"
                yield Mutant(module.name, f"{function.name}:{line} {what}", module.cut(node, mistake))


def _words(node: ast.AST) -> str:
    return " ".join(ast.unparse(node).split())


def _enum_members(package: Path) -> dict[str, list[str]]:
    """Enum name to its members, `Enum.MEMBER`."""
    found: dict[str, list[str]] = {}
    for path in package.glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and node.name in ENUMS:
                names = [line.targets[0] for line in node.body if isinstance(line, ast.Assign)]
                found[node.name] = [f"{node.name}.{ast.unparse(name)}" for name in names]
    return found


def _others(value: ast.expr, members: dict[str, list[str]]) -> list[str]:
    word = ast.unparse(value)
    return [member for member in members[word.partition(".")[0]] if member != word]


def _of_table(module: _Module, table: str, value: ast.expr, members: dict[str, list[str]]) -> Iterator[Mutant]:
    assert isinstance(value, ast.Dict), f"{table} is no literal any more"
    for state, row in zip(value.keys, value.values, strict=True):
        assert state is not None
        assert isinstance(row, ast.Dict), f"a row of {table} is no literal any more"
        for move, target in zip(row.keys, row.values, strict=True):
            assert move is not None
            where = f"{table}[{ast.unparse(state)}][{ast.unparse(move)}]"
            yield Mutant(module.name, f"{where} is dropped", module.cut_pair(move, target))
            for other in _others(target, members):
                yield Mutant(module.name, f"{where} = {other}", module.cut(target, other))


def _of_couplings(module: _Module, value: ast.expr, members: dict[str, list[str]]) -> Iterator[Mutant]:
    assert isinstance(value, ast.Tuple)
    for coupling in value.elts:
        assert isinstance(coupling, ast.Call)
        text = ast.unparse(coupling)
        yield Mutant(module.name, f"{text} is dropped", _without(module, coupling))
        when, then = coupling.args[0], coupling.args[1]
        assert isinstance(when, ast.Call)
        conditions = when.args[0]
        assert isinstance(conditions, ast.Set)
        for condition in conditions.elts if len(conditions.elts) > 1 else []:
            kept = ", ".join(ast.unparse(other) for other in conditions.elts if other is not condition)
            yield Mutant(module.name, f"{text} without {ast.unparse(condition)}", module.cut(conditions, f"{{{kept}}}"))
        for changed in (then, *coupling.args[2:]):
            for other in _others(changed, members):
                yield Mutant(module.name, f"{text} -> {other}", module.cut(changed, other))


def _without(module: _Module, element: ast.expr) -> str:
    return module.cut_pair(element, element)


def _of_senders(module: _Module, value: ast.expr) -> Iterator[Mutant]:
    for node in ast.walk(value):
        if isinstance(node, ast.Set):
            for element in node.elts:
                yield Mutant(module.name, f"SENT_BY without {ast.unparse(element)}", _without(module, element))


def _of_constant(module: _Module, name: str, value: ast.expr) -> Iterator[Mutant]:
    if _is_number(value):
        for change in ("- 1", "+ 1"):
            mistake = f"{ast.unparse(value)} {change}"
            yield Mutant(module.name, f"{name} = {mistake}", module.cut(value, f"({mistake})"))


def _is_number(value: ast.expr) -> bool:
    """A literal, or what is calculated of literals and of other constants."""
    match value:
        case ast.Constant(value=int() | float()) if not isinstance(value.value, bool):
            return True
        case ast.BinOp(left=left, right=right):
            return _is_number(left) and _is_number(right)
        case ast.Name(id=name):
            return name.isupper()
    return False
