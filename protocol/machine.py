"""Walks the tables of `protocol/state.py`: `fire` an input, and all machines move or none does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

from protocol import events
from protocol.errors import Fault, LocalProtocolError, ProtocolError, RemoteProtocolError
from protocol.state import (
    AUDIO,
    COUPLINGS,
    INPUT_BUFFER,
    RESPONSE,
    SENDING,
    SENT_BY,
    SESSION,
    Audio,
    Coupling,
    Input,
    InputBuffer,
    Response,
    Role,
    Sending,
    Session,
    State,
)

MAX_RESPONSES: Final = 2000
"""Responses announced in one session, each of which is remembered. A text has at most 2000 characters, so more than one
response per character is a peer gone wrong."""

_S = TypeVar("_S", Sending, InputBuffer, Session, Response, Audio)


class SessionMachine:
    """The machines of one session, as the end `role` sees them. Read the states; move them with `fire` only."""

    def __init__(self, role: Role) -> None:
        self._role = role
        self.sending = Sending.WAITING
        self.input_buffer = InputBuffer.EMPTY
        self.session = Session.CONNECTING
        self.audio = Audio.SILENT
        self.responses: dict[str, Response] = {}
        self._announced = 0
        self.fault: Fault | None = None
        """Why a coupling failed the session, None when something else did or nothing."""
        self._idle: tuple[Input, str | None] | None = None  # what moved nothing, as long as nothing has moved since

    @property
    def over(self) -> bool:
        """The session has finished or failed."""
        return self.session in {Session.FINISHED, Session.FAILED}

    def fire(self, move: Input, response_id: str | None = None) -> None:
        """Let `move` happen; `response_id` belongs to the inputs of a response and to no others.

        Raises LocalProtocolError or RemoteProtocolError, by who sent `move`, when a machine has no entry for it;
        then nothing has moved.
        """
        if (move, response_id) == self._idle:  # all but one of a session's deltas
            return
        before = self._states(response_id)
        sending = self._step(SENDING, self.sending, move)
        input_buffer = self._step(INPUT_BUFFER, self.input_buffer, move)
        session = self._step(SESSION, self.session, move)
        audio = self._step(AUDIO, self.audio, move)
        if response_id is not None:
            self._fire_response(response_id, move)
        self.sending, self.input_buffer, self.session, self.audio = sending, input_buffer, session, audio
        while (due := self._due_coupling()) is not None:
            self._apply(due)
        self._idle = (move, response_id) if self._states(response_id) == before else None

    def _states(self, response_id: str | None) -> tuple[State | None, ...]:
        """All that an input of this response can move."""
        response = None if response_id is None else self.responses.get(response_id)
        return self.sending, self.input_buffer, self.session, self.audio, response

    def _step(self, table: Mapping[_S, Mapping[Input, _S]], state: _S, move: Input) -> _S:
        row = table[state]
        if move in row:
            return row[move]
        if any(move in other for other in table.values()):
            raise self._blame(move)(
                f"{move.value} is not allowed while {type(state).__name__} is {state.name} ({state.value})"
            )
        return state

    def _fire_response(self, response_id: str, move: Input) -> None:
        before = self.responses.get(response_id, Response.ABSENT)
        state = self._step(RESPONSE, before, move)
        if state is Response.IN_PROGRESS and before is not Response.IN_PROGRESS:
            if self._announced == MAX_RESPONSES:
                raise self._blame(move)(f"more than {MAX_RESPONSES} responses in one session")
            self._announced += 1
        self.responses[response_id] = state

    def _due_coupling(self) -> Coupling | None:
        current: set[State] = {
            self.sending,
            self.input_buffer,
            self.session,
            self.audio,
            *self.responses.values(),
        }
        return next((c for c in COUPLINGS if c.when <= current and c.then not in current), None)

    def _apply(self, coupling: Coupling) -> None:
        if isinstance(coupling.then, Session):
            self.session, self.fault = coupling.then, coupling.fault
        else:
            self.sending = coupling.then

    def _blame(self, move: Input) -> type[ProtocolError]:
        return LocalProtocolError if move in SENT_BY[self._role] else RemoteProtocolError


def input_of(event: events.AnyClientEvent | events.AnyServerEvent) -> tuple[Input, str | None]:
    """What an event is to the tables, and the id of the response it belongs to, if it belongs to one."""
    match event:
        case events.AudioDelta():  # first, for nearly all are
            return (Input.AUDIO if event.delta else Input.EMPTY_AUDIO), event.response_id
        case events.SessionUpdate():
            return (Input.UPDATE_MANUAL if event.session.mode == "commit" else Input.UPDATE), None
        case events.ResponseCreated():
            return Input.RESPONSE_CREATED, event.response.id
        case events.ResponseDone():
            completed = event.response.status == "completed"
            return (Input.RESPONSE_COMPLETED if completed else Input.RESPONSE_FAILED), event.response.id
    return Input(events.type_of(event)), getattr(event, "response_id", None)
