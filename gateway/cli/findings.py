"""Findings in a terminal, as `utter doctor`, `utter smoke` and `utter drill` show them."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from gateway.findings import Finding

VERDICT_WIDTH = 9
SECONDS_WIDTH = 9
MARGIN = 2
"""Columns, characters."""


def show(findings: Sequence[Finding]) -> None:
    """Columns of text, not a fitted table: what is wrong is there to be read to its end, and copied."""
    width = max((len(finding.check) for finding in findings), default=0) + MARGIN
    for finding in findings:
        seconds = f"{finding.seconds:.2f} s"
        typer.echo(
            f"{finding.verdict.value:{VERDICT_WIDTH}}{finding.check:{width}}{seconds:>{SECONDS_WIDTH - MARGIN}}"
            f"{'':{MARGIN}}{finding.detail}".rstrip()
        )
        if finding.remedy:
            typer.echo(f"{'':{VERDICT_WIDTH + width + SECONDS_WIDTH}}{finding.remedy}")
