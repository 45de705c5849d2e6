"""A real S3-speaking server as a process: moto's. What it lacks (slowness, silence) tests bring themselves."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from storage.objects import BUCKETS

START_SECONDS = 60.0
"""Longest wait for the server; it imports half of AWS first."""

STOP_SECONDS = 10.0

POLL_SECONDS = 0.02

REGION = "eu-central-1"

_SERVER = """
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()  # ends with the tests
from moto.server import main
main(["-H", "127.0.0.1", "-p", "0"])
"""


@dataclass(frozen=True)
class S3Server:
    """A running server. It knows nobody and lets everybody in until `close_doors`."""

    url: str
    process: subprocess.Popen[bytes]

    def new_bucket(self) -> str:
        """A bucket of its own for one test."""
        return self._create(f"test-{uuid4().hex}")

    def location(self, template: str = "") -> str:
        """An `OBJECTS_URL` of buckets that exist: one for everything, or, by a template, one for each."""
        if template:
            for bucket in BUCKETS:
                self._create(template.replace("{bucket}", bucket))
        return f"s3://{template or self.new_bucket()}?region={REGION}&endpoint={self.url}"

    def keys(self, bucket: str) -> list[str]:
        """Everything in a bucket."""
        listing = httpx.get(f"{self.url}/{bucket}", params={"list-type": "2"}, trust_env=False).raise_for_status()
        return re.findall("<Key>(.*?)</Key>", listing.text)

    def unfinished_uploads(self, bucket: str) -> int:
        """Uploads in parts that were neither completed nor aborted: invisible, and paid for."""
        listing = httpx.get(f"{self.url}/{bucket}?uploads", trust_env=False).raise_for_status()
        return listing.text.count("<UploadId>")

    def close_doors(self) -> None:
        """From now on, only who moto knows may come in, and it knows nobody."""
        httpx.post(f"{self.url}/moto-api/reset-auth", content=b"0", trust_env=False).raise_for_status()

    def stop(self) -> None:
        """End it, for good."""
        self.process.terminate()
        self.process.wait(STOP_SECONDS)

    def _create(self, bucket: str) -> str:
        httpx.put(f"{self.url}/{bucket}", timeout=30, trust_env=False).raise_for_status()
        return bucket


@contextmanager
def start_s3(folder: Path) -> Iterator[S3Server]:
    """A server for the body. Skips where moto is not installed."""
    pytest.importorskip("moto.server", reason="moto[server] is not installed")
    log = folder / "s3.log"
    with (
        log.open("wb") as output,
        subprocess.Popen([sys.executable, "-c", _SERVER], stdin=subprocess.PIPE, stderr=output) as process,
    ):
        try:
            yield S3Server(_address(process, log), process)
        finally:
            process.kill()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One for all tests that do not break it."""
    with start_s3(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def s3_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the store's client looks for them."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key-of-nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2-secret")


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        found = re.search(r"Running on (http://\S+)", log.read_text())
        if found is not None:
            return found[1]
        time.sleep(POLL_SECONDS)
    raise RuntimeError(f"the S3 server did not start; it said:\n{log.read_text()[-2000:]}")
