"""One response of a session: PCM goes in as it is rendered, paced deltas come out."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

import trio

from bench.emulator.encoder import make_encoder
from bench.emulator.faults import Fault
from bench.emulator.ledger import SessionRecord
from bench.emulator.line import Line
from bench.emulator.pacing import DELTA_SECONDS, Pacer
from bench.emulator.saboteur import Saboteur
from protocol.events import Usage
from protocol.server_session import ServerSession

HELD_BACK_SECONDS = 2.2
"""Audio kept back while more text may come: of a recorded 2.8 s only two deltas came before finish (reference 1.6)."""

LATE_DELTAS = 2
"""How many deltas come late under the fault of that name."""

AUDIO_TOKENS_PER_SECOND = 12.5
"""As recorded (protocol reference 1.4)."""

SAMPLE_BYTES = 2


@dataclass(frozen=True, slots=True)
class Format:
    """What deltas carry. `sample_rate` in Hz, `bit_rate` in kbps (MP3 only)."""

    response_format: str = "pcm"
    sample_rate: int = 24000
    bit_rate: int = 128

    @property
    def delta_bytes(self) -> int:
        """PCM bytes behind one whole delta."""
        return round(DELTA_SECONDS * self.sample_rate) * SAMPLE_BYTES

    @property
    def held_back_bytes(self) -> int:
        """PCM bytes behind HELD_BACK_SECONDS."""
        return round(HELD_BACK_SECONDS * self.sample_rate) * SAMPLE_BYTES


@dataclass(frozen=True, slots=True)
class Stage:
    """What the responses of one session have in common."""

    machine: ServerSession
    line: Line
    record: SessionRecord
    pacer: Pacer
    format: Format
    faults: frozenset[Fault]
    saboteur: Saboteur

    async def stay_silent_if_over(self) -> None:
        """Return at once while the session lives; sleep for good when the listening half has ended it with an error.

        Cancelling the speaking half instead could leave half a frame on the wire, and the error would be lost in it.
        """
        if self.machine.over:
            await trio.sleep_forever()

    async def send_all(self, messages: list[str]) -> None:
        """Send messages in order. Raises `LineEnded`."""
        for message in messages:
            await self.line.send(message)


class Response:
    """Open from `begin` to `end`. All methods raise `LineEnded`."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._encoder = make_encoder(
            stage.format.response_format,
            stage.format.sample_rate,
            stage.format.bit_rate,
            tagged=Fault.ID3_XING in stage.faults,
        )
        self._pending = bytearray()
        self._unsent: deque[tuple[str, int, int]] = deque()
        self._deltas = 0
        self._samples = 0
        self._characters = 0

    async def begin(self) -> None:
        """Announce the response."""
        self._stage.pacer.begin()
        await self._stage.stay_silent_if_over()
        self._stage.record.responses += 1
        await self._stage.send_all(self._stage.machine.begin_response())

    async def add(self, pcm: bytes, characters: int) -> None:
        """Speak more: deltas go out while more than the held-back tail is there. `characters` are billed ones."""
        self._pending += pcm
        self._characters += characters
        while len(self._pending) - self._stage.format.held_back_bytes >= self._stage.format.delta_bytes:
            await self._speak_block(last=False)

    async def end(self) -> None:
        """Speak what was held back and complete the response."""
        while self._pending:
            await self._speak_block(last=len(self._pending) <= self._stage.format.delta_bytes)
        await self._release(keep=LATE_DELTAS if Fault.LATE_DELTAS in self._stage.faults else 0)
        await self._stage.stay_silent_if_over()
        status = "failed" if Fault.RESPONSE_FAILED in self._stage.faults else "completed"
        await self._stage.send_all(self._stage.machine.end_response(self._usage(), status))
        await self._stage.saboteur.after_response()
        await self._release(keep=0)

    async def _speak_block(self, *, last: bool) -> None:
        """One delta time of PCM. Everything is made before the wait, so that a delta leaves when it is due."""
        pcm = bytes(self._pending[: self._stage.format.delta_bytes])
        del self._pending[: len(pcm)]
        samples = len(pcm) // SAMPLE_BYTES
        self._samples += samples
        data = self._encoder.encode(pcm) + (self._encoder.finish() if last else b"")
        if Fault.ZERO_AUDIO in self._stage.faults or not data:
            return
        await self._stage.stay_silent_if_over()
        message = self._stage.machine.audio(data)
        await self._stage.pacer.wait(len(pcm) / self._stage.format.delta_bytes)
        await self._stage.saboteur.at_delta(self._deltas, message, last=last)
        self._deltas += 1
        self._unsent.append((message, samples, len(data)))
        await self._release(keep=LATE_DELTAS if Fault.LATE_DELTAS in self._stage.faults else 0)

    async def _release(self, keep: int) -> None:
        while len(self._unsent) > keep:
            await self._stage.stay_silent_if_over()
            message, samples, size = self._unsent.popleft()
            self._stage.record.delta_sent(samples, size, time.monotonic_ns())
            await self._stage.line.send(message)

    def _usage(self) -> Usage:
        """Both kinds of keys, as recorded (protocol reference 1.4)."""
        audio_tokens = round(self._samples / self._stage.format.sample_rate * AUDIO_TOKENS_PER_SECOND)
        text_tokens = self._characters // 3 + 1
        return Usage(
            characters=self._characters,
            total_tokens=text_tokens + audio_tokens,
            input_tokens=text_tokens,
            output_tokens=audio_tokens,
            input_tokens_details={"text_tokens": text_tokens},
            output_tokens_details={"text_tokens": 0, "audio_tokens": audio_tokens},
        )
