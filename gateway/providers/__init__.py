"""Which provider does the work: the only place that goes from settings to a driver (product decision 3)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from gateway.providers.base import SpeechProvider, Turn, at_once
from gateway.providers.circuit import CircuitLimits
from gateway.providers.deadlines import Deadlines
from gateway.providers.modal import ModalUnavailable
from gateway.providers.qwen_customization import (
    CustomizationOptions,
    QwenCustomization,
    VoiceKind,
    open_qwen_customization,
)
from gateway.providers.qwen_realtime import QwenAccount, QwenOptions, open_qwen_realtime
from gateway.settings import ProviderMode, Settings
from gateway.transports import Connect, Keepalive, asyncio_websocket

__all__ = ["QwenCustomization", "SpeechProvider", "VoiceKind", "open_customization", "open_provider"]


@asynccontextmanager
async def open_provider(
    settings: Settings, connect: Connect = asyncio_websocket.connect, turn: Turn = at_once
) -> AsyncIterator[SpeechProvider]:
    """The provider of all new work, for the time of the block. `connect` must fit the running event loop; `turn` keeps
    session starts within the account's limits."""
    match settings.provider_mode:
        case ProviderMode.QWEN:
            async with open_qwen_realtime(_qwen_options(settings), connect, turn) as provider:
                yield provider
        case ProviderMode.MODAL:
            yield ModalUnavailable()


def open_customization(settings: Settings) -> AbstractAsyncContextManager[QwenCustomization]:
    """Cloning and designing at Qwen, for the time of the block."""
    return open_qwen_customization(
        CustomizationOptions(
            base_url=settings.dashscope_base_url,
            api_key=settings.dashscope_api_key,
            workspace=settings.dashscope_workspace,
            customization_models={
                VoiceKind.CLONED: settings.enrollment_model,
                VoiceKind.DESIGNED: settings.design_model,
            },
            target_models={
                VoiceKind.CLONED: settings.vc_target_model,
                VoiceKind.DESIGNED: settings.vd_target_model,
            },
        )
    )


def _qwen_options(settings: Settings) -> QwenOptions:
    return QwenOptions(
        account=QwenAccount(
            realtime_url=settings.dashscope_realtime_url,
            api_key=settings.dashscope_api_key,
            workspace=settings.dashscope_workspace,
        ),
        deadlines=Deadlines(
            connect=settings.connect_seconds,
            first_audio=settings.first_audio_seconds,
            delta_gap=settings.delta_gap_seconds,
            session=settings.session_seconds,
        ),
        keepalive=Keepalive(interval=settings.ping_interval_seconds, timeout=settings.ping_timeout_seconds),
        upstream_format=settings.upstream_format.value,
        circuit=CircuitLimits(failures=settings.circuit_failures, pause=settings.circuit_pause_seconds),
    )
