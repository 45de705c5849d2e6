"""`utter orphans`: voices that the provider keeps, or may keep, though nobody can use them (product section 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import typer

from gateway.cli.deployment import AS_JSON, DEPLOYMENT, find_settings, run

if TYPE_CHECKING:  # they bring the whole gateway along
    from gateway.settings import Settings
    from schema.records import OrphanRow

REASONS = {
    "ambiguous": "asked for, and no answer came: it may exist",
    "abandoned": "asked for by a process that died: it may exist",
    "voice_gone": "its voice was deleted here",
    "never_saved": "a preview that nobody saved",
    "preview_deleted": "a preview whose task was deleted before anybody saved it",
    "preview_ended": "a preview that failed or was cancelled",
}
"""Why a voice is on the list, for operators."""


def orphans(as_json: AS_JSON = False, data_dir: DEPLOYMENT = None) -> None:
    """List the voices that were paid for and that nobody can use. Nothing is changed.

    utter orphans

    utter orphans --json | jq -r '.[].provider_voice_id | values'
    """
    found = run(_list, find_settings(data_dir))
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
        return
    for row in found:
        typer.echo(_line(row))
    if found:
        typer.echo(f"{len(found)} orphans. `utter voices provider delete ID` removes one at the provider.", err=True)
    else:
        typer.echo("No orphans.", err=True)


async def _list(settings: Settings) -> list[OrphanRow]:
    from storage import creates
    from storage.database import Database

    async with (
        Database.open(settings.database_url, max_connections=1) as database,
        database.as_service() as transaction,
    ):
        return await creates.list_orphans(transaction)


def _line(row: OrphanRow) -> str:
    """What is needed to find it at the provider, and here: never what somebody wrote."""
    return "  ".join(
        (
            row.provider_voice_id or "(id unknown)",
            row.kind,
            row.region,
            f"{row.created_at:%Y-%m-%dT%H:%M:%SZ}",
            f"user {row.user_id}",
            f"request {row.request_id or 'unknown'}",
            REASONS.get(row.reason, row.reason),
        )
    )
