"""The speaking half of a realtime session.

The half that listens (`realtime`) hands over moves; this half carries them out in order, so that a client that sends
everything in one flight and one that sends word by word are served by the same code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import trio

from bench.emulator.response import Response, Stage
from bench.emulator.studio import Delivery, Studio
from protocol.usage import billable_characters

MAX_MOVES = 100_000
"""Moves waiting in one session. A session takes fewer characters than this, and a move holds at least one."""


@dataclass(frozen=True, slots=True)
class Say:
    """Speak `text` in the running response, or in a new one."""

    text: str


@dataclass(frozen=True, slots=True)
class EndResponse:
    """Complete the running response, if there is one."""


@dataclass(frozen=True, slots=True)
class FinishSession:
    """Say `session.finished`; nothing comes after it."""


Move: TypeAlias = Say | EndResponse | FinishSession


class Speaker:
    """Speaks one session with one delivery."""

    def __init__(self, studio: Studio, stage: Stage, delivery: Delivery) -> None:
        self._studio = studio
        self._stage = stage
        self._delivery = delivery
        self._send_moves, self._moves = trio.open_memory_channel[Move](MAX_MOVES)
        self._response: Response | None = None
        self._language: str | None = None
        self._responses = 0

    def hand_over(self, *moves: Move) -> None:
        """Queue moves, without blocking. Raises trio.WouldBlock past MAX_MOVES."""
        for move in moves:
            self._send_moves.send_nowait(move)

    async def run(self) -> None:
        """Carry out moves until the session is finished. Raises `LineEnded` and `SpeechFailed`."""
        while True:
            match await self._next_move():
                case Say(text):
                    await self._say(text)
                case EndResponse():
                    await self._end_response()
                case FinishSession():
                    await self._stage.stay_silent_if_over()
                    # Noted first: the client may close before this task runs again.
                    self._stage.record.note("finished")
                    await self._stage.line.send(self._stage.machine.finished())
                    return

    async def _next_move(self) -> Move:
        try:
            return self._moves.receive_nowait()
        except trio.WouldBlock:
            move = await self._moves.receive()
            self._stage.pacer.resume()
            return move

    async def _say(self, text: str) -> None:
        # One language for a whole session: a single short sentence is too little to tell Spanish from Italian.
        self._language = self._language or self._delivery.language(text)
        characters = billable_characters(text)
        await self._begin_response()
        await self._studio.account.charge(characters)
        self._stage.record.characters += characters
        pcm = await self._studio.worker.speak(self._delivery.utterance(text, self._language))
        if self._response is not None:
            await self._response.add(pcm, characters)

    async def _begin_response(self) -> None:
        if self._response is not None:
            return
        if self._responses == 0:
            await self._stage.saboteur.at_first_response()
        self._responses += 1
        self._response = Response(self._stage)
        await self._response.begin()

    async def _end_response(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            await response.end()
