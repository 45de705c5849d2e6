"""`utter drill`: it passes, it leaves nothing, and it says so when something is lost in a flip."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import anyio
import asyncpg
import psutil
import pytest

from gateway.drill import DrillBroken, Site, hold_drill
from gateway.drill.items import LAST, LIST
from gateway.findings import Verdict
from gateway.settings import ProviderMode
from storage.objects import GENERATIONS
from tests.support.cli import command, plain, utter

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(240)]

DRILL_SECONDS = 200.0
"""Longest wait for the command, on a machine that does much else besides."""

GONE_SECONDS = 10.0
"""For a process that was killed to be gone."""


@pytest.fixture
def scratch() -> Iterator[Path]:
    """Not pytest's own folder, which root's database account may not pass through."""
    with tempfile.TemporaryDirectory(prefix="utter-drills-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def children() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


def assert_gone(processes: set[psutil.Process]) -> None:
    """Who was killed a moment ago may still be ending; nobody goes on."""
    _, alive = psutil.wait_procs(list(processes), timeout=GONE_SECONDS)
    assert [process.cmdline() for process in alive] == []


def test_from_qwen_to_modal_and_back(scratch: Path) -> None:
    """With the environment of somebody who runs a production, which must not be reached for."""
    production = {"UTTER_ENV": "production", "DATABASE_URL": "postgresql://127.0.0.1:1/production"}
    done = subprocess.run(
        command("drill", "--json"),
        env={**os.environ, **production, "DASHSCOPE_API_KEY": "sk-real", "TMPDIR": str(scratch)},
        capture_output=True,
        text=True,
        check=False,
        timeout=DRILL_SECONDS,
    )
    report = json.loads(done.stdout)
    assert [row for row in report["findings"] if row["verdict"] != "ok"] == []
    assert (done.returncode, report["passed"]) == (0, True)
    assert [switch["mode"] for switch in report["switches"]] == ["modal", "qwen"]
    for switch in report["switches"]:
        assert switch["in_flight"] > 0
        assert 0 < switch["ready_seconds"] + switch["taken_seconds"] < report["seconds"]
    checks = {row["check"] for row in report["findings"]}
    for name, _ in (*LIST, *LAST):
        assert {f"modal: {name}", f"qwen: {name}"} <= checks
    assert list(scratch.iterdir()) == []


@pytest.mark.anyio
async def test_what_is_lost_in_a_flip_is_missed() -> None:
    removed: list[str] = []

    async def break_something(site: Site, mode: ProviderMode) -> None:
        if mode is ProviderMode.QWEN:
            await site.order_faults("customization:create", "voice_quota", times=None)
            return
        admin = await asyncpg.connect(site.admin_url)
        try:
            removed.append(str(await admin.fetchval(_DELETE_A_VOICE)))
            removed.append(await admin.fetchval(_KEY_OF_THE_FIRST_GENERATION))
        finally:
            await admin.close()
        await site.objects.delete(GENERATIONS, removed[1])

    before = children()
    report = await hold_drill(lambda _line: None, break_something)
    found = {finding.check: finding for finding in report.findings}
    assert not report.passed
    assert found["modal: no row is lost"].verdict is Verdict.FAILED
    assert f"voice {removed[0]}" in found["modal: no row is lost"].detail
    assert found["modal: the history plays"].verdict is Verdict.FAILED
    assert removed[1] in found["modal: database, store and spool agree"].detail
    assert found["qwen: a recording is cloned"].verdict is Verdict.FAILED
    assert "502" in found["qwen: a recording is cloned"].detail
    assert all(finding.remedy for finding in report.findings if finding.verdict is Verdict.FAILED)
    for check in ("modal: v1 generates", "qwen: v1 generates", "qwen: no row is lost", "live traffic, to its end"):
        assert found[check].verdict is Verdict.OK, found[check]
    assert_gone(children() - before)


_DELETE_A_VOICE = """
delete from public.voices
where id = (select id from public.voices where tts_provider = 'qwen' order by name desc limit 1)
returning id
"""

_KEY_OF_THE_FIRST_GENERATION = """
select audio_object_key from public.generations
where voice_id = (select id from public.voices where name = 'Voice 0 at Qwen') and status = 'completed'
order by created_at limit 1
"""


@pytest.mark.anyio
async def test_a_gateway_that_does_not_start_is_no_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.drill.site.READY_SECONDS", 0.0)
    before = children()
    with pytest.raises(DrillBroken, match="did not become ready"):
        await hold_drill(lambda _line: None)
    assert_gone(children() - before)


@pytest.mark.anyio
async def test_a_drill_that_is_given_up_leaves_nothing() -> None:
    before = children()
    async with anyio.create_task_group() as tasks:

        def stop_at_the_flip(line: str) -> None:
            if "flipping" in line:
                tasks.cancel_scope.cancel()

        tasks.start_soon(hold_drill, stop_at_the_flip)
    assert_gone(children() - before)


def test_help_shows_how() -> None:
    assert "utter drill --json" in plain(utter("drill", "--help").stdout)
