"""From settings to a driver."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from gateway.providers import open_customization, open_provider
from gateway.providers.base import Utterance
from gateway.providers.qwen_customization import QwenCustomization
from gateway.settings import Settings, load_settings
from gateway.tracing import Trace
from gateway.transports import Connect
from tests.gateway.providers.conftest import Serve
from tests.support.qwen_dialogue import AUDIO, speaks
from tests.support.qwen_take import Take

pytestmark = pytest.mark.anyio

UTTERANCE = Utterance(text="Hello there.", voice="v", model="m", language="English")


def settings(mode: str, **more: str) -> Settings:
    return load_settings(
        {
            "UTTER_ENV": "local",
            "TTS_PROVIDER_MODE": mode,
            "DASHSCOPE_API_KEY": "sk-test",
            "DATABASE_URL": "postgresql://utter@localhost/utter",
            "UTTER_TOKEN_SECRET": "t" * 64,
            **more,
        }
    )


async def test_qwen_mode_speaks_with_the_settings_of_the_account(connect: Connect, serve: Serve) -> None:
    take = Take()
    with serve(speaks) as server:
        chosen = settings("qwen", DASHSCOPE_REALTIME_URL=f"{server.url}/api-ws/v1/realtime")
        async with open_provider(chosen, connect) as provider:
            await provider.speak(
                UTTERANCE, take, Trace(), clearance=anyio.lowlevel.checkpoint, on_status=take.statuses.append
            )
    assert bytes(take.audio) == AUDIO


async def test_modal_mode_says_that_it_is_not_available_yet(connect: Connect) -> None:
    take = Take()
    async with open_provider(settings("modal"), connect) as provider:
        with pytest.raises(NotImplementedError, match="not available yet"):
            await provider.speak(
                UTTERANCE, take, Trace(), clearance=anyio.lowlevel.checkpoint, on_status=take.statuses.append
            )
    assert take.audio == b""


async def test_customization_opens_from_settings(connect: Connect) -> None:
    async with open_customization(settings("qwen")) as customization:
        assert isinstance(customization, QwenCustomization)
