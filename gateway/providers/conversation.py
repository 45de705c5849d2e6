"""One Qwen session on one connection: drives `protocol.session.ClientSession` from first event to last.

Sending and receiving run side by side. All text leaves in one flight, and a server that sends while we still send
must not find us deaf.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from uuid import uuid4

import anyio

from gateway.metrics.pace import Pace
from gateway.providers.audio_path import AudioPath
from gateway.providers.base import Clearance, Sink
from gateway.providers.deadlines import SessionClock
from gateway.providers.realtime_connection import RealtimeConnection
from gateway.task_groups import until_cancelled
from gateway.tracing import Trace
from protocol.errors import Fault, ProviderFailure, VendorError
from protocol.mp3 import WrongAudioError
from protocol.session import (
    AudioReceived,
    Ignored,
    Output,
    ResponseFinished,
    SessionConfig,
    SessionConfigured,
    SessionFailed,
    SessionFinished,
    SessionOpened,
)

MAX_AUDIO_SECONDS = 3600.0
"""Playing time of one session: four times what the longest text takes (2000 Japanese characters, a quarter of an hour).
A peer that sends faster than playback would fill our memory long before a clock stops it."""


@dataclass(frozen=True, slots=True)
class Script:
    """What the server is to do: how to speak, and the pieces of text in order."""

    config: SessionConfig
    pieces: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Recipient:
    """Who is told what comes back. `sink` gets whole MP3 frames, `on_status` the product's `provider_status`."""

    sink: Sink
    trace: Trace
    on_status: Callable[[str], None]


class Conversation:
    """Use once, on a connection where nothing was sent yet."""

    def __init__(
        self, connection: RealtimeConnection, audio: AudioPath, clock: SessionClock, recipient: Recipient
    ) -> None:
        self._connection = connection
        self._session = connection.session
        self._audio = audio
        self._clock = clock
        self._recipient = recipient
        self._audio_began = False
        self._pace = Pace()
        self._until_audio = ExitStack()

    async def run(self, script: Script, clearance: Clearance) -> SessionFinished:
        """Play `script` and deliver the audio. Raises `ProviderFailure`, and what `clearance` raises."""
        with self._recipient.trace.step("provider.session"):
            await self._connection.opened()
            self._recipient.trace.bind(provider_session_id=self._session.session_id)
        await clearance()
        with self._until_audio:
            self._until_audio.enter_context(self._recipient.trace.step("provider.first_audio"))
            return await self._converse(self._flight(script))

    async def _converse(self, flight: list[str]) -> SessionFinished:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(until_cancelled, self._connection.send, flight)
            # Returned, not raised: what is raised here would reach the caller inside an exception group.
            ending: SessionFinished | ProviderFailure = await self._connection.follow(self._handle)
            tasks.cancel_scope.cancel()
        if isinstance(ending, ProviderFailure):
            raise ending
        return ending

    def _flight(self, script: Script) -> list[str]:
        return [
            self._session.configure(script.config, _event_id()),
            *(self._session.append(piece, _event_id()) for piece in script.pieces),
            self._session.finish(_event_id()),
        ]

    def _handle(self, output: Output) -> SessionFinished | ProviderFailure | None:
        """The end of the session, None while it goes on."""
        match output:
            case AudioReceived():
                return self._deliver(output.data, self._audio.feed)
            case SessionFinished():
                return self._deliver(b"", lambda _: self._audio.finish()) or self._complete(output)
            case SessionFailed():
                return output.failure
            case SessionConfigured():
                self._recipient.on_status("session_updated")
            case SessionOpened() | ResponseFinished() | Ignored():
                pass
        return None

    def _deliver(self, data: bytes, step: Callable[[bytes], bytes]) -> ProviderFailure | None:
        try:
            frames = step(data)
        except WrongAudioError as error:
            failure = self._session.failure(Fault.WRONG_AUDIO, VendorError(message=str(error)))
            failure.__cause__ = error
            return failure
        if frames and not self._audio_began:
            self._audio_began = True
            self._until_audio.close()
            self._recipient.on_status("streaming")
        now, seconds = self._clock.now(), self._audio.seconds
        if frames:
            self._recipient.sink.append(frames)
            self._pace.delivered(seconds, now)
        if self._audio_began:
            self._clock.audio_arrived(now)
        if seconds > MAX_AUDIO_SECONDS:
            reason = f"more than {MAX_AUDIO_SECONDS:.0f} s of audio"
            return self._session.failure(Fault.PROTOCOL_BROKEN, VendorError(message=reason))
        return None

    def _complete(self, finished: SessionFinished) -> SessionFinished | ProviderFailure:
        if not self._audio_began:
            return self._session.failure(Fault.NO_AUDIO)  # bytes came, but not one frame among them
        if self._audio.leftover_bytes:
            self._recipient.trace.log.warning("provider.audio_leftover", dropped_bytes=self._audio.leftover_bytes)
        return finished


def _event_id() -> str:
    """Unique per connection; the vendor's SDK writes the same form (protocol reference 1.3)."""
    return f"event_{uuid4().hex}"
