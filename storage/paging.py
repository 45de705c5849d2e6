"""Pages of a listing."""

from __future__ import annotations

MAX_OFFSET = 2**63 - 1
"""Rows; what `OFFSET` can hold. A page number is any number a client cares to type (contract 1.0)."""


def offset(page: int, per_page: int) -> int:
    """Rows before `page`, which counts from 1."""
    return min((page - 1) * per_page, MAX_OFFSET)
