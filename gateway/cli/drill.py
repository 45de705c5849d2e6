"""`utter drill`: the way back to Modal, rehearsed (product section 16)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import msgspec
import typer

from gateway.cli.deployment import AS_JSON
from gateway.cli.findings import show
from gateway.cli.target import fail

if TYPE_CHECKING:  # they bring the whole gateway along
    from gateway.drill import Switch


def drill(as_json: AS_JSON = False) -> None:
    """Rehearse the restoration: Qwen to Modal and back, with work in flight, on a scratch deployment of its own.

    utter drill

    utter drill --json | jq '.switches'

    Nothing outside is touched, whatever the environment says, and nothing is left. Exit status 0 when every item of the
    post-rollback list is in order after both flips, 1 when one is not, or when the drill could not be held.
    """
    import anyio

    from gateway.drill import DrillBroken, hold_drill

    try:
        report = anyio.run(partial(hold_drill, partial(typer.echo, err=True)))
    except DrillBroken as error:
        fail(str(error))
    if as_json:
        typer.echo(msgspec.json.encode(report).decode())
    else:
        show(report.findings)
        for switch in report.switches:
            typer.echo(_words(switch))
        typer.echo(f"{'Passed' if report.passed else 'Not passed'}, in {report.seconds:.1f} s.")
    raise typer.Exit(0 if report.passed else 1)


def _words(switch: Switch) -> str:
    return (
        f"To {switch.mode}: {switch.seconds:.2f} s from the order until new work was taken, "
        f"{switch.ready_seconds:.2f} s of them for the new process to start; the old one was gone "
        f"{switch.gone_seconds:.2f} s after it was told to stop, with {switch.in_flight} works in flight."
    )
