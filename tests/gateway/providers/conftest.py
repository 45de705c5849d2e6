"""What the tests of the drivers share: both event loops, each against a server made with the other library."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.providers.attempts import RetryPolicy
from gateway.providers.deadlines import Deadlines
from gateway.providers.dialing import QwenAccount
from gateway.providers.qwen_realtime import QwenOptions, QwenRealtime, open_qwen_realtime
from gateway.transports import Connect
from tests.support.backends import BACKENDS
from tests.support.websocket_servers import QUIET, Serve

__all__ = ["PATIENT", "QUIET", "Serve"]

PATIENT = Deadlines(connect=20, first_audio=30, delta_gap=30, session=50)
"""Longer than any test: what is tested ends by itself."""


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend[0])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


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
