"""What the pipeline asks of a speech provider, and nothing more.

The pipeline hands over an `Utterance` and a `Sink`, and gets an `Outcome` or a `ProviderFailure`. Audio arrives by
a plain call, not through a queue: on the way from the provider's frame to the listener's socket every task switch
is added latency.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from gateway.tracing import Trace


@dataclass(frozen=True, slots=True)
class Utterance:
    """What is to be spoken. `voice` and `model` are the provider's own ids, `language` a name of the list."""

    text: str = field(repr=False)
    voice: str
    model: str
    language: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished utterance.

    `characters` is what the vendor bills, `responses` how many it took, `attempts` counts sessions opened (1 without
    a retry), `audio_seconds` is the length of the frames handed to the sink.
    """

    session_id: str
    characters: int
    responses: int
    attempts: int
    audio_seconds: float
    unknown_events: tuple[str, ...] = ()
    usage: dict[str, object] = field(default_factory=dict)


class Sink(Protocol):
    """Where audio goes: whole MP3 frames, in order. Called on the event loop; must not block."""

    def append(self, frames: bytes) -> None: ...


Clearance = Callable[[], Awaitable[None]]
"""Awaited once a connection is up, before anything billable is sent: it returns when the rows exist, or raises."""


Turn = Callable[[Trace, float], Awaitable[None]]
"""Awaited before a session is started: it returns when the account's limits allow one, or raises `ProviderFailure`
RATE_LIMITED when that would take longer than the given seconds."""


async def at_once(_trace: Trace, _longest_wait: float) -> None:
    """The `Turn` of a provider without limits."""


class SpeechProvider(Protocol):
    """Turns utterances into audio."""

    async def speak(
        self,
        utterance: Utterance,
        sink: Sink,
        trace: Trace,
        *,
        clearance: Clearance,
        on_status: Callable[[str], None],
        may_queue: float = 0.0,
    ) -> Outcome:
        """Speak the whole utterance into `sink`. Cancelling drops the provider's socket at once.

        `may_queue` is how many seconds it may wait for its turn before the deadline of the first audio begins to run;
        with 0 that runs from the start of the trace.

        `on_status` is told the `provider_status` values of the product (`ws_connecting`, `session_updated`,
        `streaming`). Raises `ProviderFailure`; whether audio had begun is for the caller to know from its sink.
        """
