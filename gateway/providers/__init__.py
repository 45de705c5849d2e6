"""From settings to drivers, and the only place that does so (product decision 3).

Both providers' drivers exist in both modes, because work already begun belongs to the provider on its row. Which one
gets new work is decided once, by `TTS_PROVIDER_MODE`, where that work is admitted.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from gateway.providers.base import SpeechProvider, Turn, at_once
from gateway.providers.circuit import CircuitLimits
from gateway.providers.deadlines import Deadlines
from gateway.providers.dialing import QwenAccount
from gateway.providers.modal_api import ModalApi, ModalDeadlines, ModalEndpoints, open_modal_api
from gateway.providers.qwen_customization import (
    CustomizationOptions,
    QwenCustomization,
    VoiceKind,
    open_qwen_customization,
)
from gateway.providers.qwen_realtime import QwenOptions, QwenRealtime, open_qwen_realtime
from gateway.providers.warm import WarmLimits
from gateway.settings import Settings
from gateway.transports import Connect, Keepalive, asyncio_websocket

__all__ = [
    "ModalApi",
    "QwenCustomization",
    "SpeechProvider",
    "VoiceKind",
    "open_customization",
    "open_modal",
    "open_provider",
]


def open_provider(
    settings: Settings, connect: Connect = asyncio_websocket.connect, turn: Turn = at_once
) -> AbstractAsyncContextManager[QwenRealtime]:
    """The provider of speech that is heard while it is made, for the time of the block. `connect` must fit the running
    event loop; `turn` keeps session starts within the account's limits."""
    return open_qwen_realtime(_qwen_options(settings), connect, turn)


def open_modal(settings: Settings) -> AbstractAsyncContextManager[ModalApi]:
    """Modal's job API, for the time of the block."""
    return open_modal_api(
        ModalEndpoints(
            submit=settings.modal_job_submit,
            status=settings.modal_job_status,
            result=settings.modal_job_result,
            cancel=settings.modal_job_cancel,
            design=settings.modal_endpoint_voice_design,
        ),
        ModalDeadlines(
            connect=settings.connect_seconds,
            submit=settings.modal_submit_seconds,
            status=settings.modal_status_seconds,
            result=settings.modal_result_seconds,
            cancel=settings.modal_cancel_seconds,
            design=settings.modal_design_seconds,
        ),
    )


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
        warm=WarmLimits(most=settings.warm_connections, idle_seconds=settings.warm_idle_seconds),
    )
