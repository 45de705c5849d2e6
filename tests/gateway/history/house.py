"""Two gateways of different modes on one database, and a provider behind cables that can be held, cut and released.

Everything is real but the network: PostgreSQL, both gateways' services and sweepers, the emulator as a process.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import asyncpg
import msgspec
from anyio.from_thread import BlockingPortal, start_blocking_portal
from starlette.types import ASGIApp

from gateway.app import create_app
from gateway.auth import mint_token
from gateway.services import Services, open_services
from gateway.settings import load_settings
from schema.records import NewVoice
from storage import voices
from storage.objects import REFERENCES
from tests.support.cable import Cable, plugged_in
from tests.support.emulator import API_KEY, VC_MODEL, Emulator, wav_recording
from tests.support.exchange import Exchange, request
from tests.support.gateway import SIGNING_SECRET, TOKEN_SECRET
from tests.support.postgres import TestDatabase
from tests.support.stack import LIMITS

MODES = ("qwen", "modal")
CABLES = ("realtime", "customization", "modal")

HURRIED = {
    **LIMITS,
    "UTTER_SWEEP_SECONDS": "0.1",
    "UTTER_FIRST_AUDIO_SECONDS": "2",
    "UTTER_DELTA_GAP_SECONDS": "1",
    "UTTER_SESSION_SECONDS": "5",
    "UTTER_MODAL_SUBMIT_SECONDS": "1",
    "UTTER_MODAL_STATUS_SECONDS": "1",
    "UTTER_MODAL_RESULT_SECONDS": "1",
    "UTTER_MODAL_CANCEL_SECONDS": "0.5",
    "UTTER_MODAL_DESIGN_SECONDS": "2",
}
"""Deadlines for a provider on this machine, so that one that is held fails within a test."""

WATCH = """
create table public.state_changes (
  number bigint generated always as identity, of_table text, id uuid, was text, became text
);
create function public.note_state_change() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into public.state_changes (of_table, id, was, became) values (tg_table_name, old.id, old.status, new.status);
  return null;
end $$;
create trigger note_state_change after update on public.tasks
  for each row when (old.status is distinct from new.status) execute function public.note_state_change();
create trigger note_state_change after update on public.generations
  for each row when (old.status is distinct from new.status) execute function public.note_state_change();
"""
BACKWARDS = """
select of_table, was, became from public.state_changes
where was in ('completed', 'failed', 'cancelled') or became = 'pending'
"""
_EXPIRE_CLAIMS = "update utter.voice_creates set claimed_until = now() - interval '1 second' where state = 'claimed'"
_AGE = "update public.tasks set created_at = created_at - interval '3 hours' where id = $1"

T = TypeVar("T")


@dataclass(frozen=True)
class Person:
    """A user with a voice at each provider."""

    id: UUID
    voices: dict[str, UUID]

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {mint_token(TOKEN_SECRET, self.id)}"}


@dataclass
class Running:
    """One gateway. It can be ended and started again, as a deployment does."""

    mode: str
    house: House
    services: Services = field(init=False)
    app: ASGIApp = field(init=False)
    _open: AbstractContextManager[Services] = field(init=False)

    def start(self) -> None:
        settings = load_settings(self.house.environment(self.mode))
        self._open = self.house.portal.wrap_async_context_manager(open_services(settings))
        self.services = self._open.__enter__()
        self.app = create_app(self.services)

    def stop(self) -> None:
        self._open.__exit__(None, None, None)


class House:
    """The parts. Methods are called from the test's thread, and wait."""

    def __init__(
        self,
        portal: BlockingPortal,
        database: TestDatabase,
        emulator: Emulator,
        folder: Path,
        cables: dict[str, Cable],
        admin: asyncpg.Connection,
    ) -> None:
        self.portal = portal
        self.cables = cables
        self._database = database
        self._emulator = emulator
        self._folder = folder
        self._admin = admin
        self.reached: set[tuple[tuple[str, str], str]] = set()
        """Which kind of task was seen in which state, in all histories."""
        self._chores: list[tuple[str, Future[None]]] = []
        self._provider_voice = emulator.clone("history")
        self.gateways = {mode: Running(mode, self) for mode in MODES}

    def environment(self, mode: str) -> dict[str, str]:
        """A gateway's settings: the provider is only reached through the cables."""
        modal = {
            name: self.cables["modal"].base_url + urlsplit(url).path
            for name, url in self._emulator.modal_endpoints().items()
        }
        realtime = self.cables["realtime"].base_url.replace("http", "ws", 1)
        return {
            **HURRIED,
            **modal,
            "UTTER_ENV": "local",
            "TTS_PROVIDER_MODE": mode,
            "DASHSCOPE_API_KEY": API_KEY,
            "DASHSCOPE_BASE_URL": self.cables["customization"].base_url,
            "DASHSCOPE_REALTIME_URL": realtime + urlsplit(self._emulator.realtime_url).path,
            "DATABASE_URL": self._database.gateway_url,
            "DATABASE_MAX_CONNECTIONS": "6",
            "OBJECTS_URL": str(self._folder / "objects"),
            "UTTER_DATA_DIR": str(self._folder),
            "UTTER_TOKEN_SECRET": TOKEN_SECRET,
            "UTTER_SIGNING_SECRET": SIGNING_SECRET,
        }

    def person(self) -> Person:
        """Somebody new."""
        person = Person(uuid4(), {mode: uuid4() for mode in MODES})
        self.sql("insert into auth.users (id) values ($1)", person.id)
        self.portal.call(self._add_voices, person)
        return person

    async def _add_voices(self, person: Person) -> None:
        services = self.gateways["qwen"].services
        for mode, voice_id in person.voices.items():
            key = f"{person.id}/{voice_id}/reference.wav"
            await services.objects.put(REFERENCES, key, wav_recording(), "audio/wav")
            qwen = {
                "provider_voice_id": self._provider_voice,
                "provider_target_model": VC_MODEL,
                "provider_voice_kind": "vc",
                "provider_region": services.settings.dashscope_region,
            }
            document: dict[str, Any] = {
                "id": voice_id,
                "user_id": person.id,
                "name": mode,
                "source": "uploaded",
                "tts_provider": mode,
                "reference_object_key": key,
                "reference_transcript": "A tone.",
                **(qwen if mode == "qwen" else {}),
            }
            async with services.database.as_user(person.id) as transaction:
                await voices.insert_voice(transaction, msgspec.convert(document, NewVoice))

    async def ask(self, mode: str, person: Person, method: str, target: str, body: object = None) -> Exchange:
        """One request to one of the gateways."""
        content = b"" if body is None else msgspec.json.encode(body)
        return await request(self.gateways[mode].app, method, target, headers=person.headers, body=content)

    def weather(self, key: str, *faults: str) -> None:
        """From now on the provider misbehaves so at `key`, until it is fair again."""
        self._emulator.order_faults(self._provider_voice if key == "realtime" else key, *faults)

    def fair(self) -> None:
        """The provider and the network behave."""
        self.fair_weather()
        self.release()

    def fair_weather(self) -> None:
        """The provider behaves."""
        self._emulator.clear_faults()

    def release(self) -> None:
        """The network behaves."""
        for cable in self.cables.values():
            cable.release()

    def creates(self) -> list[dict[str, str]]:
        """What the vendor bills."""
        return self._emulator.creates()

    def expire_claims(self) -> None:
        """As if whoever makes previews had died long ago, though they may be at it."""
        self.sql(_EXPIRE_CLAIMS)

    def age(self, task_id: UUID) -> None:
        """As if the task had been accepted three hours ago."""
        self.sql(_AGE, task_id)

    def went_backwards(self) -> list[str]:
        """State changes of rows that must not be."""
        rows = self.portal.call(self._admin.fetch, BACKWARDS)
        return [f"{row['of_table']}: {row['was']} -> {row['became']}" for row in rows]

    def sql(self, statement: str, *values: object) -> None:
        """As superuser."""
        self.portal.call(self._admin.execute, statement, *values)

    def sweep(self, mode: str) -> None:
        """Do all chores now; the gateways' own sweepers go on meanwhile."""
        services = self.gateways[mode].services
        self._chores += [(mode, self.begin(chore)) for chore in (services.jobs.sweep, services.studio.recover_stale)]

    def wait_idle(self) -> None:
        """Return when neither gateway does anything that it was asked to."""
        for gateway in self.gateways.values():
            self.portal.call(gateway.services.supervisor.wait_idle)

    def check_chores(self) -> None:
        """Raise what a chore failed with."""
        done = [entry for entry in self._chores if entry[1].done()]
        self._chores = [entry for entry in self._chores if entry not in done]
        for _, chore in done:
            if not chore.cancelled():
                chore.result()

    def restart(self, mode: str) -> None:
        """End a gateway, whatever it is doing, and start it again."""
        for _, chore in [entry for entry in self._chores if entry[0] == mode]:
            chore.cancel()
        self.gateways[mode].stop()
        self.gateways[mode].start()

    def begin(self, work: Callable[[], Awaitable[T]]) -> Future[T]:
        """Start work beside the test."""
        return self.portal.start_task_soon(work)


@contextmanager
def open_house(database: TestDatabase, emulator: Emulator, folder: Path) -> Iterator[House]:
    """Both gateways, running."""
    database.run(WATCH)
    with ExitStack() as stack:
        targets = {"realtime": emulator.realtime_url, "customization": emulator.rest_url, "modal": emulator.rest_url}
        cables = {name: stack.enter_context(plugged_in(target)) for name, target in targets.items()}
        portal = stack.enter_context(start_blocking_portal("asyncio"))
        admin = portal.call(asyncpg.connect, database.admin_url)
        stack.callback(portal.call, admin.close)
        house = House(portal, database, emulator, folder, cables, admin)
        for gateway in house.gateways.values():
            gateway.start()
            stack.callback(gateway.stop)
        stack.callback(house.fair)
        yield house


def digest_of(audio: bytes) -> str:
    return hashlib.sha256(audio).hexdigest()


def text_of(number: int) -> str:
    """A text of its own for each order."""
    return f"This is order {number}, and it is read aloud. " + base64.b32encode(bytes([number % 256])).decode().strip(
        "="
    )
