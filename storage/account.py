"""Which operating system account the embedded PostgreSQL runs under.

PostgreSQL refuses to run as root. A normal user's server runs as that user; root's runs as an account that exists on
the machine anyway and owns nothing of value. That account gets the server's own folder, and on the way there only
what it needs: the right to pass through a folder, not to look into it.
"""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CANDIDATES = ("postgres", "nobody")
"""Unprivileged accounts, the better one first."""


class NoAccount(Exception):
    """Root has no account to hand the server to, or a folder cannot be opened to it. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Account:
    """Ids of the account the server runs under; `None` at the place of an account means our own."""

    uid: int
    gid: int


def choose_account(cluster: Path) -> Account | None:
    """The account for this cluster: an existing one keeps its owner. None when we need not change.

    Raises `NoAccount`.
    """
    if os.geteuid() != 0:
        return None
    if cluster.exists() and (owner := cluster.stat()).st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    for name in CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise NoAccount(
        f"PostgreSQL does not run as root, and none of the accounts {', '.join(CANDIDATES)} exists. "
        "Run as a normal user, or set DATABASE_URL to a database of your own."
    )


def give_folder(folder: Path, account: Account | None) -> None:
    """Make the folder, private to the account, and reachable for it. Raises `NoAccount`."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if account is not None:
        os.chown(folder, account.uid, account.gid)
        open_way(folder, account)


def open_way(target: Path, account: Account) -> None:
    """Let the account pass through the folders above `target`: search permission, where missing, and nothing else.

    Raises `NoAccount`.
    """
    for folder in reversed(target.resolve().parents):
        found = folder.stat()
        if _may_pass(found, account):
            continue
        try:
            folder.chmod(stat.S_IMODE(found.st_mode) | stat.S_IXOTH)
        except OSError as error:
            raise NoAccount(
                f"The account PostgreSQL runs under (uid {account.uid}) cannot pass through {folder}, and its "
                f"permissions cannot be changed ({error.strerror}). Use another --data-dir, or run as a normal user."
            ) from error


def run_as(account: Account | None) -> dict[str, Any]:
    """Arguments for `subprocess` that run a program under the account, with nothing of our own environment.

    The account may not be able to enter our working directory, and `PG*` variables would change what programs do.
    """
    surroundings: dict[str, Any] = {"cwd": "/", "env": {"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath}}
    if account is not None:
        surroundings |= {"user": account.uid, "group": account.gid, "extra_groups": []}
    return surroundings


def _may_pass(folder: os.stat_result, account: Account) -> bool:
    if folder.st_uid == account.uid:
        return bool(folder.st_mode & stat.S_IXUSR)
    if folder.st_gid == account.gid:
        return bool(folder.st_mode & stat.S_IXGRP)
    return bool(folder.st_mode & stat.S_IXOTH)
