"""The folder of the embedded server's socket: private, with a short path, and found again after a kill.

The data directory holds a link to it, since the folder's own name is chosen afresh at every start.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

MAX_SOCKET_PATH_BYTES = 103
"""`sun_path` on macOS; Linux has 107."""

SOCKET_PREFIX = "utter-pg-"
"""Names of our socket folders, so that a swept one is surely ours."""

_OWNER_NAME = "owner"
"""A link back to the data directory's link."""

_SOCKET_NAME = ".s.PGSQL.5432"


class NoShortFolder(Exception):
    """No temporary folder has a path short enough for a socket."""


def make_socket_folder(link: Path) -> Path:
    """A fresh private folder whose socket's path fits the system's limit, wherever TMPDIR points; `link` leads to it.

    Raises `NoShortFolder`.
    """
    for parent in (tempfile.gettempdir(), "/tmp"):  # noqa: S108  # mkdtemp makes a private folder in it
        folder = Path(tempfile.mkdtemp(prefix=SOCKET_PREFIX, dir=parent)).resolve()
        if len(os.fsencode(folder / _SOCKET_NAME)) <= MAX_SOCKET_PATH_BYTES:
            link.symlink_to(folder)
            (folder / _OWNER_NAME).symlink_to(link)
            return folder
        folder.rmdir()
    raise NoShortFolder("no temporary folder has a path short enough for a socket. Set TMPDIR to a short one.")


def remove_socket_folder(link: Path) -> None:
    """Remove the folder behind the link, and the link. Repeatable.

    Not the folder of another data directory, which a copy of that directory leads to as well.
    """
    if not link.is_symlink():
        return
    folder = link.readlink()
    if folder.name.startswith(SOCKET_PREFIX) and not _is_anothers(folder, link):
        shutil.rmtree(folder, ignore_errors=True)
    link.unlink()


def _is_anothers(folder: Path, link: Path) -> bool:
    owner = folder / _OWNER_NAME
    if not owner.is_symlink() or owner.readlink() == link:
        return False
    other = owner.readlink()
    return other.is_symlink() and other.readlink() == folder
