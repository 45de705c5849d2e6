"""Speech through the Qwen realtime API: one socket, one session, one utterance (product section 5)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import anyio

from gateway.providers.attempts import RetryPolicy, with_retries
from gateway.providers.audio_path import AudioPath, open_audio_path
from gateway.providers.base import Clearance, Outcome, Sink, Turn, Utterance, at_once
from gateway.providers.circuit import Circuit, CircuitBreaker, CircuitLimits
from gateway.providers.conversation import Conversation, Recipient, Script
from gateway.providers.deadlines import Deadlines, SessionClock
from gateway.providers.dialing import Dialer, QwenAccount
from gateway.providers.realtime_connection import RealtimeConnection
from gateway.providers.sockets import SocketKeeper
from gateway.providers.unknown_codes import UnknownCodes
from gateway.providers.warm import WarmConnections, WarmLimits, open_warm_connections
from gateway.tracing import Trace
from gateway.transports import Connect, Keepalive
from protocol.chunker import split
from protocol.errors import Fault, ProviderFailure
from protocol.languages import session_language
from protocol.session import SessionConfig, SessionFinished

SAMPLE_RATE = 24_000
"""Hz. The vendor's default, and the only rate in every official sample (protocol reference 1.3 and 2)."""


@dataclass(frozen=True, slots=True)
class QwenOptions:
    """How to hold sessions. `upstream_format` is what the vendor is asked for: `mp3`, or `pcm` to encode here."""

    account: QwenAccount
    deadlines: Deadlines
    keepalive: Keepalive
    upstream_format: str = "mp3"
    retries: RetryPolicy = field(default_factory=RetryPolicy)
    circuit: CircuitLimits = field(default_factory=CircuitLimits)
    warm: WarmLimits = field(default_factory=WarmLimits)


@asynccontextmanager
async def open_qwen_realtime(
    options: QwenOptions, connect: Connect, turn: Turn = at_once
) -> AsyncIterator[QwenRealtime]:
    """The provider for the time of the block; leaving it waits for closing handshakes under way."""
    circuit = CircuitBreaker(options.circuit)
    async with anyio.create_task_group() as tasks:
        dialer = Dialer(options.account, SocketKeeper(tasks, connect, options.keepalive))

        async def open_in_advance(model: str) -> RealtimeConnection:
            circuit.check()
            await turn(Trace(), 0.0)
            return await dialer.dial_and_listen(model, options.deadlines.connect)

        async with open_warm_connections(options.warm, open_in_advance) as warm:
            yield QwenRealtime(options, dialer, warm, circuit, turn)


class QwenRealtime:
    """A `SpeechProvider`. Any number of utterances at a time, each on a socket of its own."""

    def __init__(
        self, options: QwenOptions, dialer: Dialer, warm: WarmConnections, circuit: CircuitBreaker, turn: Turn
    ) -> None:
        self._options = options
        self._dialer = dialer
        self._warm = warm
        self._turn = turn
        self.circuit = circuit
        self.unknown_codes = UnknownCodes()

    @property
    def trouble(self) -> str | None:
        """Why new speech is likely to be refused at this moment, for operators; None when it is not."""
        if self.circuit.state is Circuit.CLOSED:
            return None
        return "The speech provider failed repeatedly: new speech is refused for a moment."

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
        """See `SpeechProvider.speak`. Retries by itself, but never once audio has reached `sink`."""
        if not self._options.account.api_key:  # work of an earlier mode
            raise ProviderFailure(Fault.NOT_CONFIGURED)
        first_audio_at = await self._deadline(trace, may_queue)
        script = self._script(utterance)
        gauge = _Gauge(sink, partial(self._warm.restock, utterance.model))
        recipient = Recipient(gauge, trace, on_status)

        async def attempt(number: int) -> Outcome:
            self.circuit.check()
            warm = number == 1 and not may_queue and self._is_warm(utterance.model)
            if not warm and (number > 1 or not may_queue):
                await self._turn(trace, first_audio_at - anyio.current_time())
            on_status("ws_connecting")
            audio = open_audio_path(self._options.upstream_format, SAMPLE_RATE)
            with self.circuit.attempt():
                connection = await self._connection(utterance.model, trace, first_audio_at, warm=warm)
                clock = SessionClock(self._options.deadlines, first_audio_at)
                finished = await _converse(
                    connection, Conversation(connection, audio, clock, recipient), clock, script, clearance
                )
            return _outcome(finished, audio, number)

        with self.unknown_codes.watched(trace.log):
            return await with_retries(
                attempt, self._options.retries, trace.log, until=first_audio_at, repeatable=lambda: not gauge.moved
            )

    async def greet(self, model: str) -> None:
        """Have a session opened for `model`, and leave it: nothing is said, so nothing is billed.

        Raises `ProviderFailure`. Once, whatever it is: the caller wants to know.
        """
        connection = await self._dialer.dial_and_listen(model, self._options.deadlines.connect)
        connection.drop()

    async def _deadline(self, trace: Trace, may_queue: float) -> float:
        """The absolute time of the first audio. Whoever may queue has had its first turn by then."""
        if may_queue:
            self.circuit.check()
            await self._turn(trace, may_queue)
            return anyio.current_time() + self._options.deadlines.first_audio
        return anyio.current_time() + self._options.deadlines.first_audio - trace.elapsed_ms() / 1000

    def _script(self, utterance: Utterance) -> Script:
        config = SessionConfig(
            voice=utterance.voice,
            response_format=self._options.upstream_format,
            sample_rate=SAMPLE_RATE,
            language_type=session_language(utterance.language),
        )
        return Script(config, tuple(split(utterance.text)))

    def _is_warm(self, model: str) -> bool:
        """Whether a connection opened in advance can be had: for the first attempt of a stream only, since nobody
        listens to a task, and a repetition or a probe is to find out how a fresh one does."""
        return self.circuit.state is Circuit.CLOSED and self._warm.want(model)

    async def _connection(self, model: str, trace: Trace, first_audio_at: float, *, warm: bool) -> RealtimeConnection:
        """A warm one has had its turn when it was opened. So had one that turns out to be lost in the moment it is
        taken, in whose place a fresh one is opened without another turn."""
        patience = min(self._options.deadlines.connect, first_audio_at - anyio.current_time())
        with trace.step("provider.connect", warm=warm):
            taken = await self._warm.take(model) if warm else None
            return taken or await self._dialer.dial(model, trace, patience)


async def _converse(
    connection: RealtimeConnection,
    conversation: Conversation,
    clock: SessionClock,
    script: Script,
    clearance: Clearance,
) -> SessionFinished:
    finished: SessionFinished | None = None
    try:
        with clock.scope:
            finished = await conversation.run(script, clearance)
    finally:
        if finished is None:
            connection.drop()
        else:
            connection.close_politely()
    if finished is None:
        raise connection.session.failure(clock.fault)
    return finished


class _Gauge:
    """A sink that remembers whether anything went into it, and calls `on_first` after the first frames."""

    def __init__(self, sink: Sink, on_first: Callable[[], None]) -> None:
        self._sink = sink
        self._on_first = on_first
        self.moved = False

    def append(self, frames: bytes) -> None:
        self._sink.append(frames)
        if not self.moved:
            self.moved = True
            self._on_first()


def _outcome(finished: SessionFinished, audio: AudioPath, attempts: int) -> Outcome:
    return Outcome(
        session_id=finished.session_id,
        characters=finished.characters,
        responses=finished.responses,
        attempts=attempts,
        audio_seconds=audio.seconds,
        unknown_events=finished.unknown_events,
        usage=dict(finished.usage),
    )
