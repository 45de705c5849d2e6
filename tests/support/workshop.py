"""The generation pipeline on a real database and object store, with a speech provider that follows a script."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import anyio
import asyncpg

from gateway.audio_log import AudioLog
from gateway.persister import Persister
from gateway.pipeline import run_generation
from gateway.providers.base import Clearance, Outcome, Sink, SpeechProvider, Utterance
from gateway.running import GenerationOrder, RunningGeneration, TaskType
from gateway.tracing import Trace
from schema.records import GenerationRow, TaskRow
from storage import generations, tasks, voices
from storage.database import Database
from storage.objects import GENERATIONS, ObjectStore
from tests.support.exchange import WAIT_SECONDS
from tests.support.leases import NoSpool, at_once, new_instance
from tests.support.mp3_files import bare_mp3
from tests.support.postgres import TestDatabase
from tests.support.rows import new_voice

SPEECH = bare_mp3(seconds=0.3)
"""Whole MP3 frames."""

LOOK_SECONDS = 0.01
"""Between two looks at something that only the database knows."""


class Pause:
    """A place in a script where the provider waits for the test."""

    def __init__(self) -> None:
        self._reached = anyio.Event()
        self._over = anyio.Event()

    async def reached(self) -> None:
        """Wait until the provider is there."""
        with anyio.fail_after(WAIT_SECONDS):
            await self._reached.wait()

    def end(self) -> None:
        """Let it go on."""
        self._over.set()

    async def __call__(self) -> None:
        self._reached.set()
        await self._over.wait()


Step = bytes | str | Exception | Callable[[], Awaitable[None]]
"""Audio, a `provider_status`, a failure, or something to await."""


class ScriptedProvider:
    """Follows its script once it is cleared. `billed` has the texts for which a vendor would want money by then."""

    def __init__(self, *script: Step, before: Step | None = None) -> None:
        self.billed: list[str] = []
        self.connecting = anyio.Event()
        self._script = script
        self._before = before

    async def speak(
        self,
        utterance: Utterance,
        sink: Sink,
        trace: Trace,
        *,
        clearance: Clearance,
        on_status: Callable[[str], None],
        may_queue: float = 0.0,  # noqa: ARG002  the real provider's to use
    ) -> Outcome:
        on_status("ws_connecting")
        self.connecting.set()
        if self._before is not None:
            await _take(self._before, sink, on_status)
        await clearance()
        self.billed.append(utterance.text)
        for step in self._script:
            if isinstance(step, bytes) and trace.at("provider.first_audio") is None:
                with trace.step("provider.first_audio"):
                    pass
            await _take(step, sink, on_status)
        return Outcome(session_id="sess_1", characters=13, responses=1, attempts=1, audio_seconds=0.3)


async def _take(step: Step, sink: Sink, on_status: Callable[[str], None]) -> None:
    if isinstance(step, bytes):
        sink.append(step)
    elif isinstance(step, str):
        on_status(step)
    elif isinstance(step, Exception):
        raise step
    else:
        await step()


@dataclass(frozen=True)
class Workshop:
    """What a generation works with, and a look at what it left there."""

    database: TestDatabase
    pool: Database
    objects: ObjectStore
    persister: Persister
    objects_folder: Path

    def user(self) -> UUID:
        return self.database.create_user()

    async def order(self, owner: UUID, task_type: TaskType = "generate_stream") -> GenerationOrder:
        """An admitted generation in a voice of its own."""
        voice = new_voice(owner)
        async with self.pool.as_user(owner) as transaction:
            await voices.insert_voice(transaction, voice)
        return order_for(owner, voice.id, task_type)

    @asynccontextmanager
    async def running(self, provider: SpeechProvider, order: GenerationOrder) -> AsyncIterator[RunningGeneration]:
        """The pipeline beside the body, which waits for its end."""
        running = RunningGeneration(order, Trace(), AudioLog())
        async with anyio.create_task_group() as group:
            group.start_soon(run_generation, running, provider, self.persister, at_once)
            with anyio.fail_after(WAIT_SECONDS):
                yield running
                await running.ended.wait()

    async def generation(self, order: GenerationOrder) -> GenerationRow | None:
        async with self.pool.as_user(order.owner) as transaction:
            return await generations.get_generation(transaction, order.owner, order.generation_id)

    async def task(self, order: GenerationOrder) -> TaskRow | None:
        async with self.pool.as_user(order.owner) as transaction:
            return await tasks.get_task(transaction, order.owner, order.task_id)

    async def states(self, order: GenerationOrder) -> tuple[str, str, str | None] | None:
        """Status of the generation and of its task, and `provider_status`; None when there are no rows."""
        generation, task = await self.generation(order), await self.task(order)
        assert (generation is None) == (task is None), "one row without the other"
        return None if generation is None or task is None else (generation.status, task.status, task.provider_status)

    async def until_status(self, order: GenerationOrder, provider_status: str) -> None:
        """Wait until the row says so."""
        with anyio.fail_after(WAIT_SECONDS):
            while (task := await self.task(order)) is None or task.provider_status != provider_status:
                await self.look()

    async def look(self) -> None:
        """Let some time pass before the next look."""
        await anyio.sleep(LOOK_SECONDS)

    async def stored(self, order: GenerationOrder) -> bytes | None:
        """The object, None when there is none."""
        if await self.objects.head(GENERATIONS, order.object_key) is None:
            return None
        return b"".join([piece async for piece in self.objects.read(GENERATIONS, order.object_key)])

    @asynccontextmanager
    async def held_inserts(self) -> AsyncIterator[Callable[[], Awaitable[None]]]:
        """No generation can be inserted in the body; the function waits until somebody tries."""
        connection = await asyncpg.connect(self.database.admin_url)
        try:
            async with connection.transaction():
                await connection.execute("lock table public.generations in share row exclusive mode")

                async def somebody_waits() -> None:
                    waiting = "select exists (select from pg_locks where not granted)"
                    with anyio.fail_after(WAIT_SECONDS):
                        while not await connection.fetchval(waiting):
                            await self.look()

                yield somebody_waits
        finally:
            await connection.close()

    def database_away(self) -> AbstractAsyncContextManager[None]:
        """The gateway's login gets no connection in the body."""
        return cut_off(self.database)

    @asynccontextmanager
    async def store_away(self) -> AsyncIterator[None]:
        """Nothing can be stored in the body: a file lies where the bucket should be."""
        bucket = self.objects_folder / GENERATIONS
        away = bucket.with_name("away")
        if bucket.exists():
            bucket.rename(away)
        bucket.write_bytes(b"")
        try:
            yield
        finally:
            bucket.unlink()
            if away.exists():
                away.rename(bucket)


def order_for(owner: UUID, voice_id: UUID, task_type: TaskType = "generate_stream") -> GenerationOrder:
    """A generation of "Good morning."."""
    return GenerationOrder(
        generation_id=uuid4(),
        task_id=uuid4(),
        owner=owner,
        task_type=task_type,
        voice_id=voice_id,
        voice_name="Ada",
        utterance=Utterance(text="Good morning.", voice="qwen-tts-vc-ada", model="a-model", language="English"),
        metadata={"text_length": 13},
    )


@asynccontextmanager
async def cut_off(database: TestDatabase) -> AsyncIterator[None]:
    """No login but the superuser's gets a connection to the database in the body."""
    limit = "alter database {} connection limit {}"
    cut = "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() "
    connection = await asyncpg.connect(database.admin_url)
    try:
        await connection.execute(limit.format(database.name, 0))
        await connection.execute(cut + "and pid <> pg_backend_pid()")
        yield
    finally:
        await connection.execute(limit.format(database.name, -1))
        await connection.close()


@asynccontextmanager
async def open_workshop(database: TestDatabase, folder: Path) -> AsyncIterator[Workshop]:
    """On this database, with its objects below `folder`."""
    objects = ObjectStore.open(folder / "objects")
    async with Database.open(database.gateway_url, max_connections=4) as pool:
        yield Workshop(
            database,
            pool,
            objects,
            Persister(pool, objects, NoSpool(), new_instance(), provider="qwen"),
            folder / "objects",
        )
