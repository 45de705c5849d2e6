"""`utter smoke`: the cutover list against a live deployment (product section 16)."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated
from uuid import UUID

import msgspec
import typer

from gateway.cli.api import BaseUrl, Token
from gateway.cli.deployment import AS_JSON
from gateway.cli.findings import show
from gateway.cli.target import DATA_DIR, Target, fail, find_target
from gateway.data_dir import DEFAULT_DATA_DIR, DataDir

STRANGER = UUID("5a17e000-0000-4000-8000-000000000002")
"""The second user at `utter dev`; who always is the same need not be deleted."""

OtherToken = Annotated[
    str | None,
    typer.Option(envvar="UTTER_OTHER_TOKEN", help="Access token of another user. At `utter dev` one is made."),
]


def smoke(
    base_url: BaseUrl = None,
    token: Token = None,
    other_token: OtherToken = None,
    allow_skips: Annotated[
        bool, typer.Option("--allow-skips", help="A check that could not be made is no failure.")
    ] = False,
    as_json: AS_JSON = False,
    data_dir: DATA_DIR = DEFAULT_DATA_DIR,
) -> None:
    """Use a live deployment as its users do, and say what to do about what does not work.

    utter smoke

    utter smoke --base-url https://api.example.com --token "$TOKEN" --other-token "$OTHER_TOKEN"

    utter smoke --json | jq -r '.findings[] | select(.verdict != "ok") | .detail'

    One clone, one design and some 800 characters are billed. What is made is deleted again, also after Ctrl-C; the
    provider keeps the two voices, as it does for every user: see `utter voices purge` and `utter orphans`. Exit status
    0 when every check is in order; 1 when one is not, or could not be made.
    """
    import anyio

    from gateway.sample_recording import NoRecording
    from gateway.smoke import go_round

    target = find_target(base_url, token, data_dir)
    other = other_token or _stranger_token(target, data_dir)
    url = target.base_url.rstrip("/")
    say = partial(typer.echo, err=True)
    try:
        report = anyio.run(partial(go_round, url, target.token, other, allow_skips=allow_skips, say=say))
    except NoRecording as error:
        fail(str(error))
    if as_json:
        typer.echo(msgspec.json.encode(report).decode())
    else:
        show(report.findings)
        typer.echo(f"{'Passed' if report.passed else 'Not passed'}, in {report.seconds:.1f} s.")
    raise typer.Exit(0 if report.passed else 1)


def _stranger_token(target: Target, data_dir: Path) -> str | None:
    """A second user's token where the target is the `utter dev` of this machine, None elsewhere."""
    import anyio

    from gateway.auth import mint_token
    from gateway.demo import create_user
    from storage.errors import StorageError

    home = DataDir(data_dir)
    record = home.running_record()
    if record is None or record.base_url != target.base_url:
        return None
    try:
        anyio.run(create_user, record.admin_url, STRANGER)
    except StorageError as error:
        fail(f"The second user could not be made: {error}.")
    return mint_token(home.secrets().token_secret, STRANGER)
