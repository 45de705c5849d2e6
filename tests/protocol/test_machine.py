"""The machines together: every combination of states with every input, the couplings, and what an event is to them."""

from __future__ import annotations

from enum import Enum
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import events
from protocol.errors import Fault, LocalProtocolError, ProtocolError, RemoteProtocolError
from protocol.events import UnknownEvent, decode_server_event
from protocol.machine import MAX_RESPONSES, SessionMachine, input_of
from protocol.state import RESPONSE, SENT_BY, Audio, Input, InputBuffer, Response, Role, Sending, Session
from tests.protocol import samples
from tests.protocol.test_state import TABLES

ON_A_RESPONSE = {move for row in RESPONSE.values() for move in row}


def machine_in(
    role: Role,
    sending: Sending = Sending.SPEAKING,
    input_buffer: InputBuffer = InputBuffer.HOLDING,
    session: Session = Session.READY,
    audio: Audio = Audio.SILENT,
    response: Response = Response.ABSENT,
) -> SessionMachine:
    machine = SessionMachine(role)
    machine.sending, machine.input_buffer, machine.session, machine.audio = sending, input_buffer, session, audio
    if response is not Response.ABSENT:
        machine.responses["r"] = response
    return machine


def fire(machine: SessionMachine, move: Input) -> None:
    machine.fire(move, "r" if move in ON_A_RESPONSE else None)


def refused(machine: SessionMachine, move: Input) -> ProtocolError | None:
    try:
        fire(machine, move)
    except ProtocolError as error:
        return error
    return None


def lacks(state: Enum, move: Input) -> bool:
    """The table of this machine knows the input, and has no entry for it here."""
    table = TABLES[type(state)]
    return any(move in row for row in table.values()) and move not in table[state]


def states(machine: SessionMachine) -> tuple[Enum, ...]:
    response = machine.responses.get("r", Response.ABSENT)
    return machine.sending, machine.input_buffer, machine.session, machine.audio, response


@pytest.mark.parametrize("role", Role)
def test_every_state_with_every_input_moves_or_names_both(role: Role) -> None:
    blamed = LocalProtocolError, RemoteProtocolError
    for move, *combination in product(Input, Sending, InputBuffer, Session, Audio, Response):
        machine = machine_in(role, *combination)  # type: ignore[arg-type]  # product forgets the types
        before = states(machine)
        refusal = refused(machine, move)
        missing = [state for state in before if lacks(state, move)]
        assert bool(missing) == (refusal is not None), (move, before)
        if refusal is not None:
            assert type(refusal) is blamed[move not in SENT_BY[role]]
            assert move.value in str(refusal)
            assert any(f"{type(state).__name__} is {state.name}" in str(refusal) for state in missing)
            assert states(machine) == before


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("move", [Input.SEND_FAILED, Input.SOCKET_CLOSED, Input.VIOLATION])
def test_what_happens_to_the_wire_is_never_refused(role: Role, move: Input) -> None:
    for combination in product(Sending, InputBuffer, Session, Audio, Response):
        assert refused(machine_in(role, *combination), move) is None


def test_a_failed_response_fails_the_session_at_once_and_ends_sending() -> None:
    machine = machine_in(Role.CLIENT, response=Response.IN_PROGRESS)
    fire(machine, Input.RESPONSE_FAILED)
    assert (machine.session, machine.sending) == (Session.FAILED, Sending.CLOSED)
    assert machine.fault is Fault.RESPONSE_FAILED


@pytest.mark.parametrize(
    ("audio", "response", "session", "fault"),
    [
        (Audio.HEARD, Response.COMPLETED, Session.FINISHED, None),
        (Audio.SILENT, Response.COMPLETED, Session.FAILED, Fault.NO_AUDIO),
        (Audio.SILENT, Response.ABSENT, Session.FAILED, Fault.NO_AUDIO),
        (Audio.HEARD, Response.IN_PROGRESS, Session.FAILED, Fault.RESPONSE_FAILED),
        (Audio.SILENT, Response.IN_PROGRESS, Session.FAILED, Fault.RESPONSE_FAILED),
    ],
)
def test_an_end_is_a_success_only_with_audio_and_every_response_completed(
    audio: Audio, response: Response, session: Session, fault: Fault | None
) -> None:
    machine = machine_in(Role.CLIENT, Sending.FINISHING, audio=audio, response=response)
    fire(machine, Input.FINISHED)
    assert machine.session is session
    assert machine.over
    assert machine.fault is fault
    assert machine.sending is Sending.CLOSED


def test_one_open_response_among_completed_ones_is_enough_to_fail() -> None:
    machine = machine_in(Role.CLIENT, Sending.FINISHING, audio=Audio.HEARD, response=Response.COMPLETED)
    machine.fire(Input.RESPONSE_CREATED, "another")
    fire(machine, Input.FINISHED)
    assert machine.session is Session.FAILED


def test_a_failed_session_takes_no_more_calls() -> None:
    machine = machine_in(Role.CLIENT)
    fire(machine, Input.ERROR)
    for move in SENT_BY[Role.CLIENT]:
        with pytest.raises(LocalProtocolError, match="CLOSED"):
            fire(machine, move)


def test_an_end_nobody_asked_for_is_a_violation() -> None:
    machine = machine_in(Role.CLIENT, Sending.SPEAKING, audio=Audio.HEARD)
    with pytest.raises(RemoteProtocolError, match=r"session\.finished .* SPEAKING"):
        fire(machine, Input.FINISHED)


def test_the_number_of_responses_is_bounded() -> None:
    machine = machine_in(Role.CLIENT)
    for number in range(MAX_RESPONSES):
        machine.fire(Input.RESPONSE_CREATED, str(number))
    machine.fire(Input.RESPONSE_CREATED, "0")
    with pytest.raises(RemoteProtocolError, match=f"more than {MAX_RESPONSES}"):
        machine.fire(Input.RESPONSE_CREATED, "one more")
    assert len(machine.responses) == MAX_RESPONSES


def test_an_id_that_is_announced_over_and_over_is_bounded_too() -> None:
    machine = machine_in(Role.CLIENT)
    for _ in range(MAX_RESPONSES):
        fire(machine, Input.RESPONSE_CREATED)
        fire(machine, Input.RESPONSE_COMPLETED)
    with pytest.raises(RemoteProtocolError, match=f"more than {MAX_RESPONSES}"):
        fire(machine, Input.RESPONSE_CREATED)
    assert machine.responses == {"r": Response.COMPLETED}


def inputs_of(message: str) -> tuple[Input, str | None]:
    event = decode_server_event(message)
    assert not isinstance(event, UnknownEvent)
    return input_of(event)


def test_every_event_is_an_input_and_a_responses_event_names_its_response() -> None:
    found = [inputs_of(text) for text in samples.whole_response("r")]
    assert {move for move, _ in found} == ON_A_RESPONSE - {Input.EMPTY_AUDIO, Input.RESPONSE_FAILED}
    assert {response_id for _, response_id in found} == {"r"}
    session = [
        samples.CREATED,
        samples.UPDATED,
        samples.COMMITTED,
        samples.CLEARED,
        samples.FINISHED,
        samples.SHORT_ERROR,
    ]
    assert {inputs_of(text)[0] for text in session} == SENT_BY[Role.SERVER] - ON_A_RESPONSE
    assert {inputs_of(text)[1] for text in session} == {None}


def test_what_an_event_carries_decides_where_the_tables_need_it() -> None:
    assert inputs_of(samples.delta(b"", "r")) == (Input.EMPTY_AUDIO, "r")
    for status in ("failed", "incomplete", "cancelled", "in_progress", "", "COMPLETED"):
        assert inputs_of(samples.response_done("r", status)) == (Input.RESPONSE_FAILED, "r")
    manual = events.SessionUpdate(session=events.SessionSettings(mode="commit"))
    assert input_of(manual) == (Input.UPDATE_MANUAL, None)
    assert input_of(events.SessionUpdate(session=events.SessionSettings())) == (Input.UPDATE, None)
    assert input_of(events.InputTextBufferAppend(text="x")) == (Input.APPEND, None)


@given(st.lists(st.tuples(st.sampled_from(list(Input)), st.sampled_from(["r", "other"])), max_size=60))
def test_what_moved_nothing_before_is_looked_at_again_once_something_moved(moves: list[tuple[Input, str]]) -> None:
    """A machine that remembers it agrees with one that is made to forget."""
    machine, forgetful = machine_in(Role.CLIENT), machine_in(Role.CLIENT)
    for move, response_id in moves:
        of = response_id if move in ON_A_RESPONSE else None
        outcomes = []
        for one in (machine, forgetful):
            try:
                one.fire(move, of)
                outcomes.append("")
            except ProtocolError as error:
                outcomes.append(str(error))
        assert outcomes[0] == outcomes[1]
        assert states(machine) == states(forgetful)
        assert machine.responses == forgetful.responses
        forgetful._idle = None
