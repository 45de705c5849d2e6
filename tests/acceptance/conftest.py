"""The running product and a client of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from uuid import uuid4

import httpx
import msgspec
import pytest

from bench.stack import Stack, access_token
from gateway.data_dir import Secrets
from tests.acceptance.client import READ_SECONDS, Client, Heard


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    """The demo user; faults that a test ordered are gone after it."""
    client = Client(stack)
    yield client
    client.clear_faults()
    client.close()


@pytest.fixture
def mpg123() -> None:
    """Skips where the decoder is not installed."""
    if shutil.which("mpg123") is None:
        pytest.skip("mpg123 is not installed")


@pytest.fixture
def curl() -> str:
    """The program; skips where it is not installed."""
    found = shutil.which("curl")
    if found is None:
        pytest.skip("curl is not installed")
    return found


@pytest.fixture(scope="session")
def secrets(stack: Stack) -> Secrets:
    return msgspec.json.decode((stack.data_dir / "secrets.json").read_bytes(), type=Secrets)


@pytest.fixture(scope="session")
def http(stack: Stack) -> Iterator[httpx.Client]:
    """Somebody who is not signed in."""
    with httpx.Client(base_url=stack.base_url, timeout=READ_SECONDS) as client:
        yield client


@pytest.fixture(scope="session")
def stranger(stack: Stack) -> Iterator[httpx.Client]:
    """A second user."""
    headers = {"Authorization": f"Bearer {access_token(stack.data_dir, user=uuid4())}"}
    with httpx.Client(base_url=stack.base_url, headers=headers, timeout=READ_SECONDS) as client:
        yield client


@pytest.fixture(scope="session")
def heard(stack: Stack) -> Heard:
    """A finished generation of the demo user."""
    client = Client(stack)
    heard = client.stream("Mine.")
    assert client.ended(heard.task_id)["status"] == "completed"
    client.close()
    return heard
