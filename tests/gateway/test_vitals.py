"""A process says how much it holds."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
import structlog

from gateway import vitals
from gateway.vitals import Vitals, descriptors

pytestmark = pytest.mark.anyio


class Work:
    active = 3
    waiting = 2


async def test_it_counts_what_there_is() -> None:
    sleeper = asyncio.create_task(asyncio.sleep(60))
    with structlog.testing.capture_logs() as logs:
        await Vitals(Work()).say()
        sleeper.cancel()
        await asyncio.wait([sleeper])
        await Vitals(Work()).say()
    assert [(line["event"], line["log_level"], line["active"], line["waiting"]) for line in logs] == [
        ("process.vitals", "info", 3, 2)
    ] * 2
    assert logs[0]["tasks"] == logs[1]["tasks"] + 1


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux, which lists a process's open files")
def test_an_open_file_is_one_more() -> None:
    before = descriptors()
    assert before is not None
    reading, writing = os.pipe()
    assert descriptors() == before + 2
    os.close(reading)
    os.close(writing)


def test_where_the_system_does_not_tell_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(vitals, "_DESCRIPTORS", tmp_path / "none")
    assert descriptors() is None
