"""`utter audit`: what database, object store and spool do not agree on (product section 11)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from gateway.cli.deployment import AS_JSON, DEPLOYMENT, find_settings, run

if TYPE_CHECKING:  # they bring the whole gateway along
    from gateway.audit import Finding
    from gateway.settings import Settings


def audit(
    digests: Annotated[
        bool, typer.Option("--digests", help="Read every stored audio and compare its SHA-256.")
    ] = False,
    as_json: AS_JSON = False,
    data_dir: DEPLOYMENT = None,
) -> None:
    """List everything that database, object store and spool do not agree on, with what to do. Nothing is changed.

    utter audit

    utter audit --digests --json | jq -r '.[].kind' | sort | uniq -c

    Exit status 0 when they agree; 1 when they do not, or when one of them cannot be read.
    """
    found = run(partial(_list, digests=digests), find_settings(data_dir))
    if as_json:
        rows = [
            {"kind": one.kind.value, "subject": one.subject, "detail": one.detail, "remedy": one.remedy}
            for one in found
        ]
        typer.echo(msgspec.json.encode(rows).decode())
    else:
        for one in found:
            typer.echo(f"{one.kind.value}  {one.subject}  {one.detail}")
            typer.echo(f"    {one.remedy}")
        typer.echo(f"{len(found)} disagreements." if found else "Everything agrees.", err=True)
    raise typer.Exit(1 if found else 0)


async def _list(settings: Settings, *, digests: bool) -> list[Finding]:
    from gateway.audit import audit as compare
    from storage.database import Database
    from storage.objects import ObjectStore

    objects = ObjectStore.open(settings.objects_url)
    async with Database.open(settings.database_url, max_connections=1) as database:
        return [one async for one in compare(database, objects, settings.spool_dir, digests=digests)]
