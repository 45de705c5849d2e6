"""The gateway's routes on a real database, object store and pipeline, with a speech provider that a test conducts.

Only the provider stands in: what it says, and when, is what these tests are about.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import anyio
import msgspec
from starlette.types import ASGIApp

from gateway.app import create_app
from gateway.auth import Authenticator, mint_token
from gateway.modal import ModalJobs
from gateway.persister import Persister
from gateway.providers import open_customization, open_modal
from gateway.providers.base import Clearance, Outcome, Sink, Utterance
from gateway.relay import open_relay
from gateway.services import Services
from gateway.settings import load_settings
from gateway.signing import Signer
from gateway.spooling import open_audio_spool
from gateway.studio import Recordings, open_studio
from gateway.supervisor import Supervisor
from gateway.tracing import Trace
from protocol.errors import Fault, ProviderFailure, VendorError
from schema.records import NewGeneration, NewVoice
from storage import generations, voices
from storage.database import Database
from storage.objects import ObjectStore
from tests.support.exchange import WAIT_SECONDS, Exchange, open_request, request
from tests.support.leases import new_instance, open_keeper, room_for
from tests.support.postgres import TestDatabase
from tests.support.rows import completion, new_generation, new_voice

TOKEN_SECRET = "a secret of at least thirty-two bytes, for tests"
SIGNING_SECRET = "another secret of at least thirty-two bytes"


class Stage:
    """A speech provider that says what the test tells it to, in every generation that is on stage."""

    def __init__(self) -> None:
        self._sinks: list[Sink] = []
        self._entered = anyio.Event()
        self._end = anyio.Event()
        self._failure: ProviderFailure | None = None

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
        """Speak what the test says until it says that this was all."""
        on_status("ws_connecting")
        await clearance()
        on_status("streaming")
        self._sinks.append(sink)
        self._entered.set()
        self._entered = anyio.Event()
        await self._end.wait()
        if self._failure is not None:
            raise self._failure
        return Outcome(session_id="sess", characters=len(utterance.text), responses=1, attempts=1, audio_seconds=1.0)

    async def began(self, generations: int = 1) -> None:
        """Wait until so many want speech, and their rows exist."""
        with anyio.fail_after(WAIT_SECONDS):
            while len(self._sinks) < generations:
                await self._entered.wait()

    async def say(self, audio: bytes) -> None:
        """Hand over audio."""
        await self.began()
        for sink in self._sinks:
            sink.append(audio)

    def finish(self) -> None:
        """That was all."""
        self._end.set()

    def fail(self, fault: Fault, vendor: VendorError | None = None) -> None:
        """Break off."""
        self._failure = ProviderFailure(fault, vendor)
        self._end.set()

    def forget(self) -> None:
        """Let go of what was on stage."""
        self._sinks.clear()
        self._failure = None


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running application and what a test needs to look behind it."""

    app: ASGIApp
    services: Services
    stage: Stage
    database: TestDatabase

    async def user(self) -> Caller:
        """A new user, signed in."""
        return Caller(self, await anyio.to_thread.run_sync(self.database.create_user))

    async def ask(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Exchange:
        """A request of somebody who is not signed in."""
        return await request(self.app, method, target, headers=headers, body=body)


@dataclass(frozen=True, slots=True)
class Caller:
    """A signed-in user of a gateway."""

    gateway: Gateway
    id: UUID

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {mint_token(TOKEN_SECRET, self.id)}"}

    async def ask(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Exchange:
        """The whole answer to one request."""
        return await request(self.gateway.app, method, target, headers={**self.headers, **(headers or {})}, body=body)

    async def generate(self, voice_id: UUID, text: str = "Good morning.", route: str = "generate") -> Exchange:
        """POST to a generate route."""
        return await self.ask("POST", f"/api/{route}", body=speech(voice_id, text))

    @asynccontextmanager
    async def listening(self, target: str, method: str = "GET", body: bytes = b"") -> AsyncIterator[Exchange]:
        """A request that is still being answered."""
        async with open_request(self.gateway.app, method, target, headers=self.headers, body=body) as exchange:
            yield exchange

    async def add_voice(self, **changes: object) -> NewVoice:
        """A voice of this user that the active provider can speak with."""
        voice = msgspec.structs.replace(new_voice(self.id), **changes)
        async with self.gateway.services.database.as_user(self.id) as transaction:
            await voices.insert_voice(transaction, voice)
        return voice

    async def add_generation(self, audio: bytes | None = None, text: str = "Good morning.") -> NewGeneration:
        """A generation that ended with this audio, or one left running by nobody."""
        voice = await self.add_voice()
        new = new_generation(self.id, voice.id, text=text)
        async with self.gateway.services.database.as_user(self.id) as transaction:
            await generations.start_generation(transaction, new)
        if audio is not None:
            await self.complete(new, audio)
        return new

    async def complete(self, new: NewGeneration, audio: bytes) -> None:
        """Store this audio and end the generation with it."""
        digest = hashlib.sha256(audio).hexdigest()
        done = msgspec.structs.replace(completion(new), audio_bytes=len(audio), audio_sha256=digest)
        await self.gateway.services.objects.put("generations", done.object_key, audio, "audio/mpeg")
        async with self.gateway.services.database.as_service() as transaction:
            assert await generations.complete_generation(transaction, done)


def speech(voice_id: object, text: str) -> bytes:
    """The body of a generate route."""
    return msgspec.json.encode({"voice_id": str(voice_id), "text": text, "model": "0.6B"})


@asynccontextmanager
async def open_gateway(database: TestDatabase, folder: Path, **environment: str) -> AsyncIterator[Gateway]:
    """The application on this database, with its objects below `folder`."""
    settings = load_settings(
        {
            "UTTER_ENV": "local",
            "TTS_PROVIDER_MODE": "qwen",
            "DASHSCOPE_API_KEY": "sk-of-nobody",
            "DATABASE_URL": database.gateway_url,
            "OBJECTS_URL": str(folder / "objects"),
            "UTTER_DATA_DIR": str(folder),
            "UTTER_TOKEN_SECRET": TOKEN_SECRET,
            "UTTER_SIGNING_SECRET": SIGNING_SECRET,
            **environment,
        }
    )
    stage = Stage()
    objects = ObjectStore.open(settings.objects_url)
    signer = Signer(settings.signing_secret)
    instance = new_instance()
    async with (
        Database.open(settings.database_url, max_connections=4) as pool,
        open_modal(settings) as modal,
        open_customization(settings) as customization,
        open_relay(instance) as relay,
        open_audio_spool(settings.spool_dir, pool, objects, keeper := open_keeper(pool, instance)) as spool,
        Supervisor(
            stage,
            Persister(pool, objects, spool, instance, provider="qwen"),
            keeper,
            room_for(8),
        ) as supervisor,
    ):
        services = Services(
            settings=settings,
            database=pool,
            objects=objects,
            authenticator=Authenticator(settings),
            signer=signer,
            supervisor=supervisor,
            jobs=ModalJobs(settings, pool, objects, modal, supervisor, keeper),
            studio=open_studio(settings, pool, Recordings(objects, settings, signer), customization, stage, supervisor),
            relay=relay,
            spool=spool,
            not_ready_reason=lambda: None,
        )
        yield Gateway(create_app(services), services, stage, database)
