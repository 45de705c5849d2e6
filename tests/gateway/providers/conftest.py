"""What the tests of the drivers share: both event loops, each against a server made with the other library."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any

import pytest

from gateway.providers.attempts import RetryPolicy
from gateway.providers.deadlines import Deadlines
from gateway.providers.qwen_realtime import QwenAccount, QwenOptions, QwenRealtime, open_qwen_realtime
from gateway.transports import Connect, Keepalive, asyncio_websocket, trio_websocket
from tests.support.backends import BACKENDS
from tests.support.websocket_servers import ScriptedServer, trio_server, websockets_server

Serve = Callable[..., AbstractContextManager[ScriptedServer]]

QUIET = Keepalive(interval=60, timeout=60)
PATIENT = Deadlines(connect=20, first_audio=30, delta_gap=30, session=50)
"""Longer than any test: what is tested ends by itself."""


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend[0])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def connect(anyio_backend_name: str) -> Connect:
    return asyncio_websocket.connect if anyio_backend_name == "asyncio" else trio_websocket.connect


@pytest.fixture
def serve(anyio_backend_name: str) -> Serve:
    return trio_server if anyio_backend_name == "asyncio" else websockets_server


@pytest.fixture
def provider(connect: Connect) -> Any:
    """`async with provider(realtime_url, **options) as opened`; options are those of `QwenOptions`."""

    @asynccontextmanager
    async def open_(url: str, *, key: str = "sk-test", **changes: Any) -> AsyncIterator[QwenRealtime]:
        options: dict[str, Any] = {
            "deadlines": PATIENT,
            "keepalive": QUIET,
            "retries": RetryPolicy(first_pause=0.001),
            **changes,
        }
        async with open_qwen_realtime(QwenOptions(QwenAccount(url, key, "ws-1"), **options), connect) as opened:
            yield opened

    return open_
