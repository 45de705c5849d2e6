"""A gateway on a database of its own, two people who use it, and WebSockets on either event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.transports import Connect, asyncio_websocket, trio_websocket
from tests.support.gateway import Caller, Gateway, open_gateway
from tests.support.postgres import TestDatabase
from tests.support.websocket_servers import Serve, trio_server, websockets_server
from tests.support.workshop import Workshop, open_workshop


@pytest.fixture
def connect(anyio_backend_name: str) -> Connect:
    """The transport of the test's event loop."""
    return asyncio_websocket.connect if anyio_backend_name == "asyncio" else trio_websocket.connect


@pytest.fixture
def serve(anyio_backend_name: str) -> Serve:
    """A server made with the library that `connect` is not made of."""
    return trio_server if anyio_backend_name == "asyncio" else websockets_server


@pytest.fixture
async def gateway(anyio_backend: Any, database: TestDatabase, tmp_path: Path) -> AsyncIterator[Gateway]:
    """A gateway in Qwen mode."""
    async with open_gateway(database, tmp_path) as running:
        yield running


@pytest.fixture
async def workshop(anyio_backend: Any, database: TestDatabase, tmp_path: Path) -> AsyncIterator[Workshop]:
    """The pipeline's parts, and proof that no task outlived the test."""
    before = asyncio.all_tasks()
    async with open_workshop(database, tmp_path) as opened:
        yield opened
    left = {task for task in asyncio.all_tasks() - before if not task.done()}
    assert not {task for task in left if "TestRunner" not in repr(task.get_coro())}  # that one runs this fixture


@pytest.fixture
async def ada(gateway: Gateway) -> Caller:
    """A user of the gateway."""
    return await gateway.user()


@pytest.fixture
async def bob(gateway: Gateway) -> Caller:
    """Another user, who must never see what is Ada's."""
    return await gateway.user()
