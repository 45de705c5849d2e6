"""The faults of one realtime session, at the moments they strike."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import NoReturn

import trio

from bench.emulator.faults import Fault
from bench.emulator.ledger import SessionRecord
from bench.emulator.line import Line
from protocol.server_session import ServerSession

STRIKE_AFTER = 2
"""Faults in the middle of the audio strike at the delta with this index, or at the last one of a shorter response."""

OVERSIZED_BYTES = 5 * 1024 * 1024
"""Past the 4 MiB a client of ours accepts."""

ARREARS_REASON = "Access denied, please make sure your account is in good standing."
THROTTLED_REASON = "Requests rate limit exceeded, please try again later."
"""Vendor wording (protocol reference 1.8, 3.4)."""


def unsupported_voice(voice: str) -> str:
    """What the vendor says of a voice its model cannot use (protocol reference 1.8)."""
    return f"The requested voice '{voice}' is not supported."


class Saboteur:
    """Carries out `faults` on a session's line. `end` ends the session with an outcome; its caller is
    cancelled at the next checkpoint."""

    def __init__(
        self,
        faults: frozenset[Fault],
        line: Line,
        machine: ServerSession,
        record: SessionRecord,
        *,
        end: Callable[[str], None],
    ) -> None:
        self._faults = faults
        self._line = line
        self._machine = machine
        self._end = end
        self._record = record

    async def at_first_response(self) -> None:
        """Instead of the first `response.created`."""
        for fault in self._faults:
            match fault:
                case Fault.BAD_VOICE_LATE:
                    await self._error_and_silence(fault, "invalid_value", unsupported_voice(self._machine.voice))
                case Fault.THROTTLED_EVENT:
                    await self._error_and_silence(fault, "Throttling.RateQuota", THROTTLED_REASON)
                case Fault.THROTTLED_CLOSE:
                    await self._close(fault, 1011, THROTTLED_REASON)
                case Fault.ARREARS:
                    await self._close(fault, 1007, ARREARS_REASON)

    async def at_delta(self, index: int, message: str, *, last: bool) -> None:
        """Before the delta `message`, number `index` of its response, goes out."""
        if index == 0:
            await self._instead_of_first_delta()
        if Fault.UNKNOWN_EVENTS in self._faults:
            await self._line.send('{"event_id":"event_unknown","type":"response.audio.progress"}')
        if index == STRIKE_AFTER or (last and index < STRIKE_AFTER):
            await self._in_the_middle(message)

    async def after_response(self) -> None:
        """Behind `response.done`: a failed response is the last thing that is heard of its session."""
        if Fault.RESPONSE_FAILED in self._faults:
            await self._silence(Fault.RESPONSE_FAILED)

    async def _instead_of_first_delta(self) -> None:
        for fault in self._faults & {Fault.ERROR_EVENT, Fault.ERROR_THEN_CLOSE}:
            message = self._machine.error("InternalError", "An internal error has occurred, please try again later.")
            await self._line.send(message)
            if fault is Fault.ERROR_EVENT:
                await self._silence(fault)
            await self._close(fault, 1011, "internal error")

    async def _in_the_middle(self, message: str) -> None:
        for fault in self._faults:
            match fault:
                case Fault.CUT:
                    self._record.note(f"fault:{fault}")
                    await self._line.cut(message)
                    await self._gone(fault)
                case Fault.STALL:
                    await self._silence(fault)
                case Fault.ERROR_AFTER_AUDIO:
                    await self._error_and_silence(fault, "InternalError", "An internal error has occurred.")
                case Fault.GARBAGE:
                    await self._line.send('{"event_id":"event_garbage","type":"response.audio.del')
                case Fault.OVERSIZED_FRAME:
                    await self._line.send(base64.b64encode(bytes(OVERSIZED_BYTES)).decode())

    async def _error_and_silence(self, fault: Fault, code: str, message: str) -> NoReturn:
        await self._line.send(self._machine.error(code, message))
        await self._silence(fault)

    async def _silence(self, fault: Fault) -> NoReturn:
        """Say nothing more; the session ends when the client closes or idles out."""
        self._record.note(f"fault:{fault}")
        await trio.sleep_forever()

    async def _close(self, fault: Fault, code: int, reason: str) -> NoReturn:
        self._record.note(f"fault:{fault}")
        await self._line.close(code, reason)
        await self._gone(fault)

    async def _gone(self, fault: Fault) -> NoReturn:
        self._end(f"fault:{fault}")
        await trio.sleep_forever()
