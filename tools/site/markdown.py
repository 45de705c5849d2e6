"""Pieces of Markdown that the generated pages share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

WIDE = "---\nhide: [toc]\n---\n\n"
"""Before a page that is one wide table: it takes the place of the page's list of sections."""


def cell(text: object) -> str:
    """`text` fit for a cell of a table: on one line, and with no bar or tag of its own."""
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
