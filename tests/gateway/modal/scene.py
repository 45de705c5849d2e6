"""What the tests of Modal mode do and look at, in their own words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import anyio
import anyio.to_thread
import msgspec

from gateway.modal.rows import Rows
from schema.records import GenerationRow, NewVoice, TaskRow
from storage.objects import GENERATIONS, REFERENCES
from tests.support.exchange import WAIT_SECONDS, Exchange
from tests.support.gateway import Caller, Gateway
from tests.support.modal_server import ModalServer
from tests.support.workshop import LOOK_SECONDS

RECORDING = b"RIFF" + bytes(range(200))

_AGE = "update public.tasks set created_at = now() - make_interval(secs => :'seconds'::float) where id = :'id'"
_UNSEEN = """
alter table public.tasks disable trigger set_updated_at;
update public.tasks set updated_at = now() - interval '1 hour' where id = :'id';
alter table public.tasks enable trigger set_updated_at;
"""
_ADD_DESIGN = """
insert into public.tasks (id, user_id, type, status, provider, metadata)
values (:'id', :'user', 'design_preview', 'pending', :'provider', :'metadata')
"""


@dataclass(frozen=True)
class Started:
    """A generation that was accepted."""

    task_id: UUID
    generation_id: UUID


@dataclass(frozen=True)
class Scene:
    """One user in front of a gateway with a Modal behind it."""

    gateway: Gateway
    user: Caller
    modal: ModalServer

    async def voice(self, *, recording: bytes | None = RECORDING, **changes: object) -> NewVoice:
        """A voice of Modal's, with its recording in the store unless that is None."""
        voice = await self.user.add_voice(**{"tts_provider": "modal", **changes})
        if recording is not None and voice.reference_object_key is not None:
            await self.gateway.services.objects.put(REFERENCES, voice.reference_object_key, recording, "audio/wav")
        return voice

    async def generate(self, text: str = "Good morning.") -> Exchange:
        """POST /generate with a voice of its own."""
        return await self.user.generate((await self.voice()).id, text)

    async def started(self, text: str = "Good morning.") -> Started:
        """A generation that runs at Modal."""
        answer = await self.generate(text)
        assert answer.status == 200, answer.body
        return Started(UUID(answer.json()["task_id"]), UUID(answer.json()["generation_id"]))

    async def poll(self, task_id: UUID) -> dict[str, Any]:
        """GET /tasks/:id, which must answer 200."""
        answer = await self.user.ask("GET", f"/api/tasks/{task_id}")
        assert answer.status == 200, answer.body
        task: dict[str, Any] = answer.json()
        return task

    async def design(self, provider: str = "modal", status: str = "pending", **metadata: object) -> UUID:
        """A preview task, as its POST leaves it."""
        task_id = uuid4()
        wanted = {"text": "Hello.", "language": "German", "instruct": "A calm narrator.", **metadata}
        document = msgspec.json.encode({key: value for key, value in wanted.items() if value is not None}).decode()
        variables = {"id": str(task_id), "user": str(self.user.id), "provider": provider, "metadata": document}
        await self.sql(_ADD_DESIGN, **variables)
        if status != "pending":
            await self.sql(
                "update public.tasks set status = :'status' where id = :'id'", id=str(task_id), status=status
            )
        return task_id

    async def task(self, task_id: UUID) -> TaskRow | None:
        """The row."""
        return await Rows(self.gateway.services.database).task(self.user.id, task_id)

    async def generation(self, generation_id: UUID) -> GenerationRow | None:
        """The row."""
        return await Rows(self.gateway.services.database).generation(self.user.id, generation_id)

    async def states(self, started: Started) -> tuple[str, str]:
        """Of the task and of the generation."""
        task, generation = await self.task(started.task_id), await self.generation(started.generation_id)
        assert task is not None
        assert generation is not None
        return task.status, generation.status

    async def stored(self, started: Started) -> bytes | None:
        """The audio, None when there is none."""
        return await self.object(GENERATIONS, f"{self.user.id}/{started.generation_id}.wav")

    async def object(self, bucket: str, key: str) -> bytes | None:
        """An object, None when there is none."""
        objects = self.gateway.services.objects
        if await objects.head(bucket, key) is None:
            return None
        return b"".join([piece async for piece in objects.read(bucket, key)])

    async def age(self, task_id: UUID, seconds: float) -> None:
        """As if the task had been created so long ago."""
        await self.sql(_AGE, id=str(task_id), seconds=str(seconds))

    async def age_of_last_look(self, task_id: UUID) -> None:
        """As if nobody had looked at the task for an hour."""
        await self.sql(_UNSEEN, id=str(task_id))

    async def sql(self, script: str, **variables: str) -> None:
        """As superuser."""
        await anyio.to_thread.run_sync(lambda: self.gateway.database.run(script, **variables))

    async def until_asked(self, endpoint: str, count: int = 1) -> None:
        """Wait until Modal got so many requests there."""
        await anyio.to_thread.run_sync(self.modal.wait_for, endpoint, count)

    async def until_completed(self, started: Started) -> None:
        """Wait until the rows say so; nobody tells."""
        with anyio.fail_after(WAIT_SECONDS):
            while await self.states(started) != ("completed", "completed"):
                await self.look()

    async def look(self) -> None:
        """Let some time pass before the next look."""
        await anyio.sleep(LOOK_SECONDS)

    async def idle(self) -> None:
        """Wait until no job runs in the gateway."""
        with anyio.fail_after(WAIT_SECONDS):
            await self.gateway.services.supervisor.wait_idle()
