"""A connection that follows a script instead of the protocol: these events, with these gaps.

For what no scenario imitates. `PUT /_emulator/script` with `{"steps": [...], "times": 1}` orders one for the next
connections; a step is one of `Step`, as JSON:

    {"do": "wait", "for": "session.finish"}                     read what the client says until this event
    {"do": "send", "event": {"type": "session.created"}}        one event, as it stands here
    {"do": "send_text", "text": "{"}                            one text frame of anything
    {"do": "send_bytes", "data": "AAEC"}                        one binary frame, base64 here
    {"do": "close", "code": 1007, "reason": "words"}            a close frame, and the end
    {"do": "cut", "event": {"type": "response.audio.delta"}}    half of the frame, and the end

Each may have `"after"`: seconds of silence before it. After the last one the connection stays open and silent.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Final, TypeAlias

import msgspec
import trio

from bench.emulator.line import Line

MAX_STEPS: Final = 10_000
"""Steps of one script: the deltas of the longest session, twice over."""

MAX_GAP_SECONDS: Final = 600.0
"""One silence. Every deadline of a client is shorter by default, but for a whole session."""


class _Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="do"):
    after: Annotated[float, msgspec.Meta(ge=0, le=MAX_GAP_SECONDS)] = 0.0


class Wait(_Step, frozen=True, kw_only=True, tag="wait"):
    event_type: str = msgspec.field(name="for")


class Send(_Step, frozen=True, kw_only=True, tag="send"):
    event: msgspec.Raw


class SendText(_Step, frozen=True, kw_only=True, tag="send_text"):
    text: str


class SendBytes(_Step, frozen=True, kw_only=True, tag="send_bytes"):
    data: bytes


class Close(_Step, frozen=True, kw_only=True, tag="close"):
    code: int = 1000
    reason: str = ""


class Cut(_Step, frozen=True, kw_only=True, tag="cut"):
    event: msgspec.Raw


Step: TypeAlias = Wait | Send | SendText | SendBytes | Close | Cut


class ScriptOrder(msgspec.Struct, forbid_unknown_fields=True):
    """What the control endpoint takes: the next `times` connections follow `steps`."""

    steps: Annotated[list[Step], msgspec.Meta(max_length=MAX_STEPS)]
    times: Annotated[int, msgspec.Meta(ge=1)] = 1


class ScriptBook:
    """The order that is in force, if any; a new one replaces it."""

    def __init__(self) -> None:
        self._order: ScriptOrder | None = None

    def order(self, order: ScriptOrder) -> None:
        """From the next connection on."""
        self._order = order

    def clear(self) -> None:
        """The next connection is served by the protocol again."""
        self._order = None

    def take(self) -> Sequence[Step] | None:
        """The script of a connection that begins now; counts as one of its `times`."""
        order = self._order
        if order is None:
            return None
        order.times -= 1
        if order.times == 0:
            self._order = None
        return order.steps


async def follow(steps: Sequence[Step], line: Line) -> None:
    """Do the steps in order, then say nothing until the client leaves. Raises `LineEnded` when it leaves."""
    for step in steps:
        await trio.sleep(step.after)
        match step:
            case Wait(event_type=wanted):
                while _type_of(await line.receive()) != wanted:
                    pass
            case Send(event=event):
                await line.send(bytes(event).decode())
            case SendText(text=text):
                await line.send(text)
            case SendBytes(data=data):
                await line.send(data)
            case Close(code=code, reason=reason):
                await line.close(code, reason)
                return
            case Cut(event=event):
                await line.cut(bytes(event).decode())
                return
    while True:
        await line.receive()


def _type_of(message: str | bytes) -> object:
    """The type of a client's event; None for what is no event."""
    try:
        event = json.loads(message)
    except ValueError:
        return None
    return event.get("type") if isinstance(event, dict) else None
