"""Tasks only go forward: never backwards, never out of a terminal state, whatever happens in whatever order.

Hypothesis makes up the order: orders, polls, cancels and deletes at either of two gateways of different modes, a
provider that fails in every known way, a network that holds and cuts, sweeps, claims that run out, tasks that grow
old, and gateways that are restarted.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, wait
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from gateway import providers
from gateway.providers import qwen_customization
from gateway.providers.qwen_customization import CustomizationOptions, QwenCustomization, open_qwen_customization
from gateway.running import ACTIVE
from protocol import modal as modal_messages
from tests.gateway.history.chronicle import GONE, Chronicle, Seen
from tests.gateway.history.house import CABLES, MODES, House, Person, digest_of, open_house, text_of
from tests.support.cable import Cable
from tests.support.emulator import Emulator, start_emulator
from tests.support.exchange import Exchange
from tests.support.postgres import TestDatabase

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(3600)]

EXAMPLES = int(os.environ.get("UTTER_HISTORY_EXAMPLES", "25"))
"""Histories; a night's run sets more. The same ones each time, so that a failure is the change's."""

STEPS = 30
"""Of one history."""

LOOK_SECONDS = 0.15
"""How long a step waits for its answer before the next one begins; an unanswered request goes on meanwhile."""

END_SECONDS = 30.0
"""Within which everything must have ended once provider and network behave. All deadlines are a few seconds."""

PACE = ("--speed", "4", "--first-audio-delay", "0.05", "--modal-seconds", "0.4", "--max-voices", "100000")
"""Work takes a second or so: long enough to be cancelled, deleted and disturbed in the middle."""

WEATHER = {
    "realtime": ("stall", "cut", "error_event", "bad_voice_late", "zero_audio", "throttled_event", "response_failed"),
    "customization:create": ("lost_answer", "lost_answer_cut", "rest_500", "rest_cut", "content_blocked"),
    "customization:list": ("rest_500", "rest_cut"),
    "modal": ("modal_pending_for_ever", "modal_500", "modal_cut", "modal_malformed", "modal_design_303"),
    "modal:submit": ("modal_submit_refused", "modal_hang", "modal_empty", "modal_failed"),
    "modal:status": ("modal_failed", "modal_cancelled", "modal_unknown_job", "modal_throttled"),
    "modal:result": ("modal_pending_for_ever", "modal_unknown_job", "modal_stopped"),
    "modal:design": ("modal_design_303", "modal_failed", "modal_submit_refused"),
}
FORECASTS = [None, *((key, fault) for key, faults in WEATHER.items() for fault in faults)]
"""None: provider and network behave again."""

KINDS = tuple(product(MODES, ("generation", "preview")))

RECENT = 3
"""Of so many latest tasks one is picked: those that are still under way, and one or two that have ended."""

picks = st.integers(0, RECENT - 1)
modes = st.sampled_from(MODES)
acts = st.sampled_from(("poll_at_both", "cancel", "delete_task", "delete_generation", "age", "wait"))
"""What can happen to a task; each is a method of the machine."""


@dataclass
class Task:
    """One that was accepted. `generation_id` is None for a preview."""

    id: UUID
    person: Person
    provider: str
    generation_id: UUID | None
    chronicle: Chronicle = field(default_factory=Chronicle)
    audio_deleted: bool = False
    """Or its deletion was asked for."""

    @property
    def kind(self) -> tuple[str, str]:
        return (self.provider, "preview" if self.generation_id is None else "generation")


@dataclass(frozen=True)
class Flight:
    """A request that is under way at a gateway; `land` gets its answer."""

    mode: str
    answer: Future[Exchange]
    began: int
    landed: list[int]
    land: Callable[[Exchange, int, int], None]


class TaskHistory(RuleBasedStateMachine):
    """Tasks, each of a user of its own: one generation at a time is another test's business."""

    def __init__(self, house: House) -> None:
        super().__init__()
        self.house = house
        self.tasks: list[Task] = []
        self.flights: list[Flight] = []
        self.orders = 0
        self.billed_before = len(house.creates())

    @initialize(mode=modes, first=acts, second=acts, at=modes)
    def begin(self, mode: str, first: str, second: str, at: str) -> None:
        self.generate(mode, first, at)
        self.preview(mode, second, at)

    @rule(mode=modes, then=acts, at=modes)
    def generate(self, mode: str, then: str, at: str) -> None:
        """And something happens to it at once."""
        person = self.house.person()
        self._order(mode, person, "/api/generate", voice_id=str(person.voices[mode]))
        self.act(RECENT - 1, then, at)

    @rule(mode=modes, then=acts, at=modes)
    def preview(self, mode: str, then: str, at: str) -> None:
        """The same."""
        self._order(mode, self.house.person(), "/api/voices/design/preview", instruct="A calm narrator.")
        self.act(RECENT - 1, then, at)

    @rule(pick=picks, what=acts, at=modes)
    def act(self, pick: int, what: str, at: str) -> None:
        # No precondition: which orders were accepted by now is not for Hypothesis to depend on.
        for task in self.tasks[-RECENT:][: pick + 1][-1:]:
            getattr(self, f"_{what}")(task, at)

    @rule(forecast=st.sampled_from(FORECASTS))
    def weather(self, forecast: tuple[str, str] | None) -> None:
        self.house.fair_weather()
        if forecast is not None:
            self.house.weather(*forecast)

    @rule(cable=st.sampled_from(CABLES), what=st.sampled_from((Cable.hold, Cable.release, Cable.cut)))
    def network(self, cable: str, what: Callable[[Cable], None]) -> None:
        self.house.release()
        what(self.house.cables[cable])

    @rule(mode=modes, late=st.booleans())
    def sweep(self, mode: str, late: bool) -> None:
        if late:
            self.house.expire_claims()
        self.house.sweep(mode)

    @rule(mode=modes)
    def restart(self, mode: str) -> None:
        for flight in [flight for flight in self.flights if flight.mode == mode]:
            flight.answer.cancel()
        self.house.restart(mode)

    def teardown(self) -> None:
        """In fair weather everything ends, and nothing of it was a lie."""
        self.house.fair()
        self._until_all_have_ended()
        self.house.wait_idle()
        for task in self.tasks:  # what was still being made must not show up late
            self._poll(task, "qwen", patience=END_SECONDS)
        for task in self.tasks:
            self.house.reached.update({(task.kind, seen.status) for seen in task.chronicle.seen})
        assert self.house.went_backwards() == []
        self._require_audio()
        self._require_one_create_each()

    def _poll(self, task: Task, mode: str, patience: float = LOOK_SECONDS) -> None:
        self._send(mode, task.person, "GET", f"/api/tasks/{task.id}", partial(_polled, task), patience=patience)

    def _poll_at_both(self, task: Task, mode: str) -> None:
        for one in sorted(MODES, key=lambda other: other != mode):
            self._poll(task, one, patience=0.0)

    def _cancel(self, task: Task, mode: str) -> None:
        self._send(mode, task.person, "POST", f"/api/tasks/{task.id}/cancel", partial(_cancelled, task))

    def _delete_task(self, task: Task, mode: str) -> None:
        self._send(mode, task.person, "DELETE", f"/api/tasks/{task.id}", partial(_deleted, task))

    def _delete_generation(self, task: Task, mode: str) -> None:
        if task.generation_id is not None:
            task.audio_deleted = True
            self._send(mode, task.person, "DELETE", f"/api/generations/{task.generation_id}", _any_answer)

    def _wait(self, _task: Task, mode: str) -> None:
        """As long as a step may wait, and see how all is going."""
        for task in self.tasks[-RECENT:]:
            self._poll(task, mode)
        wait([flight.answer for flight in self.flights], timeout=LOOK_SECONDS)

    def _age(self, task: Task, _mode: str) -> None:
        self.house.age(task.id)

    def _send(
        self,
        mode: str,
        person: Person,
        method: str,
        target: str,
        land: Callable[[Exchange, int, int], None],
        body: object = None,
        *,
        patience: float = LOOK_SECONDS,
    ) -> None:
        """Begin a request and wait a moment for its answer; then for none that has come."""
        landed: list[int] = []

        async def ask() -> Exchange:
            try:
                return await self.house.ask(mode, person, method, target, body)
            finally:
                landed.append(time.monotonic_ns())

        began = time.monotonic_ns()
        self.flights.append(Flight(mode, self.house.begin(ask), began, landed, land))
        wait([self.flights[-1].answer], timeout=patience)
        self._land()

    def _land(self) -> None:
        self.house.check_chores()
        under_way = []
        for flight in self.flights:
            if not flight.answer.done():
                under_way.append(flight)
                continue
            try:
                answer = flight.answer.result()
            except CancelledError:  # its gateway was restarted
                continue
            assert answer.status not in (None, 500), answer.body
            flight.land(answer, flight.began, flight.landed[0])
        self.flights = under_way

    def _order(self, mode: str, person: Person, target: str, **fields: str) -> None:
        self.orders += 1
        body = {"text": text_of(self.orders), "language": "English", **fields}
        self._send(mode, person, "POST", target, partial(self._accept, person, mode), body)

    def _accept(self, person: Person, provider: str, answer: Exchange, began: int, ended: int) -> None:
        if answer.status == 200:
            order = answer.json()
            generation = order.get("generation_id")
            task = Task(UUID(order["task_id"]), person, provider, UUID(generation) if generation else None)
            task.chronicle.add(Seen(began, ended, order["status"]))
            self.tasks.append(task)
            return
        assert answer.status in (502, 503, 504), answer.body  # what the weather brings

    def _until_all_have_ended(self) -> None:
        deadline = time.monotonic() + END_SECONDS
        while self.flights or self._active():
            assert time.monotonic() < deadline, [(task.provider, task.chronicle.latest) for task in self._active()]
            self.house.expire_claims()
            for mode in MODES:
                self.house.sweep(mode)
            for task in self._active():
                self._poll(task, "qwen")
            self._land()

    def _active(self) -> list[Task]:
        """Those of which nobody has seen the end."""
        return [task for task in self.tasks if (last := task.chronicle.latest) is None or last.status in ACTIVE]

    def _require_audio(self) -> None:
        """What was said to be stored can be heard, byte for byte."""
        for task in self.tasks:
            result = next((seen.task["result"] for seen in task.chronicle.seen if seen.task.get("result")), None)
            if result is None or task.generation_id is None or task.audio_deleted:
                continue
            found = self._get(task.person, f"/api/generations/{task.generation_id}/audio")
            assert found.status == 302, found.body
            heard = self._get(task.person, found.headers["location"])
            assert digest_of(heard.body) == result["audio_sha256"]

    def _get(self, person: Person, target: str) -> Exchange:
        target = target.removeprefix("http://127.0.0.1:8080")
        answer: Exchange = self.house.portal.call(self.house.ask, "qwen", person, "GET", target)
        return answer

    def _require_one_create_each(self) -> None:
        """A preview is paid for once, whatever happened to it (product section 6)."""
        names = Counter(create["preferred_name"] for create in self.house.creates()[self.billed_before :])
        assert all(count == 1 for count in names.values()), names


def _polled(task: Task, answer: Exchange, began: int, ended: int) -> None:
    if answer.status == 200:
        body: dict[str, Any] = answer.json()
        task.chronicle.add(Seen(began, ended, body["status"], body))
    elif answer.status == 404:
        task.chronicle.add(Seen(began, ended, GONE))
    else:
        assert answer.status == 503, answer.body  # the server restarts, or is busy


def _cancelled(task: Task, answer: Exchange, began: int, ended: int) -> None:
    if answer.status == 200:
        task.chronicle.add(Seen(began, ended, "cancelled"))
    else:
        assert answer.status in (400, 404, 503), answer.body


def _deleted(task: Task, answer: Exchange, began: int, ended: int) -> None:
    if answer.status == 200:
        task.chronicle.add(Seen(began, ended, GONE))
    else:
        assert answer.status in (404, 503), answer.body


def _any_answer(_answer: Exchange, _began: int, _ended: int) -> None:
    """What it does to the task is seen there."""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadlines that are no settings, for a provider on this machine."""

    def open_hurried(options: CustomizationOptions) -> AbstractAsyncContextManager[QwenCustomization]:
        return open_qwen_customization(replace(options, create_seconds=1.0, lookup_seconds=0.5, settle_seconds=0.3))

    monkeypatch.setattr(providers, "open_qwen_customization", open_hurried)
    monkeypatch.setattr(qwen_customization, "LOOKUP_PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(modal_messages, "DESIGN_FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(modal_messages, "DESIGN_LONGEST_PAUSE_SECONDS", 0.05)


@pytest.fixture
def vendor(tmp_path: Path) -> Iterator[Emulator]:
    with start_emulator(tmp_path / "vendor", PACE) as emulator:
        yield emulator


@pytest.mark.usefixtures("impatient")
def test_tasks_only_go_forward(database: TestDatabase, vendor: Emulator, tmp_path: Path) -> None:
    with open_house(database, vendor, tmp_path) as house:

        class Here(TaskHistory):
            def __init__(self) -> None:
                super().__init__(house)

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
        assert {(kind, end) for kind in KINDS for end in ("completed", "cancelled")} <= set(house.reached)
