"""One utterance through the Qwen driver, and everything it left behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from gateway.providers.base import Outcome, Utterance
from gateway.providers.qwen_realtime import QwenRealtime
from gateway.tracing import Trace
from protocol.errors import ProviderFailure
from tests.support.websocket_servers import ScriptedServer

TEXT = "A first sentence, which is short. " * 20


@dataclass
class Take:
    """A sink that keeps what it is given. `began` is set by the first frames."""

    audio: bytearray = field(default_factory=bytearray)
    statuses: list[str] = field(default_factory=list)
    trace: Trace = field(default_factory=Trace)
    began: anyio.Event = field(default_factory=anyio.Event)

    def append(self, frames: bytes) -> None:
        self.audio += frames
        self.began.set()

    async def speak(
        self,
        provider: QwenRealtime,
        clearance: Callable[[], Any] | None = None,
        *,
        text: str = TEXT,
        voice: str = "voice-1",
        model: str = "model-1",
        may_queue: float = 0.0,
    ) -> Outcome:
        return await provider.speak(
            Utterance(text=text, voice=voice, model=model, language="English"),
            self,
            self.trace,
            clearance=clearance or anyio.lowlevel.checkpoint,
            on_status=self.statuses.append,
            may_queue=may_queue,
        )


async def failure_of(provider: Any, server: ScriptedServer, take: Take, **options: Any) -> ProviderFailure:
    """How `take` failed; `options` are those of the `provider` fixture."""
    async with provider(server.url, **options) as opened:
        with pytest.raises(ProviderFailure) as caught:
            await take.speak(opened)
    return caught.value
