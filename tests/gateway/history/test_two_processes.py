"""Whatever two processes do to their tasks, and whenever one dies: each task ends once, and with its own audio.

Hypothesis makes up the order: orders, cancels and polls at either, sessions that finish and fail, renewals that come
and that do not, looks at a clock of their own, and deaths in the middle of it all.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, Phase, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from gateway.running import ACTIVE, GenerationOrder
from tests.gateway.history.pair import ATTEMPTS, Pair, Session, open_pair
from tests.support.postgres import TestDatabase

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(3600)]

EXAMPLES = int(os.environ.get("UTTER_HISTORY_EXAMPLES", "25"))
"""As in `test_task_history`."""

STEPS = 25
"""Of one history."""

MOST_TASKS = 6
"""Of one history: two processes have room for all of them, so that none of them waits for another."""

LOOKS = 4
"""Of a beat each make more than a lease."""

places = st.sampled_from((0, 1))
picks = st.integers(0, MOST_TASKS - 1)
ends = st.sampled_from((Session.finish, Session.fail))
steps = st.sampled_from(("a beat", "half a lease", "a lease", "more than a lease"))
STEP_SECONDS = {"a beat": 10 / 3, "half a lease": 5.0, "a lease": 10.0, "more than a lease": 11.0}
"""For leases of ten seconds, the setting's own."""


class TwoProcesses(RuleBasedStateMachine):
    """Tasks, each of a user of its own: one generation at a time is another test's business."""

    def __init__(self, pair: Pair) -> None:
        super().__init__()
        self.pair = pair
        self.orders: list[GenerationOrder] = []
        self.ended: dict[int, str] = {}

    @initialize(at=places)
    def begin(self, at: int) -> None:
        self.submit(at, "generate")
        self.submit(at, "generate_stream")

    @rule(at=places, task_type=st.sampled_from(("generate", "generate_stream")))
    def submit(self, at: int, task_type: Literal["generate", "generate_stream"]) -> None:
        if len(self.orders) < MOST_TASKS:
            order = self.pair.submit(at, task_type)
            assert order is not None, "there is room for all"
            self.orders.append(order)

    @rule(pick=picks, at=places)
    def cancel(self, pick: int, at: int) -> None:
        for order in self.orders[pick : pick + 1]:
            self.pair.cancel(at, order)
            assert self.pair.row(order)["status"] not in ACTIVE

    @rule()
    def poll(self) -> None:
        """No task leaves a terminal state, nor takes its generation along later."""
        for number, order in enumerate(self.orders):
            row = self.pair.row(order)
            if row["status"] not in ACTIVE:
                assert row["status"] == row["task_status"] == self.ended.setdefault(number, row["status"])

    @rule(pick=picks, end=ends, waits=st.booleans())
    def end_session(self, pick: int, end: Callable[[Session], None], waits: bool) -> None:
        # No precondition: which sessions are open by now is not for Hypothesis to depend on.
        for session in self.pair.vendor.under_way()[pick : pick + 1]:
            (order,) = (order for order in self.orders if order.utterance.text == session.text)
            late = self.pair.is_late(session, order) and self.pair.row(order)["status"] in ACTIVE
            self.pair.portal.call(end, session)
            if late:
                self._saw("a session that was taken for dead ended")
                self.pair.settle()
                assert self.pair.row(order)["status"] in ACTIVE, "it wrote what was not its own any more"
        if waits:
            self.pair.settle()

    @rule(at=places)
    def renew(self, at: int) -> None:
        self.pair.call(self.pair.places[at].process.keeper.renew)

    @rule(at=places, after=steps)
    def look(self, at: int, after: str) -> None:
        """The other may have renewed meanwhile, or stood still."""
        self.pair.call(partial(self.pair.places[at].process.look, STEP_SECONDS[after]))
        self.pair.settle()

    @rule(at=places)
    def wait_for_the_other(self, at: int) -> None:
        """As long as it takes to find it dead, should it not renew."""
        for _ in range(LOOKS):
            self.look(at, "a beat")

    @rule(at=places, end=ends)
    def write_late(self, at: int, end: Callable[[Session], None]) -> None:
        """The other was taken for dead, and what it began first ends after all."""
        self.wait_for_the_other(at)
        self.end_session(0, end, waits=True)

    @rule(at=places, gently=st.booleans())
    def end_process(self, at: int, gently: bool) -> None:
        """By a deployment, or by a death in the middle of what it does."""
        place = self.pair.places[at]
        event("ended by a deployment" if gently else f"died with work: {place.process.supervisor.active > 0}")
        (place.stop if gently else place.die)()
        place.start()

    def teardown(self) -> None:
        """When both live and look, everything is somebody's, and ends."""
        self.pair.settle()
        for _ in range(LOOKS + 1):
            for place in self.pair.places:
                self.pair.call(place.process.keeper.renew)
                self.pair.call(partial(place.process.look, STEP_SECONDS["a beat"]))
                self.pair.settle()
        self.poll()
        for order in self.orders:
            self._require_holder(order)
        while self.pair.vendor.under_way():
            self.end_session(0, Session.finish, waits=True)
        self.poll()
        assert len(self.ended) == len(self.orders), "a task did not end"
        assert self.pair.went_backwards() == []
        for order in self.orders:
            self._require_truth(order)

    def _require_holder(self, order: GenerationOrder) -> None:
        row = self.pair.row(order)
        if row["status"] in ACTIVE:
            speaker = self.pair.speaker(order.generation_id)
            assert speaker is not None, "nobody works on it"
            assert row["instance"] == speaker.keeper.instance.id

    def _require_truth(self, order: GenerationOrder) -> None:
        row, text = self.pair.row(order), order.utterance.text
        attempts = self.pair.vendor.billed[text]
        assert attempts <= (ATTEMPTS if order.task_type == "generate" else 1)
        self._saw(f"{order.task_type} {row['status']}, sessions: {attempts}")
        if row["status"] == "completed":
            stored = self.pair.stored(row["key"])
            assert stored is not None
            assert (row["bytes"], row["sha256"]) == (len(stored), hashlib.sha256(stored).hexdigest())
            assert stored in {session.audio for session in self.pair.vendor.sessions if session.text == text}
        else:
            assert row["key"] is None

    def _saw(self, what: str) -> None:
        event(what)
        self.pair.reached.add(what)


def test_two_processes_and_a_death(database: TestDatabase, tmp_path: Path) -> None:
    with open_pair(database, tmp_path) as pair:

        class Here(TwoProcesses):
            def __init__(self) -> None:
                super().__init__(pair)

        run_state_machine_as_test(
            Here,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=STEPS,
                deadline=None,
                derandomize="UTTER_HISTORY_EXAMPLES" not in os.environ,
                suppress_health_check=list(HealthCheck),
                phases=(Phase.explicit, Phase.generate),
            ),
        )
        # A test of nothing would pass.
        assert {
            "generate completed, sessions: 1",
            "generate completed, sessions: 2",
            "generate cancelled, sessions: 1",
            "generate_stream completed, sessions: 1",
            "generate_stream failed, sessions: 1",
            "a session that was taken for dead ended",
        } <= pair.reached, pair.reached
