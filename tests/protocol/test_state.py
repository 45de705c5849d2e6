"""The tables: their laws, and the choices in them, each checked by name."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

import pytest

from protocol.state import (
    AUDIO,
    COUPLINGS,
    INPUT_BUFFER,
    RESPONSE,
    SENDING,
    SENT_BY,
    SESSION,
    Audio,
    Input,
    InputBuffer,
    Response,
    Role,
    Sending,
    Session,
)

TABLES: dict[type[Enum], Mapping[Any, Mapping[Input, Any]]] = {
    Sending: SENDING,
    InputBuffer: INPUT_BUFFER,
    Session: SESSION,
    Response: RESPONSE,
    Audio: AUDIO,
}
ON_A_RESPONSE = {move for row in RESPONSE.values() for move in row}
WIRE_INPUTS = set(Input) - SENT_BY[Role.CLIENT] - SENT_BY[Role.SERVER]


@pytest.mark.parametrize(("kind", "table"), TABLES.items())
def test_a_table_has_a_row_for_every_state_and_moves_within_its_machine(
    kind: type[Enum], table: Mapping[Any, Mapping[Input, Any]]
) -> None:
    assert set(table) == set(kind)
    for row in table.values():
        assert all(isinstance(state, kind) for state in row.values())


@pytest.mark.parametrize("kind", TABLES)
def test_every_state_can_be_reached(kind: type[Enum]) -> None:
    starts = {Sending.WAITING, InputBuffer.EMPTY, Session.CONNECTING, Response.ABSENT, Audio.SILENT}
    targets = {state for row in TABLES[kind].values() for state in row.values()}
    assert set(kind) <= targets | starts | {coupling.then for coupling in COUPLINGS}


def test_every_input_is_listened_to_by_some_machine() -> None:
    assert {move for table in TABLES.values() for row in table.values() for move in row} == set(Input)


def test_both_ends_send_something_and_never_the_same() -> None:
    assert not SENT_BY[Role.CLIENT] & SENT_BY[Role.SERVER]
    assert {Input.SEND_FAILED, Input.SOCKET_CLOSED, Input.VIOLATION} == WIRE_INPUTS


FAILING = dict.fromkeys([Input.ERROR, Input.SOCKET_CLOSED, Input.VIOLATION], Session.FAILED)

# The tables once more in the shortest form: states down, the inputs each one takes across.
TAKEN = {
    Sending.WAITING: {Input.CREATED},
    Sending.OPEN: {Input.UPDATE, Input.UPDATE_MANUAL},
    Sending.CONFIGURED: {
        Input.UPDATE,
        Input.UPDATE_MANUAL,
        Input.UPDATED,
        Input.APPEND,
        Input.CLEAR,
        Input.FINISH,
    },
    Sending.SPEAKING: {Input.UPDATED, Input.APPEND, Input.COMMIT, Input.CLEAR, Input.FINISH},
    Sending.FINISHING: {Input.UPDATED, Input.FINISHED},
    Sending.CLOSED: {Input.CREATED, Input.UPDATED},
    InputBuffer.EMPTY: {Input.UPDATE, Input.UPDATE_MANUAL, Input.APPEND, Input.CLEAR, Input.FINISH},
    InputBuffer.HOLDING: {Input.APPEND, Input.COMMIT, Input.CLEAR, Input.FINISH},
    InputBuffer.MANUAL_EMPTY: {Input.UPDATE, Input.UPDATE_MANUAL, Input.APPEND, Input.CLEAR, Input.FINISH},
    InputBuffer.MANUAL_HOLDING: {Input.APPEND, Input.COMMIT, Input.CLEAR},
    Session.CONNECTING: {Input.CREATED, Input.ERROR},
    Session.CREATED: {Input.UPDATED, Input.ERROR},
    Session.READY: SENT_BY[Role.SERVER] - {Input.CREATED},
    Session.FINISHED: set(),
    Session.FAILED: set(),
    Response.ABSENT: {Input.RESPONSE_CREATED},
    Response.IN_PROGRESS: ON_A_RESPONSE,
    Response.COMPLETED: ON_A_RESPONSE,
    Response.FAILED: set(),
    Audio.SILENT: {Input.AUDIO},
    Audio.HEARD: {Input.AUDIO},
}


@pytest.mark.parametrize(("state", "taken"), TAKEN.items(), ids=lambda value: getattr(value, "name", ""))
def test_what_a_state_takes(state: Enum, taken: set[Input]) -> None:
    assert set(TABLES[type(state)][state]) - WIRE_INPUTS == taken


# Where they lead, if it is somewhere else. Whatever else a state takes leaves it as it is: events within a response may
# come in any order, and what happens after the end changes nothing.
MOVES = {
    Sending.WAITING: {Input.CREATED: Sending.OPEN, Input.SEND_FAILED: Sending.CLOSED},
    Sending.OPEN: {
        Input.UPDATE: Sending.CONFIGURED,
        Input.UPDATE_MANUAL: Sending.CONFIGURED,
        Input.SEND_FAILED: Sending.CLOSED,
    },
    Sending.CONFIGURED: {
        Input.APPEND: Sending.SPEAKING,
        Input.FINISH: Sending.FINISHING,
        Input.SEND_FAILED: Sending.CLOSED,
    },
    Sending.SPEAKING: {Input.FINISH: Sending.FINISHING, Input.SEND_FAILED: Sending.CLOSED},
    Sending.FINISHING: {Input.FINISHED: Sending.CLOSED},
    Sending.CLOSED: {},
    InputBuffer.EMPTY: {Input.UPDATE_MANUAL: InputBuffer.MANUAL_EMPTY, Input.APPEND: InputBuffer.HOLDING},
    InputBuffer.HOLDING: dict.fromkeys([Input.COMMIT, Input.CLEAR, Input.FINISH], InputBuffer.EMPTY),
    InputBuffer.MANUAL_EMPTY: {Input.UPDATE: InputBuffer.EMPTY, Input.APPEND: InputBuffer.MANUAL_HOLDING},
    InputBuffer.MANUAL_HOLDING: dict.fromkeys([Input.COMMIT, Input.CLEAR], InputBuffer.MANUAL_EMPTY),
    Session.CONNECTING: {Input.CREATED: Session.CREATED, **FAILING},
    Session.CREATED: {Input.UPDATED: Session.READY, **FAILING},
    Session.READY: {Input.FINISHED: Session.FINISHED, **FAILING},
    Session.FINISHED: {},
    Session.FAILED: {},
    Response.ABSENT: {Input.RESPONSE_CREATED: Response.IN_PROGRESS},
    Response.IN_PROGRESS: {
        Input.RESPONSE_COMPLETED: Response.COMPLETED,
        Input.RESPONSE_FAILED: Response.FAILED,
    },
    Response.COMPLETED: {
        Input.RESPONSE_CREATED: Response.IN_PROGRESS,
        Input.RESPONSE_FAILED: Response.FAILED,
    },
    Response.FAILED: {},
    Audio.SILENT: {Input.AUDIO: Audio.HEARD},
    Audio.HEARD: {},
}


@pytest.mark.parametrize(("state", "moves"), MOVES.items(), ids=lambda value: getattr(value, "name", ""))
def test_where_a_states_inputs_lead(state: Enum, moves: dict[Input, Enum]) -> None:
    row = TABLES[type(state)][state]
    assert moves.items() <= row.items()
    assert all(row[move] is state for move in row.keys() - moves.keys())
