"""One PostgreSQL server for the whole test session, and a database of its own for every test that asks.

The schema is migrated once, into a template that each test's database is copied from.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from storage.embedded import LOGIN, EmbeddedPostgres
from storage.leftovers import end_leftovers
from storage.migrate import migrate

TEMPLATE = "migrated"

FOLDER_PREFIX = "utter-test-server-"
DRAFT_PREFIX = "utter-test-draft-"

_COPY = 'create database :"name" template :"template"'
_DROP = 'drop database :"name" with (force)'
_ADD_USER = "insert into auth.users (id) values (:'id')"


@dataclass(frozen=True, slots=True)
class TestDatabase:
    """A database of one test. `gateway_url` is the gateway's login, `admin_url` the superuser's."""

    __test__ = False

    server: EmbeddedPostgres
    name: str

    @property
    def admin_url(self) -> str:
        return self.server.url("postgres", self.name)

    @property
    def gateway_url(self) -> str:
        return self.server.url(LOGIN, self.name)

    def run(self, script: str, **variables: str) -> None:
        """A psql script as superuser."""
        self.server.run_script(script, database=self.name, **variables)

    def create_user(self) -> UUID:
        """A new user of the auth stand-in, profile included."""
        user_id = uuid4()
        self.run(_ADD_USER, id=str(user_id))
        return user_id


def sweep() -> None:
    """End the servers of test sessions that were killed: nobody holds their folder, or it would be gone."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"):
        with suppress(FileNotFoundError, BlockingIOError):  # its session, or another sweep, has it
            found = folder.lstat()
            # Anybody may make such names in a shared folder, with links inside that lead to a server of ours.
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
                _sweep(folder)


def _sweep(folder: Path) -> None:
    with held(folder), (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the server's own, as `end_leftovers` wants it
        end_leftovers(folder / "cluster", folder / "socket")
        shutil.rmtree(folder)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the folder for this process. Raises BlockingIOError when another one does."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


@contextmanager
def temporary_server() -> Iterator[EmbeddedPostgres]:
    """A server on a folder of its own, gone afterwards. Not below pytest's folders, which pytest keeps closing to
    the account that root's server runs under.

    The folder is held all the time, also while a test has the server stopped, and gets the name that sweeps look for
    only when it is.
    """
    draft = Path(tempfile.mkdtemp(prefix=DRAFT_PREFIX))
    with held(draft):
        folder = draft.rename(draft.with_name(draft.name.replace(DRAFT_PREFIX, FOLDER_PREFIX)))
        try:
            with EmbeddedPostgres(folder, durable=False) as server:
                yield server
        finally:
            shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[EmbeddedPostgres]:
    """The session's server, with the migrated template and the gateway's login."""
    sweep()
    with temporary_server() as server:
        server.run_script('create database :"name"', name=TEMPLATE)
        migrate(server.url("postgres", TEMPLATE))
        server.create_login_role()
        yield server


@pytest.fixture
def make_database(postgres_server: EmbeddedPostgres) -> Iterator[Callable[[str], TestDatabase]]:
    """Makes databases from a template: `TEMPLATE`, or `template0` for an empty one."""
    made: list[str] = []

    def make(template: str) -> TestDatabase:
        name = f"test_{uuid4().hex}"
        postgres_server.run_script(_COPY, database="postgres", name=name, template=template)
        made.append(name)
        return TestDatabase(postgres_server, name)

    yield make
    for name in made:
        postgres_server.run_script(_DROP, database="postgres", name=name)


@pytest.fixture
def database(make_database: Callable[[str], TestDatabase]) -> TestDatabase:
    """A migrated database without rows."""
    return make_database(TEMPLATE)


@pytest.fixture
def empty_database(make_database: Callable[[str], TestDatabase]) -> TestDatabase:
    """A database with nothing in it."""
    return make_database("template0")
