"""Who may do what when, for one realtime session.

Everything that affects a transition is in this file, as literal tables (`protocol/machine.py` walks them); nothing
here does IO, and the tables do not know which end they serve. `Input` names everything that can happen. Five small
machines listen, each to its own inputs:

- `Sending`: what the client has said so far,
- `InputBuffer`: text that was sent and not yet given to a response,
- `Session`: what the server has said so far,
- `Response`: one per response id,
- `Audio`: whether anything was heard.

An input is legal when every machine that listens to it has an entry for it; a missing entry *is* the error, and
nothing moves. The machines meet in two ways only: an input that two of them listen to, and `COUPLINGS`, applied after
each input until nothing changes.

Facts behind the tables: protocol reference 1.3 to 1.8. Deliberately loose: the order of events within a response (the
vendor's documents and its wire disagree on it), response ids that are used again, audio that comes after its response
ended (kept). Deliberately strict: audio of a response nobody announced, responses before the voice was confirmed (they
would speak in the default voice), a response that was announced and never ended, an end nobody asked for (in both text
would be missing).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final, TypeAlias

from protocol.errors import Fault


class Role(Enum):
    """Which end of the wire a machine serves: it decides whose fault an illegal input is."""

    CLIENT = "client"
    SERVER = "server"


class Input(StrEnum):
    """Everything that can happen to a session. The value is what errors say."""

    UPDATE = "session.update"
    UPDATE_MANUAL = "session.update (mode commit)"
    APPEND = "input_text_buffer.append"
    COMMIT = "input_text_buffer.commit"
    CLEAR = "input_text_buffer.clear"
    FINISH = "session.finish"

    CREATED = "session.created"
    UPDATED = "session.updated"
    COMMITTED = "input_text_buffer.committed"
    CLEARED = "input_text_buffer.cleared"
    RESPONSE_CREATED = "response.created"
    ITEM_ADDED = "response.output_item.added"
    PART_ADDED = "response.content_part.added"
    AUDIO = "response.audio.delta"
    EMPTY_AUDIO = "response.audio.delta (no bytes)"
    AUDIO_DONE = "response.audio.done"
    PART_DONE = "response.content_part.done"
    ITEM_DONE = "response.output_item.done"
    RESPONSE_COMPLETED = "response.done (completed)"
    RESPONSE_FAILED = "response.done (not completed)"
    FINISHED = "session.finished"
    ERROR = "error"

    SEND_FAILED = "a send that failed"
    SOCKET_CLOSED = "the end of the socket"
    VIOLATION = "a message the protocol does not allow"


SENT_BY: Final[Mapping[Role, frozenset[Input]]] = {
    Role.CLIENT: frozenset({Input.UPDATE, Input.UPDATE_MANUAL, Input.APPEND, Input.COMMIT, Input.CLEAR, Input.FINISH}),
    Role.SERVER: frozenset(
        {
            Input.CREATED,
            Input.UPDATED,
            Input.COMMITTED,
            Input.CLEARED,
            Input.RESPONSE_CREATED,
            Input.ITEM_ADDED,
            Input.PART_ADDED,
            Input.AUDIO,
            Input.EMPTY_AUDIO,
            Input.AUDIO_DONE,
            Input.PART_DONE,
            Input.ITEM_DONE,
            Input.RESPONSE_COMPLETED,
            Input.RESPONSE_FAILED,
            Input.FINISHED,
            Input.ERROR,
        }
    ),
}
"""The rest happens to the wire itself; no machine may refuse it."""


class Sending(Enum):
    """What the client has said. WAITING until the server has greeted; CLOSED when nothing more may be sent."""

    WAITING = "waiting"
    OPEN = "open"
    CONFIGURED = "configured"
    SPEAKING = "speaking"
    FINISHING = "finishing"
    CLOSED = "closed"


class InputBuffer(Enum):
    """Text waiting to be spoken. In the MANUAL pair (mode `commit`) it is only spoken when committed."""

    EMPTY = "empty"
    HOLDING = "holding text"
    MANUAL_EMPTY = "empty, in commit mode"
    MANUAL_HOLDING = "holding uncommitted text"


class Session(Enum):
    """What the server has said. FINISHED is success, FAILED everything else that ends a session."""

    CONNECTING = "connecting"
    CREATED = "created"
    READY = "ready"
    FINISHED = "finished"
    FAILED = "failed"


class Response(Enum):
    """One response. Nothing depends on how far it has come, so IN_PROGRESS is not split further."""

    ABSENT = "absent"
    IN_PROGRESS = "in progress"
    COMPLETED = "completed"
    FAILED = "failed"


class Audio(Enum):
    """Whether a byte of audio has come in this session."""

    SILENT = "silent"
    HEARD = "heard"


State: TypeAlias = Sending | InputBuffer | Session | Response | Audio

SENDING: Final[Mapping[Sending, Mapping[Input, Sending]]] = {
    Sending.WAITING: {
        Input.CREATED: Sending.OPEN,
        Input.SEND_FAILED: Sending.CLOSED,
    },
    Sending.OPEN: {
        Input.UPDATE: Sending.CONFIGURED,
        Input.UPDATE_MANUAL: Sending.CONFIGURED,
        Input.SEND_FAILED: Sending.CLOSED,
    },
    Sending.CONFIGURED: {
        Input.UPDATE: Sending.CONFIGURED,
        Input.UPDATE_MANUAL: Sending.CONFIGURED,
        Input.UPDATED: Sending.CONFIGURED,
        Input.APPEND: Sending.SPEAKING,
        Input.CLEAR: Sending.CONFIGURED,
        Input.FINISH: Sending.FINISHING,
        Input.SEND_FAILED: Sending.CLOSED,
    },
    # No update here: once text was sent, the vendor answers one with an error and closes (reference 1.8).
    Sending.SPEAKING: {
        Input.UPDATED: Sending.SPEAKING,
        Input.APPEND: Sending.SPEAKING,
        Input.COMMIT: Sending.SPEAKING,
        Input.CLEAR: Sending.SPEAKING,
        Input.FINISH: Sending.FINISHING,
        Input.SEND_FAILED: Sending.CLOSED,
    },
    # A failed send changes nothing here: nothing more is to be sent, and session.finished would prove that all of it
    # arrived, since the socket keeps order.
    Sending.FINISHING: {
        Input.UPDATED: Sending.FINISHING,
        Input.FINISHED: Sending.CLOSED,
        Input.SEND_FAILED: Sending.FINISHING,
    },
    # Receiving goes on after a failed send, because the server's reason may still be on its way.
    Sending.CLOSED: {
        Input.CREATED: Sending.CLOSED,
        Input.UPDATED: Sending.CLOSED,
        Input.SEND_FAILED: Sending.CLOSED,
    },
}

INPUT_BUFFER: Final[Mapping[InputBuffer, Mapping[Input, InputBuffer]]] = {
    # No commit while empty: the vendor's answer to it is not published (reference 1.8), so it is never sent.
    InputBuffer.EMPTY: {
        Input.UPDATE: InputBuffer.EMPTY,
        Input.UPDATE_MANUAL: InputBuffer.MANUAL_EMPTY,
        Input.APPEND: InputBuffer.HOLDING,
        Input.CLEAR: InputBuffer.EMPTY,
        Input.FINISH: InputBuffer.EMPTY,
    },
    InputBuffer.HOLDING: {
        Input.APPEND: InputBuffer.HOLDING,
        Input.COMMIT: InputBuffer.EMPTY,
        Input.CLEAR: InputBuffer.EMPTY,
        Input.FINISH: InputBuffer.EMPTY,
    },
    InputBuffer.MANUAL_EMPTY: {
        Input.UPDATE: InputBuffer.EMPTY,
        Input.UPDATE_MANUAL: InputBuffer.MANUAL_EMPTY,
        Input.APPEND: InputBuffer.MANUAL_HOLDING,
        Input.CLEAR: InputBuffer.MANUAL_EMPTY,
        Input.FINISH: InputBuffer.MANUAL_EMPTY,
    },
    # No finish here: whether it speaks uncommitted text is not settled (reference 1.7), so commit first.
    InputBuffer.MANUAL_HOLDING: {
        Input.APPEND: InputBuffer.MANUAL_HOLDING,
        Input.COMMIT: InputBuffer.MANUAL_EMPTY,
        Input.CLEAR: InputBuffer.MANUAL_EMPTY,
    },
}

SESSION: Final[Mapping[Session, Mapping[Input, Session]]] = {
    Session.CONNECTING: {
        Input.CREATED: Session.CREATED,
        Input.ERROR: Session.FAILED,
        Input.SOCKET_CLOSED: Session.FAILED,
        Input.VIOLATION: Session.FAILED,
    },
    Session.CREATED: {
        Input.UPDATED: Session.READY,
        Input.ERROR: Session.FAILED,
        Input.SOCKET_CLOSED: Session.FAILED,
        Input.VIOLATION: Session.FAILED,
    },
    Session.READY: {
        Input.UPDATED: Session.READY,
        Input.COMMITTED: Session.READY,
        Input.CLEARED: Session.READY,
        Input.RESPONSE_CREATED: Session.READY,
        Input.ITEM_ADDED: Session.READY,
        Input.PART_ADDED: Session.READY,
        Input.AUDIO: Session.READY,
        Input.EMPTY_AUDIO: Session.READY,
        Input.AUDIO_DONE: Session.READY,
        Input.PART_DONE: Session.READY,
        Input.ITEM_DONE: Session.READY,
        Input.RESPONSE_COMPLETED: Session.READY,
        Input.RESPONSE_FAILED: Session.READY,
        Input.FINISHED: Session.FINISHED,
        Input.ERROR: Session.FAILED,
        Input.SOCKET_CLOSED: Session.FAILED,
        Input.VIOLATION: Session.FAILED,
    },
    # The success stands, whatever the peer does afterwards.
    Session.FINISHED: {
        Input.SOCKET_CLOSED: Session.FINISHED,
        Input.VIOLATION: Session.FINISHED,
    },
    Session.FAILED: {
        Input.SOCKET_CLOSED: Session.FAILED,
        Input.VIOLATION: Session.FAILED,
    },
}

RESPONSE: Final[Mapping[Response, Mapping[Input, Response]]] = {
    Response.ABSENT: {
        Input.RESPONSE_CREATED: Response.IN_PROGRESS,
    },
    Response.IN_PROGRESS: {
        Input.RESPONSE_CREATED: Response.IN_PROGRESS,
        Input.ITEM_ADDED: Response.IN_PROGRESS,
        Input.PART_ADDED: Response.IN_PROGRESS,
        Input.AUDIO: Response.IN_PROGRESS,
        Input.EMPTY_AUDIO: Response.IN_PROGRESS,
        Input.AUDIO_DONE: Response.IN_PROGRESS,
        Input.PART_DONE: Response.IN_PROGRESS,
        Input.ITEM_DONE: Response.IN_PROGRESS,
        Input.RESPONSE_COMPLETED: Response.COMPLETED,
        Input.RESPONSE_FAILED: Response.FAILED,
    },
    # Late audio is kept: the text was spoken, and a listener must hear all of it. An id that is announced again is in
    # progress again: its first end says nothing of the second text.
    Response.COMPLETED: {
        Input.RESPONSE_CREATED: Response.IN_PROGRESS,
        Input.ITEM_ADDED: Response.COMPLETED,
        Input.PART_ADDED: Response.COMPLETED,
        Input.AUDIO: Response.COMPLETED,
        Input.EMPTY_AUDIO: Response.COMPLETED,
        Input.AUDIO_DONE: Response.COMPLETED,
        Input.PART_DONE: Response.COMPLETED,
        Input.ITEM_DONE: Response.COMPLETED,
        Input.RESPONSE_COMPLETED: Response.COMPLETED,
        Input.RESPONSE_FAILED: Response.FAILED,
    },
    Response.FAILED: {},
}

AUDIO: Final[Mapping[Audio, Mapping[Input, Audio]]] = {
    Audio.SILENT: {Input.AUDIO: Audio.HEARD},
    Audio.HEARD: {Input.AUDIO: Audio.HEARD},
}


@dataclass(frozen=True, slots=True)
class Coupling:
    """While all of `when` hold together, move on to `then`; `fault` says why, where that is a failure."""

    when: frozenset[State]
    then: Session | Sending
    fault: Fault | None = None


COUPLINGS: Final[tuple[Coupling, ...]] = (
    Coupling(frozenset({Response.FAILED}), Session.FAILED, Fault.RESPONSE_FAILED),
    # Before the next one: a response that never ended says more than the silence it left.
    Coupling(frozenset({Session.FINISHED, Response.IN_PROGRESS}), Session.FAILED, Fault.RESPONSE_FAILED),
    Coupling(frozenset({Session.FINISHED, Audio.SILENT}), Session.FAILED, Fault.NO_AUDIO),
    Coupling(frozenset({Session.FAILED}), Sending.CLOSED),
)
