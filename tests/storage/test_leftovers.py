"""Sweeping up ends what a killed owner left, and never what is somebody else's."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from storage.embedded import EmbeddedPostgres
from storage.leftovers import end_leftovers
from tests.support.postgres import FOLDER_PREFIX, sweep, temporary_server

pytestmark = pytest.mark.integration

REPOSITORY = Path(__file__).parents[2]

SESSION = """
import sys
from tests.support.postgres import temporary_server

with temporary_server() as server:
    print(server.pid, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def shared_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A system temporary folder of our own. Short, and open: the account of root's server passes through it."""
    folder = Path(tempfile.mkdtemp(prefix="utter-shared-"))
    folder.chmod(0o755)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    shutil.rmtree(folder)


def start_session(shared_folder: Path) -> tuple[subprocess.Popen[str], psutil.Process]:
    """Another test session, and its server."""
    session = subprocess.Popen(
        [sys.executable, "-c", SESSION],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env=os.environ | {"TMPDIR": str(shared_folder)},
    )
    assert session.stdout is not None
    return session, psutil.Process(int(session.stdout.readline()))


def test_a_session_that_lives_keeps_its_server_and_a_killed_one_is_swept_up(shared_folder: Path) -> None:
    session, server = start_session(shared_folder)
    sweep()
    assert server.is_running()
    session.send_signal(signal.SIGKILL)
    session.communicate(timeout=30)
    assert server.is_running(), "the server outlives its session, or this test shows nothing"
    sweep()
    assert not server.is_running()
    assert not list(shared_folder.iterdir())


def test_a_session_that_has_its_server_stopped_keeps_its_folder(shared_folder: Path) -> None:
    with temporary_server() as server:
        server.run_script("create table kept (word text)")
        server.stop()
        sweep()
        server.start()
        server.run_script("select word from kept")


def test_a_session_that_was_killed_at_once_leaves_no_folder(shared_folder: Path) -> None:
    (shared_folder / f"{FOLDER_PREFIX}new").mkdir()
    sweep()
    assert not list(shared_folder.iterdir())


def test_folders_of_other_users_are_left_alone(shared_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trap: whoever sweeps through these links ends a server that is not the folder's."""
    with EmbeddedPostgres(shared_folder / "precious", durable=False) as server:
        trap = shared_folder / f"{FOLDER_PREFIX}trap"
        trap.mkdir()
        (trap / "lock").touch()
        (trap / "cluster").symlink_to(shared_folder / "precious" / "cluster")
        (trap / "socket").symlink_to((shared_folder / "precious" / "socket").readlink())
        (shared_folder / f"{FOLDER_PREFIX}link").symlink_to(trap)
        owner = os.geteuid()
        with monkeypatch.context() as somebody:
            somebody.setattr(os, "geteuid", lambda: owner + 1)
            sweep()
        server.run_script("select 1")
        assert trap.exists()
        trap.rename(shared_folder / "elsewhere")
        (shared_folder / f"{FOLDER_PREFIX}link").unlink()
        (shared_folder / f"{FOLDER_PREFIX}link").symlink_to(shared_folder / "elsewhere")
        sweep()
        server.run_script("select 1")


def test_a_copy_of_a_data_directory_does_not_cut_off_the_original(shared_folder: Path) -> None:
    with EmbeddedPostgres(shared_folder / "original", durable=False) as original:
        copy = shared_folder / "copy"
        copy.mkdir()
        shutil.copy(shared_folder / "original" / "socket", copy, follow_symlinks=False)
        with EmbeddedPostgres(copy, durable=False) as other:
            other.run_script("select 1")
        original.run_script("select 1")


def test_a_data_directory_that_moved_takes_its_socket_along(shared_folder: Path) -> None:
    session, server = start_session(shared_folder)
    session.send_signal(signal.SIGKILL)
    session.communicate(timeout=30)
    (left,) = shared_folder.glob(f"{FOLDER_PREFIX}*")
    moved = left.rename(shared_folder / "moved")
    assert end_leftovers(moved / "cluster", moved / "socket") > 0
    assert not server.is_running()
    assert list(shared_folder.iterdir()) == [moved]
