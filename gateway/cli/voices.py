"""`utter voices`: a user's voices, and for operators those that the provider's account keeps."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli import provider, upkeep
from gateway.cli.api import BaseUrl, Token, list_voices, open_client
from gateway.cli.target import DATA_DIR, find_target
from gateway.data_dir import DEFAULT_DATA_DIR

COLUMNS = {"id": 36, "source": 8, "tts_provider": 12, "language": 10, "name": 0}
"""Fields of a voice and how many characters they may take; the name has no bound, so it comes last."""

app = typer.Typer()
app.command()(provider.quota)
app.command()(upkeep.migrate)
app.command()(upkeep.purge)
app.add_typer(provider.app, name="provider")


@app.callback(invoke_without_command=True)
def voices(
    context: typer.Context,
    search: Annotated[str | None, typer.Option(help="Only voices whose name contains this.")] = None,
    base_url: BaseUrl = None,
    token: Token = None,
    data_dir: DATA_DIR = DEFAULT_DATA_DIR,
) -> None:
    """List the voices you can speak with; the commands below are for operators.

    utter voices --search narrator

    utter voices quota
    """
    if context.invoked_subcommand is not None:
        return
    with open_client(find_target(base_url, token, data_dir)) as client:
        rows = list_voices(client, search)
    # Columns of text, not a fitted table: an id is there to be copied, also from a narrow terminal.
    for row in ({name: name for name in COLUMNS}, *rows):
        typer.echo("  ".join(str(row[name]).ljust(width) for name, width in COLUMNS.items()))
