"""Which gateway a command talks to, and as whom."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NoReturn
from uuid import UUID

import typer
from rich.console import Console

from gateway.data_dir import DataDir

DATA_DIR = Annotated[Path, typer.Option(help="Where `utter dev` keeps its database and secrets.")]


@dataclass(frozen=True, slots=True)
class Target:
    """A gateway and a token that it accepts."""

    base_url: str
    token: str


def find_target(base_url: str | None, token: str | None, data_dir: Path) -> Target:
    """What was given, completed from the local `utter dev`; ends the command with words when neither is there."""
    from gateway.auth import mint_token

    if base_url and token:
        return Target(base_url, token)
    local = DataDir(data_dir)
    record = local.running_record()
    if record is None:
        fail(f"No `utter dev` runs in {data_dir}. Start it, or give both --base-url and --token.")
    return Target(
        base_url or record.base_url,
        token or mint_token(local.secrets().token_secret, UUID(record.demo_user)),
    )


def fail(message: str) -> NoReturn:
    """Say what happened and what to do, and end with exit status 1."""
    # As it is: no markup, since messages quote what people wrote, and no line breaks inside of what can be copied.
    Console(stderr=True).print(message, style="red", highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(1)
