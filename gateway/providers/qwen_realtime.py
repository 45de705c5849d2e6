"""Speech through the Qwen realtime API: one socket, one session, one utterance (product section 5)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from urllib.parse import urlencode

import anyio

from gateway.providers.attempts import RetryPolicy, with_retries
from gateway.providers.audio_path import AudioPath, open_audio_path
from gateway.providers.base import Clearance, Outcome, Sink, Turn, Utterance, at_once
from gateway.providers.circuit import Circuit, CircuitBreaker, CircuitLimits
from gateway.providers.conversation import Conversation, Recipient, Script
from gateway.providers.deadlines import Deadlines, SessionClock
from gateway.providers.sockets import Socket, SocketKeeper
from gateway.providers.unknown_codes import UnknownCodes
from gateway.tracing import Trace
from gateway.transports import Connect, Keepalive, TransportUnreachable, UpgradeRefused
from protocol.chunker import split
from protocol.errors import Fault, ProviderFailure, VendorError
from protocol.languages import session_language
from protocol.session import SessionConfig, SessionFinished
from protocol.vendor_codes import classify
from protocol.vendor_words import Envelope, read_envelope, refusal_error

SAMPLE_RATE = 24_000
"""Hz. The vendor's default, and the only rate in every official sample (protocol reference 1.3 and 2)."""

USER_AGENT = f"utter-gateway/{version('utter-gateway')}"
"""Sent for the vendor's source tracking (protocol reference 1.1)."""


@dataclass(frozen=True, slots=True)
class QwenAccount:
    """Where the realtime API is and as whom we call it. `realtime_url` has no query; `workspace` may be ""."""

    realtime_url: str
    api_key: str = field(repr=False)
    workspace: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the upgrade (protocol reference 1.1)."""
        headers = {"Authorization": f"Bearer {self.api_key}", "User-Agent": USER_AGENT}
        return {**headers, "X-DashScope-WorkSpace": self.workspace} if self.workspace else headers


@dataclass(frozen=True, slots=True)
class QwenOptions:
    """How to hold sessions. `upstream_format` is what the vendor is asked for: `mp3`, or `pcm` to encode here."""

    account: QwenAccount
    deadlines: Deadlines
    keepalive: Keepalive
    upstream_format: str = "mp3"
    retries: RetryPolicy = field(default_factory=RetryPolicy)
    circuit: CircuitLimits = field(default_factory=CircuitLimits)


@asynccontextmanager
async def open_qwen_realtime(
    options: QwenOptions, connect: Connect, turn: Turn = at_once
) -> AsyncIterator[QwenRealtime]:
    """The provider for the time of the block; leaving it waits for closing handshakes under way."""
    async with anyio.create_task_group() as tasks:
        yield QwenRealtime(options, SocketKeeper(tasks, connect, options.keepalive), turn)


class QwenRealtime:
    """A `SpeechProvider`. Any number of utterances at a time, each on a socket of its own."""

    def __init__(self, options: QwenOptions, sockets: SocketKeeper, turn: Turn) -> None:
        self._options = options
        self._sockets = sockets
        self._turn = turn
        self.circuit = CircuitBreaker(options.circuit)
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
        gauge = _Gauge(sink)
        recipient = Recipient(gauge, trace, on_status)

        async def attempt(number: int) -> Outcome:
            self.circuit.check()
            if number > 1 or not may_queue:
                await self._turn(trace, first_audio_at - anyio.current_time())
            on_status("ws_connecting")
            audio = open_audio_path(self._options.upstream_format, SAMPLE_RATE)
            with self.circuit.attempt():
                socket = await self._open_socket(utterance.model, trace, first_audio_at)
                clock = SessionClock(self._options.deadlines, first_audio_at)
                conversation = Conversation(socket.transport, audio, clock, recipient)
                finished = await _converse(conversation, socket, clock, script, clearance)
            return _outcome(finished, audio, number)

        with self.unknown_codes.watched(trace.log):
            return await with_retries(
                attempt, self._options.retries, trace.log, until=first_audio_at, repeatable=lambda: not gauge.moved
            )

    async def greet(self, model: str) -> None:
        """Have a session opened for `model`, and leave it: nothing is said, so nothing is billed.

        Raises `ProviderFailure`. Once, whatever it is: the caller wants to know.
        """
        trace, patience = Trace(), self._options.deadlines.connect
        now = anyio.current_time()
        socket = await self._open_socket(model, trace, now + patience)
        audio = open_audio_path(self._options.upstream_format, SAMPLE_RATE)
        clock = SessionClock(self._options.deadlines, now)
        conversation = Conversation(socket.transport, audio, clock, Recipient(_Nobody(), trace, lambda _: None))
        try:
            with anyio.fail_after(patience):
                await conversation.opened()
        except TimeoutError as timeout:
            raise conversation.session.failure(Fault.CONNECT_TIMEOUT) from timeout
        finally:
            socket.drop()

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

    async def _open_socket(self, model: str, trace: Trace, first_audio_at: float) -> Socket:
        account = self._options.account
        url = f"{account.realtime_url}?{urlencode({'model': model})}"
        patience = min(self._options.deadlines.connect, first_audio_at - anyio.current_time())
        try:
            with trace.step("provider.connect"), anyio.fail_after(patience):
                return await self._sockets.open(url, {**account.headers, **trace.outgoing_headers()})
        except UpgradeRefused as refused:
            # The body is not documented (protocol reference 1.2): the REST envelope is read where it is one.
            vendor = refusal_error(refused.status, read_envelope(refused.body, Envelope))
            raise ProviderFailure(classify(vendor), vendor) from refused
        except TransportUnreachable as unreachable:
            raise ProviderFailure(Fault.UNREACHABLE, VendorError(message=str(unreachable))) from unreachable
        except TimeoutError as timeout:
            raise ProviderFailure(Fault.CONNECT_TIMEOUT) from timeout


async def _converse(
    conversation: Conversation, socket: Socket, clock: SessionClock, script: Script, clearance: Clearance
) -> SessionFinished:
    try:
        finished = await _in_time(conversation, clock, script, clearance)
    except BaseException:
        socket.drop()
        raise
    socket.close_politely()
    return finished


async def _in_time(
    conversation: Conversation, clock: SessionClock, script: Script, clearance: Clearance
) -> SessionFinished:
    with clock.scope:
        return await conversation.run(script, clearance)
    raise conversation.session.failure(clock.fault)


class _Gauge:
    """A sink that remembers whether anything went into it."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.moved = False

    def append(self, frames: bytes) -> None:
        self.moved = True
        self._sink.append(frames)


class _Nobody:
    """A sink for what is not to come."""

    def append(self, frames: bytes) -> None:
        """Nothing was asked for."""


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
