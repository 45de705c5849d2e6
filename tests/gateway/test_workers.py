"""The keeper of the workers: what it does when one does not start, does not stay or does not end."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import psutil
import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from gateway import worker_process, workers
from gateway.server import listen
from gateway.settings import load_settings
from gateway.shutdown import Shutdown
from gateway.worker_process import WorkerFailed, start_worker
from gateway.workers import FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS, STEADY_SECONDS, Place, Workers
from tests.support.cli import STAGING
from tests.support.exchange import WAIT_SECONDS
from tests.support.postgres import TestDatabase

pytestmark = [pytest.mark.anyio, pytest.mark.integration, pytest.mark.slow]


@pytest.fixture(autouse=True)
def _settings(database: TestDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers take theirs from the environment."""
    chosen = {
        **STAGING,
        "DATABASE_URL": database.gateway_url,
        "DATABASE_MAX_CONNECTIONS": "2",
        "OBJECTS_URL": str(tmp_path / "objects"),
        "UTTER_DRAIN_SECONDS": "0",
        "UTTER_WORKERS": "2",
    }
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)


class Kept:
    """Running workers and what is said about them."""

    def __init__(self, keeper: Workers, lines: list[EventDict], stop: Shutdown) -> None:
        self.keeper = keeper
        self.stop = stop
        self._lines = lines

    async def said(self, event: str, times: int = 1) -> EventDict:
        """The latest line about an event, once there are so many."""
        found: list[EventDict] = []

        def is_there() -> bool:
            found[:] = [line for line in self._lines if line["event"] == event]
            return len(found) >= times

        await until(is_there)
        return found[-1]

    def pids(self) -> list[int]:
        """Of those in the places."""
        return [place.worker.pid for place in self.keeper._places if place.worker is not None]


@asynccontextmanager
async def keeping() -> AsyncIterator[Kept]:
    """Two workers; none is left afterwards, and the end of each was told."""
    stop = Shutdown()
    ended: list[int] = []
    with capture_logs() as lines, listen("127.0.0.1", 0, stall_seconds=1) as listener:
        kept = Kept(Workers(load_settings(os.environ), listener, ended.append), lines, stop)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(kept.keeper.run, stop)
            await kept.said("workers.ready")
            pids = kept.pids()
            try:
                yield kept
            finally:
                pids += kept.pids()
                stop.request()
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
    assert set(pids) <= set(ended)


def refuse(database: TestDatabase) -> None:
    """Nobody new may come; who is connected stays."""
    limit_connections(database, 0)


def admit(database: TestDatabase) -> None:
    """Everybody may come again."""
    limit_connections(database, -1)


def limit_connections(database: TestDatabase, most: int) -> None:
    script = 'alter database :"name" connection limit :most'
    database.server.run_script(script, database="postgres", name=database.name, most=str(most))


async def until(happened: Callable[[], object]) -> None:
    with anyio.fail_after(WAIT_SECONDS):
        while not happened():  # noqa: ASYNC110 - another process decides
            await anyio.sleep(0.01)


async def test_an_old_worker_stays_where_a_new_one_does_not_start(database: TestDatabase) -> None:
    async with keeping() as kept:
        before = kept.pids()
        refuse(database)
        kept.keeper.replace_soon()
        failed = await kept.said("workers.replacing_failed")
        assert "Check DATABASE_URL" in failed["error"]
        assert kept.pids() == before
        admit(database)
        kept.keeper.replace_soon()
        await kept.said("workers.replaced")
        assert not set(kept.pids()) & set(before)


async def test_a_worker_that_cannot_come_back_is_tried_again(database: TestDatabase) -> None:
    async with keeping() as kept:
        first, other = kept.pids()
        refuse(database)
        os.kill(first, signal.SIGKILL)
        assert (await kept.said("worker.died"))["status"] == -signal.SIGKILL
        assert "Check DATABASE_URL" in (await kept.said("worker.failed"))["error"]
        admit(database)
        await until(lambda: kept.pids()[0] != first)
        assert kept.pids()[1] == other


@pytest.mark.parametrize("moment", ["at the end", "when it is replaced"])
async def test_one_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    monkeypatch.setattr(workers, "ENDING_SECONDS", 0.2)
    async with keeping() as kept:
        os.kill(kept.pids()[0], signal.SIGSTOP)
        if moment == "at the end":
            kept.stop.request()
        else:
            kept.keeper.replace_soon()
        assert (await kept.said("worker.killed"))["worker"] == 1
        if moment == "when it is replaced":
            await kept.said("workers.replaced")


async def test_a_stop_while_one_is_started_leaves_nobody() -> None:
    stop = Shutdown()
    with capture_logs() as lines, listen("127.0.0.1", 0, stall_seconds=1) as listener:
        keeper = Workers(load_settings(os.environ), listener, lambda _pid: None)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keeper.run, stop)
            await until(lambda: keeper._alive)
            (worker,) = keeper._alive
            stop.request()
    assert not psutil.pid_exists(worker.pid)
    assert [line["event"] for line in lines] == ["workers.stopped"]


@pytest.mark.parametrize("program", ["import time; time.sleep(60)", "raise SystemExit(3)", "print('[]', flush=True)"])
async def test_one_that_never_says_it_is_ready(program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process, "START_SECONDS", 2.0)
    interpreter(tmp_path, program, monkeypatch)
    keeper_fails = pytest.raises(WorkerFailed, match=r"Worker 1 (was not ready within|did not start)")
    with listen("127.0.0.1", 0, stall_seconds=1) as listener, capture_logs(), keeper_fails:
        await Workers(load_settings(os.environ), listener, lambda _pid: None).run(Shutdown())


async def test_a_process_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with socket.socket() as listener, pytest.raises(WorkerFailed, match="Worker 1 could not be started: No such file"):
        await start_worker(1, listener)


async def test_the_pause_doubles_up_to_its_limit_and_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(anyio, "current_time", lambda: now)
    place = Place(1)
    place.fill(object())  # type: ignore[arg-type]
    pauses = [place.next_pause() for _ in range(8)]
    assert pauses[:3] == [FIRST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2, FIRST_PAUSE_SECONDS * 4]
    assert pauses[-1] == LAST_PAUSE_SECONDS
    place.fill(object())  # type: ignore[arg-type]
    now += STEADY_SECONDS
    assert place.next_pause() == FIRST_PAUSE_SECONDS


def interpreter(folder: Path, program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every worker be this program instead."""
    script = folder / "python"
    script.write_text(f"#!{sys.executable}\n{program}\n")
    script.chmod(0o700)
    monkeypatch.setattr("sys.executable", str(script))
