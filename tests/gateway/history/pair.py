"""Two processes on one database that live, stall and die as a test wants, and the provider they share.

Only the provider and the clock stand in. A process that dies writes nothing any more, and another takes its place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

import anyio
import asyncpg
from anyio.from_thread import BlockingPortal, start_blocking_portal

from gateway.admission import admit
from gateway.cancellation import end_work
from gateway.errors import ApiError
from gateway.persister import Persister
from gateway.providers.base import Clearance, Outcome, Sink, Utterance
from gateway.running import EndReason, GenerationOrder, RunningGeneration, TaskType
from gateway.supervisor import Supervisor
from gateway.tracing import Trace
from protocol.errors import Fault, ProviderFailure
from schema.http import GenerateRequest
from storage import voices
from storage.database import DatabaseUnavailable
from tests.gateway.history.house import BACKWARDS, WATCH
from tests.support.exchange import WAIT_SECONDS
from tests.support.postgres import TestDatabase
from tests.support.processes import Process, open_process
from tests.support.rows import new_voice
from tests.support.workshop import LOOK_SECONDS

ATTEMPTS = 3

T = TypeVar("T")


@dataclass(eq=False)
class Session:
    """One at the provider, until the test ends it or its process does."""

    text: str
    sink: Sink
    audio: bytes
    end: anyio.Event = field(default_factory=anyio.Event)
    failed: bool = False
    open: bool = True

    def finish(self) -> None:
        """That was all."""
        self.sink.append(self.audio)
        self.end.set()

    def fail(self) -> None:
        """Break off."""
        self.failed = True
        self.end.set()


class Vendor:
    """The provider of both. `billed` counts sessions by their text, which is each task's own."""

    def __init__(self) -> None:
        self.billed: Counter[str] = Counter()
        self.sessions: list[Session] = []

    async def speak(
        self,
        utterance: Utterance,
        sink: Sink,
        _trace: Trace,
        *,
        clearance: Clearance,
        on_status: Callable[[str], None],
        may_queue: float = 0.0,  # noqa: ARG002  the real provider's to use
    ) -> Outcome:
        """Say what no other session says."""
        await clearance()
        self.billed[utterance.text] += 1
        session = Session(utterance.text, sink, f"{utterance.text}/{self.billed[utterance.text]}".encode())
        self.sessions.append(session)
        on_status("streaming")
        try:
            await session.end.wait()
        finally:
            session.open = False
        if session.failed:
            raise ProviderFailure(Fault.CONNECTION_LOST)
        return Outcome(session_id="sess", characters=1, responses=1, attempts=1, audio_seconds=1.0)

    def under_way(self) -> list[Session]:
        """Those that nobody has ended yet."""
        return [session for session in self.sessions if session.open and not session.end.is_set()]


class Mortal(Persister):
    """Writes until its process dies."""

    dead = False

    async def begin(self, running: RunningGeneration) -> None:
        if self.dead:
            raise DatabaseUnavailable("dead")
        await super().begin(running)

    async def set_aside(self, running: RunningGeneration) -> bool:
        return False if self.dead else await super().set_aside(running)


def _silenced(name: str) -> Callable[..., Awaitable[None]]:
    async def unless_dead(self: Mortal, *given: Any) -> None:
        if not self.dead:
            await getattr(Persister, name)(self, *given)

    return unless_dead


for _name in ("note_status", "store", "fail", "hand_over", "withdraw", "cancel"):
    setattr(Mortal, _name, _silenced(_name))


@dataclass
class Place:
    """Where one process after another lives."""

    pair: Pair
    process: Process = field(init=False)
    _open: AbstractContextManager[Process] = field(init=False)

    def start(self) -> None:
        pair = self.pair
        opened = open_process(pair.database, pair.folder, UTTER_TASK_ATTEMPTS=str(ATTEMPTS))
        self._open = pair.portal.wrap_async_context_manager(opened)
        self.process = self._open.__enter__()
        services, supervisor = self.process.gateway.services, self.process.supervisor
        supervisor._provider = pair.vendor
        supervisor._persister = Mortal(
            services.database, services.objects, services.spool, self.process.keeper.instance, provider="qwen"
        )

    def stop(self) -> None:
        """A good end: it hands over."""
        self._open.__exit__(None, None, None)

    def die(self) -> None:
        """No write from now on, wherever it was."""
        self.pair.portal.call(self._die)
        self.stop()

    async def _die(self) -> None:
        persister = self.process.supervisor._persister
        assert isinstance(persister, Mortal)
        persister.dead = True


class Pair:
    """The parts. Methods are called from the test's thread, and wait."""

    def __init__(self, portal: BlockingPortal, database: TestDatabase, folder: Path, admin: asyncpg.Connection) -> None:
        self.portal = portal
        self.database = database
        self.folder = folder
        self.vendor = Vendor()
        self.reached: set[str] = set()
        """What was seen in all histories."""
        self._orders = 0
        self._admin = admin
        self.places = [Place(self), Place(self)]

    def submit(self, at: int, task_type: TaskType) -> GenerationOrder | None:
        """A new user's task with a text of its own, None when there is no room for it."""
        self._orders += 1
        return self.portal.call(self._submit, self.places[at].process, task_type, f"Text {self._orders}.")

    async def _submit(self, process: Process, task_type: TaskType, text: str) -> GenerationOrder | None:
        services, owner = process.gateway.services, uuid4()
        await self._admin.execute("insert into auth.users (id) values ($1)", owner)
        voice = new_voice(owner)
        async with services.database.as_user(owner) as transaction:
            await voices.insert_voice(transaction, voice)
        wanted = GenerateRequest(voice_id=voice.id, text=text)
        order = await admit(services.database, services.settings, owner, wanted, task_type)
        try:
            running = process.supervisor.start(order, Trace())
        except ApiError:
            return None
        await running.accepted()
        return order

    def cancel(self, at: int, order: GenerationOrder) -> None:
        services = self.places[at].process.gateway.services
        self.portal.call(end_work, services, order.owner, order.generation_id, order.task_id)

    def call(self, work: Callable[[], Awaitable[T]]) -> T:
        return self.portal.call(work)

    def settle(self) -> None:
        """Return when all that runs has a session of its own, and all that ended is written."""
        self.portal.call(self._settle)

    async def _settle(self) -> None:
        with anyio.fail_after(WAIT_SECONDS):
            while any(self._is_busy(place.process.supervisor) for place in self.places):
                await _look()

    def _is_busy(self, supervisor: Supervisor) -> bool:
        spoken = {id(session.sink) for session in self.vendor.under_way()}
        return any(id(running.log) not in spoken for running in supervisor._running.values())

    def row(self, order: GenerationOrder) -> dict[str, Any]:
        """The generation, its task's status, and who has the lease in which attempt."""
        found = self.portal.call(
            self._admin.fetchrow,
            "select generation.status, generation.audio_object_key as key, generation.audio_sha256 as sha256,"
            " generation.audio_bytes as bytes, task.status as task_status, lease.instance, lease.epoch"
            " from public.generations generation join public.tasks task on task.generation_id = generation.id"
            " left join utter.leases lease on lease.task_id = task.id where generation.id = $1",
            order.generation_id,
        )
        assert found is not None
        return dict(found)

    def stored(self, key: str) -> bytes | None:
        return self.portal.call(self.places[0].process.stored, key)

    def is_late(self, session: Session, order: GenerationOrder) -> bool:
        """Whether a later attempt of its task has begun, or was claimed."""
        running = [running for place in self.places for running in place.process.supervisor._running.values()]
        epochs = [one.order.epoch for one in running if one.log is session.sink]
        return bool(epochs) and epochs[0] < (self.row(order)["epoch"] or 0)

    def speaker(self, generation_id: UUID) -> Process | None:
        """Who works on it and has not been told to stop."""
        for place in self.places:
            running = place.process.supervisor.get(generation_id)
            if running is not None and running.end_reason is not EndReason.LOST:
                return place.process
        return None

    def went_backwards(self) -> list[str]:
        """State changes of rows that must not be."""
        rows = self.portal.call(self._admin.fetch, BACKWARDS)
        return [f"{row['of_table']}: {row['was']} -> {row['became']}" for row in rows]


async def _look() -> None:
    """Let some time pass before the next look."""
    await anyio.sleep(LOOK_SECONDS)


@contextmanager
def open_pair(database: TestDatabase, folder: Path) -> Iterator[Pair]:
    """Both processes, running."""
    database.run(WATCH)
    with ExitStack() as stack:
        portal = stack.enter_context(start_blocking_portal("asyncio"))
        admin = portal.call(asyncpg.connect, database.admin_url)
        stack.callback(portal.call, admin.close)
        pair = Pair(portal, database, folder, admin)
        for place in pair.places:
            place.start()
            stack.callback(place.stop)
        yield pair
