"""From settings to a driver."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from gateway.providers import open_customization, open_modal, open_provider
from gateway.providers.base import Utterance
from gateway.providers.qwen_customization import QwenCustomization
from gateway.settings import Settings, load_settings
from gateway.tracing import Trace
from gateway.transports import Connect
from protocol.errors import ProviderFailure
from protocol.modal import DesignVoice, JobState, SubmitJob
from tests.gateway.providers.conftest import Serve
from tests.support.modal_server import JOB, WAV, Reply, modal_server
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


@pytest.mark.parametrize("mode", ["modal", "qwen"])
async def test_modal_is_there_in_both_modes_with_its_own_addresses(mode: str) -> None:
    """Work already begun belongs to the provider on its row (product decision 1)."""
    with modal_server() as server:
        async with open_modal(settings(mode, **server.environment(), UTTER_MODAL_STATUS_SECONDS="0.2")) as modal:
            assert await modal.submit(SubmitJob("Hi.", "Auto", b"RIFF", "Hi.")) == JOB
            assert (await modal.status(JOB)).state is JobState.READY
            assert await modal.cancel(JOB)
            assert await modal.design(DesignVoice("Hi.", "Auto", "Calm.")) == WAV
            server.order("status", Reply(held=True))
            with pytest.raises(ProviderFailure, match="answer_timeout"):
                await modal.status(JOB)


async def test_modal_without_addresses() -> None:
    async with open_modal(settings("modal")) as modal:
        assert not modal.knows_jobs


async def test_customization_opens_from_settings(connect: Connect) -> None:
    async with open_customization(settings("qwen")) as customization:
        assert isinstance(customization, QwenCustomization)
