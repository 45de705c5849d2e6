"""Percentiles of a few measurements, said the same way by every bench."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table


@dataclass(frozen=True, slots=True)
class Summary:
    """Percentiles in the unit of the measurements."""

    count: int
    p50: float
    p95: float
    p99: float
    p999: float
    smallest: float
    largest: float


def summarize(values: Sequence[float]) -> Summary:
    """Nearest-rank percentiles: with few runs p99 is simply the worst one. Raises ValueError for no values."""
    if not values:
        raise ValueError("nothing was measured")
    ordered = sorted(values)
    return Summary(
        count=len(ordered),
        p50=_rank(ordered, 50),
        p95=_rank(ordered, 95),
        p99=_rank(ordered, 99),
        p999=_rank(ordered, 99.9),
        smallest=ordered[0],
        largest=ordered[-1],
    )


def _rank(ordered: Sequence[float], percent: float) -> float:
    index = math.ceil(percent * len(ordered) / 100) - 1
    return ordered[max(index, 0)]


def summary_table(title: str, unit: str, rows: dict[str, Summary]) -> Table:
    """One line per measured thing."""
    table = Table("", "runs", "p50", "p95", "p99", "p99.9", "min", "max", title=f"{title} ({unit})")
    for name, row in rows.items():
        figures = (row.p50, row.p95, row.p99, row.p999, row.smallest, row.largest)
        table.add_row(name, str(row.count), *(f"{figure:.2f}" for figure in figures))
    return table
