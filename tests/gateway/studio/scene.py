"""Making voices through the whole gateway, with the emulator as the vendor: what users do, what it costs, what is left.

A gateway is stopped and started again on the same database by opening it twice; `crash` is its death.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID, uuid4

import anyio
import anyio.to_thread
import asyncpg
import httpx
import msgspec

from gateway.app import create_app
from gateway.services import open_services
from gateway.settings import load_settings
from schema.records import CreateRow, OrphanRow, TaskRow, VoiceRow
from storage import creates, tasks, voices
from storage.objects import REFERENCES
from tests.support.emulator import API_KEY, Emulator, wav_recording
from tests.support.exchange import WAIT_SECONDS, Exchange
from tests.support.gateway import SIGNING_SECRET, TOKEN_SECRET, Caller, Gateway, Stage
from tests.support.postgres import TestDatabase
from tests.support.workshop import LOOK_SECONDS

RECORDING = wav_recording(seconds=12.0)
TRANSCRIPT = "Good morning, this is what I sound like."

CREATE = "customization:create"
LIST = "customization:list"

_EXPIRE = "update utter.voice_creates set claimed_until = now() - interval '1 second' where state = 'claimed'"


@dataclass(frozen=True)
class Scene:
    """One user in front of a gateway whose provider is an emulator."""

    gateway: Gateway
    user: Caller
    emulator: Emulator

    # ------------------------------------------------------------------------------------------------ what users do

    async def upload(self, content: bytes = RECORDING) -> UUID:
        """A recording in the place of a voice that is not finalized yet."""
        voice_id = uuid4()
        key = f"{self.user.id}/{voice_id}/reference.wav"
        await self.gateway.services.objects.put(REFERENCES, key, content, "audio/wav")
        return voice_id

    async def finalize(self, voice_id: UUID, **changes: object) -> Exchange:
        wanted = {"voice_id": str(voice_id), "name": "Ada", "language": "English", "transcript": TRANSCRIPT}
        return await self.post("/clone/finalize", {**wanted, **changes})

    async def start_preview(self, **changes: object) -> UUID:
        wanted = {"text": "Good evening.", "instruct": "A calm narrator.", "language": "English"}
        answer = await self.post("/voices/design/preview", {**wanted, **changes})
        assert answer.status == 200, answer.body
        assert answer.json() == {"task_id": answer.json()["task_id"], "status": "pending"}
        return UUID(answer.json()["task_id"])

    async def made_preview(self) -> tuple[UUID, bytes]:
        """A completed preview and its audio."""
        task_id = await self.start_preview()
        await self.idle()
        audio = await self.object(f"{self.user.id}/preview_{task_id}.wav")
        assert audio is not None
        return task_id, audio

    async def save(
        self, audio: bytes | None = None, kind: str = "audio/wav", changes: Mapping[str, str] = MappingProxyType({})
    ) -> Exchange:
        """POST the form, with these fields on top of a good one's; `audio` None sends none."""
        good = {"name": "Narrator", "text": "Good evening.", "language": "English", "instruct": "A calm narrator."}
        parts = {name: (None, value) for name, value in {**good, **changes}.items()}
        files = {} if audio is None else {"audio": ("a.wav", audio, kind)}
        form = httpx.Request("POST", "http://x", files={**parts, **files})
        return await self.user.ask(
            "POST", "/api/voices/design", {"content-type": form.headers["content-type"]}, form.read()
        )

    async def post(self, route: str, body: object | None = None) -> Exchange:
        return await self.user.ask("POST", f"/api{route}", body=b"" if body is None else msgspec.json.encode(body))

    async def poll(self, task_id: UUID) -> dict[str, Any]:
        answer = await self.user.ask("GET", f"/api/tasks/{task_id}")
        assert answer.status == 200, answer.body
        task: dict[str, Any] = answer.json()
        return task

    # ------------------------------------------------------------------------------------------------ what is there

    async def voice(self, voice_id: UUID) -> VoiceRow | None:
        async with self.gateway.services.database.as_user(self.user.id) as transaction:
            return await voices.get_any_voice(transaction, self.user.id, voice_id)

    async def voices(self) -> list[UUID]:
        answer = await self.user.ask("GET", "/api/voices")
        return [UUID(voice["id"]) for voice in answer.json()["voices"]]

    async def task(self, task_id: UUID) -> TaskRow | None:
        async with self.gateway.services.database.as_user(self.user.id) as transaction:
            return await tasks.get_task(transaction, self.user.id, task_id)

    async def ended(self, task_id: UUID) -> TaskRow:
        """The task, once nothing runs."""
        await self.idle()
        task = await self.task(task_id)
        assert task is not None
        return task

    async def create(self, create_id: UUID) -> CreateRow | None:
        async with self.gateway.services.database.as_user(self.user.id) as transaction:
            return await creates.get_create(transaction, self.user.id, create_id)

    async def orphans(self) -> list[OrphanRow]:
        async with self.gateway.services.database.as_service() as transaction:
            return await creates.list_orphans(transaction)

    async def object(self, key: str) -> bytes | None:
        objects = self.gateway.services.objects
        if await objects.head(REFERENCES, key) is None:
            return None
        return b"".join([piece async for piece in objects.read(REFERENCES, key)])

    # ------------------------------------------------------------------------------------------------ how it goes on

    def order(self, *faults: str, at: str = CREATE, times: int | None = None) -> None:
        """From now on, at the vendor."""
        self.emulator.order_faults(at, *faults, times=times)

    async def idle(self) -> None:
        """Wait until no job runs in the gateway."""
        with anyio.fail_after(WAIT_SECONDS):
            await self.gateway.services.supervisor.wait_idle()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for what nobody tells."""
        with anyio.fail_after(WAIT_SECONDS):
            while not condition():
                await self.look()

    async def look(self) -> None:
        """Let some time pass before the next look."""
        await anyio.sleep(LOOK_SECONDS)

    async def expire_claims(self) -> None:
        """As if whoever made a voice had been gone for long."""
        await self.sql(_EXPIRE)

    async def recover(self) -> None:
        """What the sweeper does, once claims have run out."""
        await self.expire_claims()
        await self.gateway.services.studio.recover_stale()

    async def sql(self, script: str, **variables: str) -> None:
        """As superuser."""
        await anyio.to_thread.run_sync(lambda: self.gateway.database.run(script, **variables))

    @asynccontextmanager
    async def held_outcomes(self) -> AsyncIterator[None]:
        """In the body nobody can write down that a create has made a voice."""
        await self.sql(_GATE)
        connection = await asyncpg.connect(self.gateway.database.admin_url)
        try:
            await connection.execute("select pg_advisory_lock(1)")
            yield
        finally:
            await connection.close()


_GATE = """
create or replace function utter.wait_at_gate() returns trigger language plpgsql security definer as $$
begin
  perform pg_advisory_xact_lock(1);
  return null;
end $$;
create or replace trigger gate before update on utter.voice_creates
  for each statement execute function utter.wait_at_gate();
"""
"""For each statement, as one for each row would lock the row before it waits."""


@asynccontextmanager
async def open_scene(
    database: TestDatabase, folder: Path, emulator: Emulator, user: UUID | None = None, **environment: str
) -> AsyncIterator[Scene]:
    """A gateway of its own on this database, with its objects below `folder`. The same user again, or a new one."""
    settings = load_settings(
        {
            "UTTER_ENV": "local",
            "TTS_PROVIDER_MODE": "qwen",
            "DASHSCOPE_API_KEY": API_KEY,
            "DASHSCOPE_BASE_URL": emulator.rest_url,
            "DASHSCOPE_REALTIME_URL": emulator.realtime_url,
            "QWEN_STARTS_PER_SECOND": "1000",
            "QWEN_STARTS_PER_MINUTE": "60000",
            "DATABASE_URL": database.gateway_url,
            "OBJECTS_URL": str(folder / "objects"),
            "UTTER_DATA_DIR": str(folder),
            "UTTER_TOKEN_SECRET": TOKEN_SECRET,
            "UTTER_SIGNING_SECRET": SIGNING_SECRET,
            "UTTER_SWEEP_SECONDS": "3600",  # a test sweeps when it wants to
            **environment,
        }
    )
    async with open_services(settings) as services:
        gateway = Gateway(create_app(services), services, Stage(), database)
        yield Scene(gateway, Caller(gateway, user) if user else await gateway.user(), emulator)
