"""The listening half of a realtime session: client events become answers and moves for the speaker."""

from __future__ import annotations

import hashlib
import logging
import secrets
import string

import trio
from msgspec import UNSET

from bench.emulator.faults import Fault
from bench.emulator.ledger import SessionRecord
from bench.emulator.line import CLOSE_SECONDS, Line, LineEnded
from bench.emulator.pacing import Pacer
from bench.emulator.response import Format, Stage
from bench.emulator.saboteur import Saboteur, unsupported_voice
from bench.emulator.segments import MAX_SEGMENT_CHARS, complete_sentences, segments
from bench.emulator.speaker import EndResponse, FinishSession, Move, Say, Speaker
from bench.emulator.speech import SpeechFailed
from bench.emulator.studio import Studio, delivery_of
from protocol.errors import RemoteProtocolError
from protocol.events import SessionSettings
from protocol.server_session import (
    ClearRequested,
    CommitRequested,
    ConfigureRequested,
    FinishRequested,
    Refused,
    ServerOutput,
    ServerSession,
    TextAppended,
)

MAX_SESSION_CHARS = 100_000
"""Text accepted in one session: fifty times the product's cap, eleven hours of Japanese speech."""

SEVERAL_RESPONSES_CHARS = 40
"""Portions under the fault `several_responses`: small enough that even a short text makes several."""

SLOW_DRIP_FACTOR = 5
"""Gaps of 1.5 s, as observed in production (protocol reference 1.9)."""

DEFAULT_KBPS = 128
"""MP3 bitrate when `bit_rate` is not asked for (protocol reference 1.3)."""

ID_ALPHABET = string.ascii_letters + string.digits
ID_CHARS = 21
"""Ids look like nanoid-21 (protocol reference 1.4)."""

ENGINE_REFUSED_VOICE = "CLIENT_ERROR-[qwen-tts:]Engine return error code: 411"
"""What an older snapshot says of a voice that its model does not have (protocol reference 1.8)."""

SPOKEN_FORMATS = frozenset({"pcm", "wav", "mp3"})
"""Opus is refused: its container is not documented (protocol reference 2)."""

log = logging.getLogger("bench.emulator")


class RealtimeSession:
    """One accepted connection, from `session.created` to its end."""

    def __init__(
        self,
        studio: Studio,
        line: Line,
        model: str,
        faults: frozenset[Fault],
    ) -> None:
        self._studio = studio
        self._line = line
        self._model = model
        self._faults = faults
        self._machine = ServerSession(model=model, new_id=self._new_id)
        self._record = SessionRecord(session_id=self._machine.session_id, model=model)
        self._text = hashlib.sha256()
        self._text_chars = 0
        self._settings = SessionSettings()
        self._speaker: Speaker | None = None
        self._speaker_ready = trio.Event()
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        """Serve until the client closes, a fault strikes, or the session idles out."""
        self._lose_pongs_if_asked()
        self._studio.ledger.open(self._record)
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch_idleness)
                nursery.start_soon(self._speak)
                nursery.start_soon(self._listen)
        self._machine.closed()

    async def _listen(self) -> None:
        try:
            await self._line.send(self._machine.created())
            while True:
                for output in self._machine.receive(await self._line.receive()):
                    await self._handle(output)
        except LineEnded:
            self._line_ended()
        except RemoteProtocolError:
            await self._give_up("invalid_value", "The message could not be parsed.", 1007)

    async def _speak(self) -> None:
        await self._speaker_ready.wait()
        if self._speaker is None:
            return
        try:
            await self._speaker.run()
            if Fault.CLOSE_AFTER_FINISHED in self._faults:
                await self._line.close()
                self._end("finished")
        except LineEnded:
            self._line_ended()
        except SpeechFailed:
            await self._give_up("InternalError", "An internal error has occurred.", 1011)

    async def _watch_idleness(self) -> None:
        limit = self._studio.options.idle_seconds
        while (deadline := self._line.last_activity + limit) > trio.current_time():  # noqa: ASYNC110 # every message moves it
            await trio.sleep_until(deadline)
        await self._give_up("session_expired", f"request timeout after {limit:.0f} seconds.", 1007)

    async def _handle(self, output: ServerOutput) -> None:
        match output:
            case ConfigureRequested(settings=settings, problem=problem):
                await self._configure(settings, problem)
            case TextAppended(text=text):
                await self._take_in(text)
            case CommitRequested(text=text):
                await self._line.send(self._machine.committed())
                self._say(text)
                self._hand_over(EndResponse())
            case ClearRequested():
                await self._line.send(self._machine.cleared())
            case FinishRequested(text=text):
                self._say(text)
                self._hand_over(EndResponse(), FinishSession())
            case Refused(close_code=None) as refused:
                message = self._machine.refuse(refused.code, refused.message, client_event_id=refused.event_id)
                await self._line.send(message)
            case Refused(code=code, message=message, close_code=int(close_code)):
                await self._give_up(code, message, close_code)

    async def _configure(self, settings: SessionSettings, problem: str) -> None:
        voice = settings.voice or self._machine.voice
        self._faults |= self._studio.faults.take(voice)
        self._lose_pongs_if_asked()
        if settings.response_format not in SPOKEN_FORMATS | {UNSET}:
            problem = problem or f"response_format must be one of {', '.join(sorted(SPOKEN_FORMATS))}."
        refusal = ("invalid_value", problem) if problem else self._voice_refusal(voice)
        if refusal is not None:
            await self._fail(*refusal)
            return
        self._settings = settings
        self._record.voice = voice
        await self._line.send(self._machine.updated())

    def _voice_refusal(self, voice: str) -> tuple[str, str] | None:
        """Code and words for a voice this session may not have."""
        if Fault.VOICE_GONE in self._faults:
            return "VoiceNotFound", f"Voice not found: {voice}"
        if Fault.VOICE_MISMATCH in self._faults:
            return "CLIENT_ERROR", ENGINE_REFUSED_VOICE
        if Fault.BAD_VOICE in self._faults or not self._studio.has_voice(voice, self._model):
            return "invalid_value", unsupported_voice(voice)
        return None

    def _lose_pongs_if_asked(self) -> None:
        if Fault.NO_PONG in self._faults:
            self._line.lose_pongs()

    def _new_id(self, prefix: str) -> str:
        """An id of the vendor's form; under `duplicated_ids` all with one prefix are the same, but the session's."""
        if Fault.DUPLICATED_IDS in self._faults and prefix != "sess_":
            return prefix + "A" * ID_CHARS
        return prefix + "".join(secrets.choice(ID_ALPHABET) for _ in range(ID_CHARS))

    async def _take_in(self, text: str) -> None:
        self._text.update(text.encode())
        self._record.text_sha256 = self._text.hexdigest()
        self._text_chars += len(text)
        if self._text_chars > MAX_SESSION_CHARS:
            await self._give_up("invalid_value", f"Text is limited to {MAX_SESSION_CHARS} characters.", 1007)
        elif self._machine.mode == "server_commit":
            ready = complete_sentences(self._machine.buffered)
            if ready:
                self._say(self._machine.take_text(ready))

    def _say(self, text: str) -> None:
        several = Fault.SEVERAL_RESPONSES in self._faults
        for portion in segments(text, SEVERAL_RESPONSES_CHARS if several else MAX_SEGMENT_CHARS):
            if portion.isspace():
                continue
            self._hand_over(Say(portion), *((EndResponse(),) if several else ()))

    def _hand_over(self, *moves: Move) -> None:
        if self._speaker is None:
            self._speaker = self._make_speaker()
            self._speaker_ready.set()
        self._speaker.hand_over(*moves)

    def _make_speaker(self) -> Speaker:
        options, settings = self._studio.options, self._settings
        audio = Format(self._machine.response_format, self._machine.sample_rate, settings.bit_rate or DEFAULT_KBPS)
        self._record.sample_rate = audio.sample_rate
        speed = options.speed / SLOW_DRIP_FACTOR if Fault.SLOW_DRIP in self._faults else options.speed
        stage = Stage(
            machine=self._machine,
            line=self._line,
            record=self._record,
            pacer=Pacer(speed, options.first_audio_delay),
            format=audio,
            faults=self._faults,
            saboteur=Saboteur(self._faults, self._line, self._machine, self._record, end=self._end),
        )
        return Speaker(self._studio, stage, delivery_of(settings))

    async def _fail(self, code: str, message: str) -> None:
        """Send the error that ends the session; the socket stays open, as most observed clients closed it first."""
        self._record.note(f"error:{code}")
        await self._line.send(self._machine.error(code, message))

    async def _give_up(self, code: str, message: str, close_code: int) -> None:
        """End the session with an error and the connection with a close, whatever state both are in."""
        self._record.note(f"error:{code}")
        with trio.move_on_after(CLOSE_SECONDS):
            try:
                if not self._machine.over:
                    await self._fail(code, message)
                await self._line.close(close_code, message)
            except LineEnded:
                log.debug("the client left before it could be told: %s", code)
        self._end(f"error:{code}")

    def _line_ended(self) -> None:
        """The client left; unless we are closing, for then whoever closes is in the middle of the handshake."""
        if not self._line.closing:
            self._end("client_closed")

    def _end(self, outcome: str) -> None:
        self._record.note(outcome)
        self._scope.cancel()
