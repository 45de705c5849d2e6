"""The ordinary mistakes, in the bodies of functions: what a mutation tool for any Python would make.

A comparison, `and`/`or` or an operator becomes its neighbour, a condition its opposite, a number is off by one, a
return gives None, a statement is left out.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.In: "not in",
    ast.NotIn: "in",
    ast.Is: "is not",
    ast.IsNot: "is",
}

OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "//",
    ast.Div: "*",
    ast.FloorDiv: "*",
    ast.Mod: "//",
    ast.BitAnd: "|",
    ast.BitOr: "&",
    ast.LShift: ">>",
    ast.RShift: "<<",
}


def replacements(function: ast.FunctionDef) -> Iterator[tuple[ast.AST, str]]:
    """Nodes of the body, each with the text of a mistake to put in its place."""
    for statement in _body(function):
        for node in _walk(statement):
            yield from _of_expression(node)
            if isinstance(node, ast.stmt):
                yield from _of_statement(node)


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """As `ast.walk`, without types: nothing reads them when the program runs."""
    yield node
    for name, child in ast.iter_fields(node):
        if name not in {"annotation", "returns"}:
            for inner in child if isinstance(child, list) else [child]:
                if isinstance(inner, ast.AST):
                    yield from _walk(inner)


def _body(function: ast.FunctionDef) -> list[ast.stmt]:
    first, *rest = function.body
    docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return rest if docstring else [first, *rest]


def _of_expression(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    match node:
        case ast.Compare(left=left, ops=[operator], comparators=[right]):
            yield node, f"({ast.unparse(left)} {COMPARISONS[type(operator)]} {ast.unparse(right)})"
        case ast.BoolOp(op=operator, values=values):
            word = " or " if isinstance(operator, ast.And) else " and "
            yield node, f"({word.join(f'({ast.unparse(value)})' for value in values)})"
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in OPERATORS:
            yield node, f"({ast.unparse(left)} {OPERATORS[type(operator)]} {ast.unparse(right)})"
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield node, f"({ast.unparse(operand)})"
        case ast.Constant(value=int() as number) if not isinstance(number, bool):
            yield node, str(number + 1)
        case ast.IfExp(test=test) if not _is_negated(test):
            yield test, f"(not ({ast.unparse(test)}))"


def _is_negated(test: ast.expr) -> bool:
    """Then taking the `not` away is a mistake of its own already."""
    return isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)


def _of_statement(node: ast.stmt) -> Iterator[tuple[ast.AST, str]]:
    match node:
        case ast.If(test=test) | ast.While(test=test) if not _is_negated(test):
            yield test, f"(not ({ast.unparse(test)}))"
        case ast.Return(value=value) if value is not None and ast.unparse(value) != "None":
            yield node, "return None"
        case ast.Expr(value=ast.Call() | ast.Yield() | ast.YieldFrom()) | ast.AugAssign() | ast.Raise():
            yield node, "pass"
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield node, "pass"
        case ast.Break():
            yield node, "continue"
        case ast.Continue():
            yield node, "break"
