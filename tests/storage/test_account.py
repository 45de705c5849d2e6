"""Handing the server to an unprivileged account: which one, and how little is opened to it."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from storage import account as account_module
from storage.account import Account, NoAccount, choose_account, open_way, run_as

STRANGER = Account(uid=54321, gid=54321)


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """The choice as root would make it; nothing here needs root's powers."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)


@pytest.mark.usefixtures("as_root")
def test_root_gets_an_account_that_exists_and_is_not_root(tmp_path: Path) -> None:
    chosen = choose_account(tmp_path / "cluster")
    assert chosen is not None
    assert chosen.uid != 0
    assert pwd.getpwuid(chosen.uid).pw_name in account_module.CANDIDATES


@pytest.mark.usefixtures("as_root")
def test_without_such_an_account_root_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account_module, "CANDIDATES", ("nobody-of-this-name",))
    with pytest.raises(NoAccount, match="Run as a normal user, or set DATABASE_URL"):
        choose_account(tmp_path / "cluster")


def test_a_normal_user_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert choose_account(tmp_path / "cluster") is None
    assert "user" not in run_as(None)


def test_the_way_is_opened_only_as_far_as_needed(tmp_path: Path) -> None:
    outer, inner = tmp_path / "outer", tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    outer.chmod(0o700)
    inner.chmod(0o755)
    (inner / "target").mkdir(mode=0o700)
    open_way(inner / "target", STRANGER)
    assert outer.stat().st_mode & 0o777 == 0o701
    assert inner.stat().st_mode & 0o777 == 0o755
    assert (inner / "target").stat().st_mode & 0o777 == 0o700


def test_a_way_that_cannot_be_opened_is_said_with_the_folders_name() -> None:
    """The kernel lets nobody change the permissions of a process's own folder of descriptors."""
    with pytest.raises(NoAccount, match=r"cannot pass through /proc/\d+/fd"):
        open_way(Path("/proc/self/fd/0-target"), STRANGER)


def test_programs_see_nothing_of_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "secret")
    how = run_as(STRANGER)
    assert "PGPASSWORD" not in how["env"]
    assert (how["user"], how["group"], how["extra_groups"]) == (STRANGER.uid, STRANGER.gid, [])
