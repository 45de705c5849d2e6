"""`utter serve --workers`: several processes on one port, their deaths, their replacement and their end."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from bench.stack import Stack
from bench.texts import english
from tests.acceptance.client import Client, Heard, until
from tests.support.cli import command, utter_alone
from tests.support.served import ENDS_SECONDS, Served, environment, serving

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(180)]

TEXT = english(300)
"""Some 20 s of speech: 2.5 s at the emulator's pace here."""


@pytest.fixture
def served(stack: Stack, tmp_path: Path) -> Iterator[Served]:
    """Two workers."""
    with serving(stack, tmp_path, "--workers", 2) as running:
        yield running


def test_all_workers_serve_and_name_themselves(served: Served) -> None:
    began = {line["worker"]: line["pid"] for line in served.until_logged("server.listening", 2)}
    assert sorted(began) == [1, 2]
    assert len({*began.values(), served.process.pid}) == 3
    with ThreadPoolExecutor(20) as pool, served.client() as client:
        for heard in pool.map(lambda _: client.stream("All at once."), range(20)):
            assert client.ended(heard.task_id)["status"] == "completed"
    answered = [line["worker"] for line in served.lines("http.request")]
    assert set(answered) == {1, 2}


def test_probe(served: Served) -> None:
    print(served.log.read_text()[-3000:])
