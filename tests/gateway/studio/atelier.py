"""A gateway whose studio works at the emulator, with a view of everything that may be lost: ledger, bill, orphans."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import anyio
import anyio.to_thread
import asyncpg
import httpx
import msgspec

from gateway.app import create_app
from gateway.auth import Authenticator
from gateway.modal import ModalJobs
from gateway.persister import Persister
from gateway.providers import SpeechProvider, VoiceKind, open_modal, open_provider
from gateway.providers.attempts import RetryPolicy
from gateway.providers.qwen_customization import CustomizationOptions, open_qwen_customization
from gateway.relay import open_relay
from gateway.services import Services
from gateway.settings import load_settings
from gateway.signing import Signer
from gateway.spooling import open_audio_spool
from gateway.studio import Recordings, Studio, open_studio
from gateway.studio.creates import Creates
from gateway.supervisor import Supervisor
from protocol.customization import preferred_name
from schema.http_voices import FinalizeRequest, PreviewRequest
from schema.records import CreateRow, OrphanRow, TaskRow, VoiceRow
from storage import creates, tasks, voices
from storage.database import Database
from storage.objects import REFERENCES, ObjectStore
from tests.gateway.studio.front import Front
from tests.support.emulator import VC_MODEL, VD_MODEL, Emulator, wav_recording
from tests.support.exchange import WAIT_SECONDS, Exchange
from tests.support.gateway import SIGNING_SECRET, TOKEN_SECRET, Caller, Gateway, Stage
from tests.support.leases import new_instance, open_keeper, room_for
from tests.support.postgres import TestDatabase

RECORDING = wav_recording()
TRANSCRIPT = "The quick brown fox jumps over the lazy dog."
PREVIEW = PreviewRequest(text="Good morning.", instruct="A calm narrator.", language="English")
LOOK_SECONDS = 0.01
"""Between two looks at something that only the database knows."""

SETTLE_SECONDS = 0.2
"""How long a silent create is looked for, first pause of the driver included: none of these tests has a late one."""


@dataclass(frozen=True, slots=True)
class Atelier:
    """What makes voices, and looks behind it."""

    gateway: Gateway
    studio: Studio
    creates: Creates
    supervisor: Supervisor
    pool: Database
    objects: ObjectStore
    database: TestDatabase
    emulator: Emulator
    front: Front

    async def user(self) -> Caller:
        """A new user, signed in."""
        return await self.gateway.user()

    # What users do.

    async def upload(self, owner: UUID, recording: bytes = RECORDING) -> FinalizeRequest:
        """A recording in the store, and what finalizes it."""
        wanted = finalize_request(uuid4())
        await self.objects.put(REFERENCES, f"{owner}/{wanted.voice_id}/reference.wav", recording, "audio/wav")
        return wanted

    async def preview(self, caller: Caller) -> tuple[UUID, bytes]:
        """A preview that is ready: its task, and the audio its user heard."""
        task_id = await self.studio.start_preview(caller.id, PREVIEW)
        await self.idle()
        row = await self.task(caller.id, task_id)
        assert row is not None
        assert (row.status, row.error) == ("completed", None)
        assert row.result is not None
        return task_id, await self.stored(row.result["object_key"])

    async def idle(self) -> None:
        """Wait until nothing runs in the background."""
        with anyio.fail_after(WAIT_SECONDS):
            await self.supervisor.wait_idle()

    # What came of it.

    async def task(self, owner: UUID, task_id: UUID) -> TaskRow | None:
        async with self.pool.as_user(owner) as transaction:
            return await tasks.get_task(transaction, owner, task_id)

    async def ended(self, owner: UUID, task_id: UUID) -> tuple[str, str | None]:
        """Status and error of a task, once nothing works on it any more."""
        await self.idle()
        row = await self.task(owner, task_id)
        assert row is not None
        return row.status, row.error

    async def ledger(self, owner: UUID, create_id: UUID) -> CreateRow:
        async with self.pool.as_user(owner) as transaction:
            row = await creates.get_create(transaction, owner, create_id)
        assert row is not None, "nothing was claimed"
        return row

    async def voices(self, owner: UUID) -> list[VoiceRow]:
        async with self.pool.as_user(owner) as transaction:
            page = await voices.list_voices(transaction, owner, search=None, source=None, page=1, per_page=100)
        return page.items

    async def orphans(self) -> dict[UUID, OrphanRow]:
        """By the create's id."""
        async with self.pool.as_service() as transaction:
            return {orphan.id: orphan for orphan in await creates.list_orphans(transaction)}

    async def stored(self, key: str) -> bytes:
        return b"".join([piece async for piece in self.objects.read(REFERENCES, key)])

    def billed(self, create_id: UUID) -> list[str]:
        """The provider voices that were paid for, for one voice or task of ours."""
        name = preferred_name(create_id)
        return [create["voice"] for create in self.emulator.creates() if create["preferred_name"] == name]

    # What happens to servers and providers.

    async def sql(self, query: str, *values: object) -> Any:
        """One value, as superuser."""
        connection = await asyncpg.connect(self.database.admin_url)
        try:
            return await connection.fetchval(query, *values)
        finally:
            await connection.close()

    async def script(self, script: str) -> None:
        """As superuser."""
        await anyio.to_thread.run_sync(self.database.run, script)

    def kill_jobs(self) -> None:
        """What runs in the background ends where it is, as it does when the server stops."""
        for job in list(self.supervisor._jobs):
            job.cancel()

    async def let_claims_run_out(self) -> None:
        """Whoever held a claim is taken for dead."""
        await self.sql("update utter.voice_creates set claimed_until = now() - interval '1 s' where state = 'claimed'")

    def order(self, *faults: str, action: str = "create", times: int | None = 1) -> None:
        """The next customization calls go wrong."""
        self.emulator.order_faults(f"customization:{action}", *faults, times=times)


def finalize_request(voice_id: UUID, **changes: object) -> FinalizeRequest:
    wanted = FinalizeRequest(voice_id=voice_id, name="Ada", language="English", transcript=TRANSCRIPT)
    return msgspec.structs.replace(wanted, **changes)


def body(wanted: msgspec.Struct) -> bytes:
    """As a client sends it."""
    return msgspec.json.encode(wanted)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what nobody tells."""
    with anyio.fail_after(WAIT_SECONDS):
        while not condition():  # noqa: ASYNC110 - there is no event for it
            await anyio.sleep(LOOK_SECONDS)


async def post(caller: Caller, path: str, wanted: msgspec.Struct | None = None) -> Exchange:
    return await caller.ask("POST", f"/api{path}", body=b"" if wanted is None else body(wanted))


async def save(caller: Caller, audio: bytes | None = None, **fields: str) -> Exchange:
    """The form of a design save; `fields` on top of what it needs."""
    texts = {"name": "Grace", "text": PREVIEW.text, "language": "English", "instruct": PREVIEW.instruct, **fields}
    files = None if audio is None else {"audio": ("preview.wav", audio, "audio/wav")}
    form = httpx.Request("POST", "http://form", data=texts, files=files or {"none": (None, "")})
    headers = {"content-type": form.headers["content-type"]}
    return await caller.ask("POST", "/api/voices/design", headers, form.read())


@asynccontextmanager
async def open_atelier(
    database: TestDatabase,
    folder: Path,
    emulator: Emulator,
    front: Front,
    environment: Mapping[str, str] | None = None,
    provider: SpeechProvider | None = None,
) -> AsyncIterator[Atelier]:
    """A server's life; several on the same database and folder are restarts, or machines. Speech is the emulator's
    unless there is a `provider`."""
    settings = load_settings(
        {
            "UTTER_ENV": "local",
            "TTS_PROVIDER_MODE": "qwen",
            "DASHSCOPE_API_KEY": emulator.api_key,
            "DASHSCOPE_BASE_URL": front.base_url,
            "DASHSCOPE_REALTIME_URL": emulator.realtime_url,
            "DATABASE_URL": database.gateway_url,
            "OBJECTS_URL": str(folder / "objects"),
            "UTTER_DATA_DIR": str(folder),
            "UTTER_TOKEN_SECRET": TOKEN_SECRET,
            "UTTER_SIGNING_SECRET": SIGNING_SECRET,
            **(environment or {}),
        }
    )
    objects = ObjectStore.open(settings.objects_url)
    signer = Signer(settings.signing_secret)
    options = CustomizationOptions(
        base_url=settings.dashscope_base_url,
        api_key=settings.dashscope_api_key,
        workspace="",
        customization_models={
            VoiceKind.CLONED: settings.enrollment_model,
            VoiceKind.DESIGNED: settings.design_model,
        },
        target_models={VoiceKind.CLONED: VC_MODEL, VoiceKind.DESIGNED: VD_MODEL},
        retries=RetryPolicy(retries=0),
        settle_seconds=SETTLE_SECONDS,
    )
    instance = new_instance()
    async with (
        Database.open(settings.database_url, max_connections=8) as pool,
        open_provider(settings) as speech,
        open_modal(settings) as modal,
        open_qwen_customization(options) as customization,
        open_relay(instance) as relay,
        open_audio_spool(settings.spool_dir, pool, objects, keeper := open_keeper(pool, instance)) as spool,
        Supervisor(
            speech,
            Persister(pool, objects, spool, instance, provider="qwen"),
            keeper,
            room_for(32),
        ) as supervisor,
    ):
        recordings = Recordings(objects, settings, signer)
        studio = open_studio(settings, pool, recordings, customization, provider or speech, supervisor)
        services = Services(
            settings=settings,
            database=pool,
            objects=objects,
            authenticator=Authenticator(settings),
            signer=signer,
            supervisor=supervisor,
            jobs=ModalJobs(settings, pool, objects, modal, supervisor, keeper),
            studio=studio,
            relay=relay,
            spool=spool,
            not_ready_reason=lambda: None,
        )
        gateway = Gateway(create_app(services), services, Stage(), database)
        yield Atelier(
            gateway, studio, Creates(pool, customization), supervisor, pool, objects, database, emulator, front
        )
