"""The embedded server: up on a fresh folder, gone without a trace, and back after anything that was killed."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import asyncpg
import psutil
import pytest

from storage import programs as programs_module
from storage import sockets as sockets_module
from storage.account import Account, choose_account
from storage.embedded import EmbeddedPostgres
from storage.programs import EmbeddedPostgresError

pytestmark = pytest.mark.integration

REPOSITORY = Path(__file__).parents[2]

KEEPER = """
import sys
from pathlib import Path
from storage.embedded import EmbeddedPostgres

with EmbeddedPostgres(Path(sys.argv[1]), durable=False) as server:
    server.run_script("create table if not exists kept (word text); insert into kept values ('kept')")
    print(server.pid, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="utter-test-"))
    yield path
    shutil.rmtree(path)


def query(url: str, sql: str) -> object:
    async def ask() -> object:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    return asyncio.run(ask())


def socket_folder(server: EmbeddedPostgres) -> Path:
    assert server._socket_folder is not None
    return server._socket_folder


def start_keeper(folder: Path) -> tuple[subprocess.Popen[str], int]:
    """Another process with the server on this folder; gives it and the postmaster's id."""
    keeper = subprocess.Popen(
        [sys.executable, "-c", KEEPER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    assert keeper.stdout is not None
    return keeper, int(keeper.stdout.readline())


def finish(keeper: subprocess.Popen[str]) -> None:
    keeper.communicate(timeout=30)


def test_a_server_starts_keeps_its_data_and_stops_without_a_trace(folder: Path) -> None:
    with EmbeddedPostgres(folder, durable=False) as server:
        pid, socket = server.pid, socket_folder(server)
        server.run_script("create table kept (word text); insert into kept values ('kept')")
        assert query(server.admin_url, "select word from kept") == "kept"
        assert query(server.admin_url, "show timezone") == "UTC"
        assert query(server.admin_url, "select lower('ÄЖ')") == "äж"
    assert not psutil.pid_exists(pid)
    assert not socket.exists()
    assert not (folder / "socket").is_symlink()
    assert not (folder / "cluster" / "postmaster.pid").exists()
    with EmbeddedPostgres(folder, durable=False) as again:
        assert query(again.admin_url, "select word from kept") == "kept"


def test_the_defaults_are_durable(folder: Path) -> None:
    with EmbeddedPostgres(folder) as server:
        assert query(server.admin_url, "show fsync") == "on"
        assert query(server.admin_url, "show synchronous_commit") == "on"


def test_stopping_twice_and_stopping_what_never_started_are_fine(folder: Path) -> None:
    server = EmbeddedPostgres(folder, durable=False)
    server.stop()
    server.start()
    server.stop()
    server.stop()
    assert not server.running
    with pytest.raises(EmbeddedPostgresError, match="not running"):
        _ = server.admin_url


def test_nobody_can_reach_it_over_tcp(folder: Path) -> None:
    with EmbeddedPostgres(folder, durable=False) as server:
        assert not psutil.Process(server.pid).net_connections(kind="tcp")


def test_a_very_long_data_path_works(folder: Path) -> None:
    deep = folder.joinpath(*["a-rather-long-folder-name"] * 8)
    with EmbeddedPostgres(deep, durable=False) as server:
        assert query(server.admin_url, "select 1") == 1


def test_a_long_temporary_folder_is_avoided(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long_folder = folder / ("t" * 90)
    long_folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long_folder))
    with EmbeddedPostgres(folder / "data", durable=False) as server:
        assert query(server.admin_url, "select 1") == 1
    assert not list(long_folder.iterdir())


def test_without_any_short_temporary_folder_it_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets_module, "MAX_SOCKET_PATH_BYTES", 10)
    with pytest.raises(EmbeddedPostgresError, match="TMPDIR"):
        EmbeddedPostgres(folder, durable=False).start()


@pytest.mark.parametrize("server_lives", [True, False])
def test_after_kill_9_of_its_owner_the_next_start_sweeps_up_and_keeps_the_data(
    folder: Path, server_lives: bool
) -> None:
    keeper, postmaster = start_keeper(folder)
    server_process = psutil.Process(postmaster)
    old_socket = (folder / "socket").resolve()
    keeper.send_signal(signal.SIGKILL)
    finish(keeper)
    assert server_process.is_running(), "the server outlives its owner, or this test shows nothing"
    if not server_lives:
        server_process.send_signal(signal.SIGINT)
        server_process.wait(timeout=30)
    assert old_socket.exists()
    with EmbeddedPostgres(folder, durable=False) as server:
        assert not server_process.is_running()
        assert server.pid != postmaster
        assert query(server.admin_url, "select word from kept") == "kept"
        assert not old_socket.exists()


def test_after_kill_9_of_the_server_itself_the_next_start_recovers(folder: Path) -> None:
    server = EmbeddedPostgres(folder)
    server.start()
    server.run_script("create table kept (word text); insert into kept values ('kept')")
    psutil.Process(server.pid).kill()
    psutil.Process(server.pid).wait(timeout=10)
    assert not server.running
    server.stop()
    server.start()
    assert query(server.admin_url, "select word from kept") == "kept"
    server.stop()


def test_a_stale_pid_file_that_names_a_stranger_harms_nobody(folder: Path) -> None:
    with EmbeddedPostgres(folder, durable=False) as server:
        text = (folder / "cluster" / "postmaster.pid").read_text(encoding="utf-8")
        stale = text.replace(str(server.pid), str(os.getpid()), 1)
    (folder / "cluster" / "postmaster.pid").write_text(stale, encoding="utf-8")
    with EmbeddedPostgres(folder, durable=False) as server:
        assert query(server.admin_url, "select 1") == 1


def test_a_kill_in_the_middle_of_initdb_leaves_nothing_half_made(folder: Path) -> None:
    (folder / "cluster.new").mkdir()
    (folder / "cluster.new" / "PG_VERSION").write_text("18\n", encoding="utf-8")
    with EmbeddedPostgres(folder, durable=False) as server:
        assert query(server.admin_url, "select 1") == 1
    assert not (folder / "cluster.new").exists()


def test_a_folder_in_use_is_refused_and_its_server_left_alone(folder: Path) -> None:
    keeper, postmaster = start_keeper(folder)
    try:
        with pytest.raises(EmbeddedPostgresError, match="Another process has its database"):
            EmbeddedPostgres(folder, durable=False).start()
        assert psutil.Process(postmaster).is_running()
    finally:
        finish(keeper)


def run_unprivileged(folder: Path, account: Account | None, answer: Connection) -> None:
    """In a child process: give up root where we have it, run a server, and say whose it was."""
    if account is not None:
        os.setgroups([])
        os.setgid(account.gid)
        os.setuid(account.uid)
    with EmbeddedPostgres(folder, durable=False) as server:
        server.run_script("select 1")
        answer.send((os.geteuid(), psutil.Process(server.pid).uids().real, server.pid))


# A fork, not a program: the account may not be able to reach root's interpreter.
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_normal_user_can_run_it_too(folder: Path) -> None:
    account = choose_account(folder / "cluster")
    if account is not None:
        os.chown(folder, account.uid, account.gid)
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe()
    child = fork.Process(target=run_unprivileged, args=(folder, account, theirs))
    child.start()
    child.join(timeout=30)
    assert child.exitcode == 0
    user, server_user, pid = ours.recv()
    assert user == server_user != 0
    assert not psutil.pid_exists(pid)
    ours.close()
    theirs.close()


def test_roots_server_runs_as_somebody_else_and_opens_only_the_way(folder: Path) -> None:
    private = folder / "private"
    private.mkdir(mode=0o700)
    with EmbeddedPostgres(private / "data", durable=False) as server:
        owner = psutil.Process(server.pid).uids().real
        assert owner != 0
        if os.getuid() == 0:
            assert private.stat().st_mode & 0o777 == 0o701
        else:
            assert private.stat().st_mode & 0o777 == 0o700
        assert (private / "data" / "cluster").stat().st_mode & 0o077 == 0


def test_a_link_planted_in_the_cluster_is_not_written_through(folder: Path) -> None:
    """The cluster belongs to the account the server runs under; what is written there is written by root."""
    with EmbeddedPostgres(folder, durable=False):
        pass
    precious = folder / "precious"
    precious.write_text("mine", encoding="utf-8")
    (folder / "cluster" / "pg_hba.conf").unlink()
    (folder / "cluster" / "pg_hba.conf").symlink_to(precious)
    with EmbeddedPostgres(folder, durable=False) as server:
        server.run_script("select 1")
    assert precious.read_text(encoding="utf-8") == "mine"
    assert precious.stat().st_uid == os.getuid()


def test_a_damaged_cluster_is_refused_with_the_servers_words(folder: Path) -> None:
    with EmbeddedPostgres(folder, durable=False):
        pass
    (folder / "cluster" / "global" / "pg_control").unlink()
    with pytest.raises(EmbeddedPostgresError, match="stopped at once"):
        EmbeddedPostgres(folder, durable=False).start()
    with pytest.raises(EmbeddedPostgresError, match="stopped at once"):
        EmbeddedPostgres(folder, durable=False).start()


def test_a_missing_wheel_is_said_in_words(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs_module, "WHEEL", "no_such_wheel")
    with pytest.raises(EmbeddedPostgresError, match="make setup"):
        EmbeddedPostgres(folder).start()


def test_a_script_that_fails_is_said_in_words(folder: Path) -> None:
    with EmbeddedPostgres(folder, durable=False) as server, pytest.raises(EmbeddedPostgresError, match="syntax error"):
        server.run_script("selekt 1")


def test_the_log_holds_no_text_of_users(folder: Path) -> None:
    with EmbeddedPostgres(folder, durable=False) as server:
        server.run_script("create table said (word text check (word = 'no'))")
        with pytest.raises(EmbeddedPostgresError):
            server.run_script("insert into said values ('a private word')")
    log = (folder / "server.log").read_text(encoding="utf-8")
    assert "violates check constraint" in log
    assert "private" not in log
