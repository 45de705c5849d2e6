"""A PostgreSQL server of our own, from a wheel, for `utter dev` and the tests.

The server is a plain child process: no TCP port, one Unix socket, whose kernel-checked peer must be the account that
started it. A folder below the system's temporary one holds the socket, since a socket's path must be short and a data
directory's need not be. The wheel's own manager is not used: after a kill -9 it never stops its server, and it opens
every folder above the data to everybody.

Layout of the data directory: `lock`, `server.log` (of the last start), `cluster/`, and, while it runs, `socket`, a
link to the socket's folder.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.parse import quote, urlsplit

import psutil

from storage.account import Account, NoAccount, choose_account, give_folder, open_way, run_as
from storage.leftovers import end, end_leftovers
from storage.programs import OUTPUT_CHARS, EmbeddedPostgresError, programs, run_program
from storage.sockets import NoShortFolder, make_socket_folder, remove_socket_folder

SUPERUSER = "postgres"
DATABASE = "utter"
LOGIN = "utter"
"""The gateway's login: not a superuser, so row level security holds for it as in production."""

GATEWAY_ROLE = "utter_gateway"
"""Made by the migrations; carries the gateway's rights."""

START_SECONDS = 60.0
"""Longest wait for the server to accept connections, crash recovery included."""

INITDB_SECONDS = 60.0
SCRIPT_SECONDS = 30.0

POLL_SECONDS = 0.02
"""Between two looks at the server's status line."""


_STATUS_LINE = 7
"""Of `postmaster.pid`, counted from 0 (PostgreSQL source, `miscadmin.h`, LOCK_FILE_LINE_PM_STATUS)."""

_SETTINGS = {
    "listen_addresses": "",
    "port": "5432",
    "shared_buffers": "64MB",
    "max_connections": "100",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
    # A failing statement and the row in its detail are users' text, which never goes into a log.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}

_NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

_CREATE_DATABASE = """
select format('create database %I template template0', :'name')
where not exists (select from pg_database where datname = :'name') \\gexec
"""

_CREATE_LOGIN = """
select format('create role %I login', :'name')
where not exists (select from pg_roles where rolname = :'name') \\gexec
grant :"group" to :"name";
"""


class EmbeddedPostgres:
    """One server on one data directory; the methods block. Use as a context manager, or `start` and `stop`.

    `durable=False` is for tests: a crash of the machine may cost the data.
    """

    def __init__(self, data_dir: Path, *, durable: bool = True) -> None:
        self._data_dir = data_dir.resolve()
        self._cluster = self._data_dir / "cluster"
        self._settings = _SETTINGS | ({} if durable else _NOT_DURABLE)
        self._account: Account | None = None
        self._lock: IO[str] | None = None
        self._socket_link = self._data_dir / "socket"
        self._socket_folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> str:
        """Bring the server up, on a fresh or an existing folder; gives `admin_url`.

        What a killed predecessor left running on the folder is ended first. Raises `EmbeddedPostgresError`, also
        when another process has its server on this folder now.
        """
        self._take_lock()
        try:
            self._account = choose_account(self._cluster)
            end_leftovers(self._cluster, self._socket_link)
            self._prepare()
            self._launch()
            self.run_script(_CREATE_DATABASE, database=SUPERUSER, name=DATABASE)
        except (NoAccount, NoShortFolder, OSError, psutil.Error) as error:
            self.stop()
            raise EmbeddedPostgresError(f"The embedded PostgreSQL cannot start: {error}") from error
        except BaseException:
            self.stop()
            raise
        return self.admin_url

    def stop(self) -> None:
        """End the server within the bounds of `storage.leftovers`; no process, socket or lock stays. Repeatable."""
        if self._process is not None:
            if self._process.poll() is None:
                end([psutil.Process(self._process.pid)])
            self._process.wait()
            self._process = None
        if self._socket_folder is not None:
            remove_socket_folder(self._socket_link)
            self._socket_folder = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    @property
    def admin_url(self) -> str:
        """The superuser's URL of database `utter`. No secret is in it: the socket knows who connects."""
        return self.url(SUPERUSER)

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        if self._process is None:
            raise EmbeddedPostgresError("The embedded PostgreSQL is not running.")
        return self._process.pid

    @property
    def running(self) -> bool:
        """False before `start`, after `stop`, and when the server died by itself."""
        return self._process is not None and self._process.poll() is None

    def url(self, role: str, database: str = DATABASE) -> str:
        """The URL for any role and database of the server, for asyncpg, dbmate and psql alike."""
        if self._socket_folder is None:
            raise EmbeddedPostgresError("The embedded PostgreSQL is not running.")
        return f"postgresql://{quote(role)}@/{quote(database)}?host={quote(str(self._socket_folder), safe='')}"

    def create_login_role(self) -> str:
        """Make the gateway's login when it is missing, after the migrations; gives the gateway's URL.

        Raises `EmbeddedPostgresError`.
        """
        self.run_script(_CREATE_LOGIN, name=LOGIN, group=GATEWAY_ROLE)
        return self.url(LOGIN)

    def run_script(self, script: str, *, database: str = DATABASE, **variables: str) -> None:
        """Run a psql script as superuser; `:'name'` and `:"name"` in it are the quoted variables.

        Raises `EmbeddedPostgresError`.
        """
        command = [str(programs() / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1"]
        for name, value in variables.items():
            command += ["-v", f"{name}={value}"]
        run_program([*command, self.url(SUPERUSER, database)], SCRIPT_SECONDS, stdin=script)

    def _take_lock(self) -> None:
        """flock: the kernel frees it when this process dies, however it dies, and the server never inherits it."""
        if self._lock is not None:
            raise EmbeddedPostgresError("The embedded PostgreSQL is already running.")
        self._data_dir.mkdir(parents=True, exist_ok=True)
        lock = (self._data_dir / "lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise EmbeddedPostgresError(
                f"Another process has its database in {self._data_dir}. Stop it, or use another data directory."
            ) from None
        self._lock = lock

    def _prepare(self) -> None:
        """Make the cluster when there is none, and write who may connect."""
        if self._account is not None:
            open_way(programs() / "postgres", self._account)
        if not self._cluster.exists():
            self._initialize()
        give_folder(self._cluster, self._account)
        # Peer: the kernel says which account connects, so there is no password to keep, leak or lose.
        account = pwd.getpwuid(os.geteuid()).pw_name
        self._write("pg_hba.conf", "local all all peer map=starter\n")
        self._write("pg_ident.conf", f'starter "{account}" all\n')

    def _initialize(self) -> None:
        """initdb into a draft that is renamed when whole, so a kill in between leaves no half cluster."""
        draft = self._data_dir / "cluster.new"
        shutil.rmtree(draft, ignore_errors=True)
        give_folder(draft, self._account)
        command = [
            str(programs() / "initdb"),
            f"--pgdata={draft}",
            f"--username={SUPERUSER}",
            "--encoding=UTF8",
            # The server's own Unicode rules: lower() of a search word is the same on every machine.
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--locale=C",
            "--auth-local=peer",
            "--auth-host=reject",
            "--no-instructions",
        ]
        if "fsync" in self._settings:
            command.append("--no-sync")
        run_program(command, INITDB_SECONDS, account=self._account)
        draft.rename(self._cluster)

    def _write(self, name: str, text: str) -> None:
        """A new file, never through what is there: the folder is the account's, and root must not follow its links."""
        file = self._cluster / name
        file.unlink(missing_ok=True)
        with file.open("x", encoding="utf-8") as opened:
            if self._account is not None:
                os.fchown(opened.fileno(), self._account.uid, self._account.gid)
            opened.write(text)

    def _launch(self) -> None:
        self._socket_folder = make_socket_folder(self._socket_link)
        give_folder(self._socket_folder, self._account)
        command = [str(programs() / "postgres"), "-D", str(self._cluster), "-k", str(self._socket_folder)]
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        with (self._data_dir / "server.log").open("wb") as log:
            # A session of its own: Ctrl-C in the terminal must not stop the database before the gateway has drained.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **run_as(self._account),
            )
        self._wait_until_ready(self._process)

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        """The server keeps its state in a line of `postmaster.pid`; pg_ctl waits the same way."""
        deadline = time.monotonic() + START_SECONDS
        while not self._says_ready(process.pid):
            if process.poll() is not None:
                raise EmbeddedPostgresError(f"The embedded PostgreSQL stopped at once: {self._log_tail()}")
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(
                    f"The embedded PostgreSQL was not ready within {START_SECONDS:.0f} s: {self._log_tail()}"
                )
            time.sleep(POLL_SECONDS)

    def _says_ready(self, pid: int) -> bool:
        try:
            lines = (self._cluster / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > _STATUS_LINE and lines[0] == str(pid) and lines[_STATUS_LINE].strip() == "ready"

    def _log_tail(self) -> str:
        text = (self._data_dir / "server.log").read_text(encoding="utf-8", errors="replace").strip()
        return text[-OUTPUT_CHARS:] or "it logged nothing"


def as_login(admin_url: str, login: str) -> str:
    """The URL of the same database for another login."""
    return urlsplit(admin_url)._replace(netloc=f"{quote(login)}@").geturl()
