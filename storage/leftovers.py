"""Servers that a killed process left behind on a data folder: found, ended, swept up.

Call only while holding the folder's lock: then whatever still runs there has no owner any more.
"""

from __future__ import annotations

import signal
from pathlib import Path

import psutil

from storage.sockets import remove_socket_folder

FAST_SHUTDOWN_SECONDS = 10.0
"""SIGINT: sessions are cut, a checkpoint is written."""

IMMEDIATE_SHUTDOWN_SECONDS = 5.0
"""SIGQUIT: no checkpoint; the next start recovers from the log."""

_PROC = Path("/proc")
"""Where there is one: a link in it leads to the folder itself, not to a path."""


def end_leftovers(cluster: Path, socket_link: Path) -> int:
    """End every server process of this cluster and remove its stale files; gives how many processes there were.

    `socket_link` is the symbolic link to its socket folder. Raises `psutil.AccessDenied` when the processes belong to
    somebody else.
    """
    found = _servers(cluster)
    end(found)
    # Its process id may belong to a stranger by now, at which the next server would refuse to start.
    (cluster / "postmaster.pid").unlink(missing_ok=True)
    remove_socket_folder(socket_link)
    return len(found)


def end(processes: list[psutil.Process]) -> None:
    """The three shutdowns of PostgreSQL, from polite to sure, to whichever are still there."""
    remaining = processes
    for number, seconds in (
        (signal.SIGINT, FAST_SHUTDOWN_SECONDS),
        (signal.SIGQUIT, IMMEDIATE_SHUTDOWN_SECONDS),
        (signal.SIGKILL, IMMEDIATE_SHUTDOWN_SECONDS),
    ):
        for process in remaining:
            _send(process, number)
        _, remaining = psutil.wait_procs(remaining, timeout=seconds)


def _servers(cluster: Path) -> list[psutil.Process]:
    """Processes of the server on this cluster, postmaster and backends: their working directory is the cluster."""
    return [
        process
        for process in psutil.process_iter(["name"])
        if process.info["name"] == "postgres" and _works_in(process, cluster)
    ]


def _works_in(process: psutil.Process, folder: Path) -> bool:
    """Whether it is the folder itself: a server in a container may have a folder of its own under the same path."""
    try:
        if (_PROC / "self").exists():
            return (_PROC / str(process.pid) / "cwd").samefile(folder)
        return Path(process.cwd()) == folder.resolve()
    except (OSError, psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
