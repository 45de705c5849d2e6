"""Modal mode, until its driver exists."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from gateway.providers.base import Clearance, Sink, Utterance
from gateway.tracing import Trace


class ModalUnavailable:
    """A `SpeechProvider` that says so. Routes answer 501 before it is ever asked."""

    async def speak(
        self,
        utterance: Utterance,
        sink: Sink,
        trace: Trace,
        *,
        clearance: Clearance,
        on_status: Callable[[str], None],
    ) -> NoReturn:
        """Raises NotImplementedError, always."""
        raise NotImplementedError("Generation through Modal is not available yet. Set TTS_PROVIDER_MODE=qwen.")
