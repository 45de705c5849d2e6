"""How many connections there may be, and who goes: against a plain model, and at its edges."""

from __future__ import annotations

import resource

import pytest
import structlog
from hypothesis import event
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.open_connections import (
    LOG_EVERY_SECONDS,
    MAX_REFUSALS_AT_ONCE,
    RESERVED_DESCRIPTORS,
    VICTIMS_LOOKED_AT,
    OpenConnections,
    connections_that_fit,
)

MOST = 4


class Client:
    """A connection that remembers what was done to it."""

    def __init__(self, unsent_bytes: int = 0) -> None:
        self.unsent_bytes = unsent_bytes
        self.given_up = False

    def give_up(self) -> None:
        assert not self.given_up
        self.given_up = True

    def reset(self) -> None:
        """Nobody does it here."""
        raise AssertionError

    def rest_anew(self) -> None:
        """Nobody does it here."""
        raise AssertionError


class AtMostSoMany(RuleBasedStateMachine):
    """Clients come, ask, are answered and leave; the model is two lists."""

    def __init__(self) -> None:
        super().__init__()
        self.connections = OpenConnections(MOST)
        self.waiting: list[Client] = []
        self.working: list[Client] = []

    @rule(unsent=st.sampled_from([0, 0, 0, 9]))
    def come(self, unsent: int) -> None:
        client = Client(unsent)
        full = len(self.waiting) + len(self.working) == MOST
        admitted = self.connections.admit(client)
        assert admitted == (not full or bool(self.waiting))
        if full and self.waiting:
            victim = next((one for one in self.waiting if not one.unsent_bytes), self.waiting[0])
            assert victim.given_up
            self.waiting.remove(victim)
            event("somebody made room")
        if admitted:
            self.waiting.append(client)
            self.connections.waits(client)
        else:
            event("somebody was refused")

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def ask(self, data: st.DataObject) -> None:
        client = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(client)
        self.working.append(client)
        self.connections.works(client)

    @precondition(lambda self: self.working)
    @rule(data=st.data())
    def be_answered(self, data: st.DataObject) -> None:
        client = data.draw(st.sampled_from(self.working))
        self.working.remove(client)
        self.waiting.append(client)
        self.connections.waits(client)

    @precondition(lambda self: self.waiting or self.working)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        client = data.draw(st.sampled_from(self.waiting + self.working))
        (self.waiting if client in self.waiting else self.working).remove(client)
        self.connections.leave(client)

    @invariant()
    def nobody_else_was_touched(self) -> None:
        assert set(self.connections) == {*self.waiting, *self.working}
        assert len(self.connections) <= MOST
        assert not any(client.given_up for client in [*self.waiting, *self.working])


TestAtMostSoMany = AtMostSoMany.TestCase


def test_who_never_asked_for_a_place_does_not_get_one_by_waiting() -> None:
    connections = OpenConnections(1)
    connections.admit(busy := Client())
    stranger = Client()
    assert not connections.admit(stranger)
    connections.waits(stranger)
    assert list(connections) == [busy]
    assert not connections.admit(Client())
    assert not stranger.given_up


def test_one_that_has_not_read_its_answer_goes_only_where_all_are_like_that() -> None:
    connections = OpenConnections(VICTIMS_LOOKED_AT + 1)
    clients = [Client(unsent_bytes=1) for _ in range(VICTIMS_LOOKED_AT)]
    for client in [*clients, ready := Client()]:
        connections.admit(client)
        connections.waits(client)
    assert connections.admit(Client())
    assert clients[0].given_up, "the search has an end"
    assert not ready.given_up


def test_at_the_stop_all_that_wait_go() -> None:
    connections = OpenConnections(2)
    waiting, working = Client(), Client()
    for client in (waiting, working):
        connections.admit(client)
    connections.waits(waiting)
    connections.give_up_waiting()
    assert waiting.given_up
    assert not working.given_up


def test_so_many_are_told_why_at_a_time() -> None:
    connections = OpenConnections(1)
    assert all(connections.may_refuse_in_words() for _ in range(MAX_REFUSALS_AT_ONCE))
    assert not connections.may_refuse_in_words()
    connections.refused()
    assert connections.may_refuse_in_words()


def test_a_flood_is_two_lines_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("gateway.open_connections.time.monotonic", lambda: now)
    connections = OpenConnections(1)
    connections.admit(Client())
    with structlog.testing.capture_logs() as logs:
        for _ in range(50):
            assert not connections.admit(Client())
        now += LOG_EVERY_SECONDS
        assert not connections.admit(Client())
    assert [(line["event"], line["log_level"], line["refused"]) for line in logs] == [
        ("server.connections_full", "warning", 1),
        ("server.connections_full", "warning", 50),
    ]


@pytest.mark.parametrize(
    ("limit", "fit"),
    [
        (resource.RLIM_INFINITY, 1000),
        (1000 + 50 + RESERVED_DESCRIPTORS, 1000),
        (1000 + 50 + RESERVED_DESCRIPTORS - 1, 999),
        (64, 1),
    ],
)
def test_descriptors_bound_them(monkeypatch: pytest.MonkeyPatch, limit: int, fit: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (limit, limit))
    with structlog.testing.capture_logs() as logs:
        assert connections_that_fit(1000, generations=50) == fit
    assert [line["event"] for line in logs] == ["server.descriptors_low"] * (fit < 1000)
    assert all("UTTER_MAX_CONNECTIONS" in line["advice"] for line in logs)
