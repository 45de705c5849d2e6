"""What the routes work with, opened in order and closed in reverse."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from gateway.audio_memory import AudioMemory
from gateway.auth import Authenticator, open_authenticator
from gateway.leases import Instance, keeping_leases
from gateway.modal import ModalJobs
from gateway.pacing import Pacer
from gateway.persister import Persister
from gateway.pickup import PickUp
from gateway.providers import open_customization, open_modal, open_provider
from gateway.relay import Relay, open_relay
from gateway.settings import ProviderMode, Settings
from gateway.signing import Signer
from gateway.spooling import AudioSpool, open_audio_spool
from gateway.studio import Recordings, Studio, open_studio
from gateway.supervisor import Room, Supervisor
from gateway.sweeper import NEVER_LATER, Chore, sweeping
from gateway.task_news import TaskNews
from gateway.tidying import TIDY_SECONDS, Tidying
from gateway.vitals import Vitals
from storage.database import STATEMENT_CACHE, Database
from storage.objects import ObjectStore


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of one running gateway. `not_ready_reason` says why `/api/ready` must wait, None when it need not."""

    settings: Settings
    database: Database
    objects: ObjectStore
    authenticator: Authenticator
    signer: Signer
    supervisor: Supervisor
    jobs: ModalJobs
    studio: Studio
    relay: Relay
    spool: AudioSpool
    not_ready_reason: Callable[[], str | None]
    task_news: TaskNews = field(default_factory=TaskNews)
    provider_trouble: Callable[[], str | None] = lambda: None
    """Why new speech is likely to fail although requests are taken, None when nothing is known to be wrong."""


@asynccontextmanager
async def open_services(
    settings: Settings, *, not_ready_reason: Callable[[], str | None] = lambda: None, address: str | None = None
) -> AsyncIterator[Services]:
    """Open the database pool, the object store and the providers. Leaving stops what still runs, then closes them.

    `address` is the base URL at which other instances reach this one, None when they cannot.
    """
    objects = ObjectStore.open(settings.objects_url)
    instance = Instance.new(settings.lease_seconds, address)
    async with (
        Database.open(
            settings.database_url,
            max_connections=settings.database_max_connections,
            # A connection of its own for LISTEN says that this one goes through a transaction pooler.
            statement_cache_size=STATEMENT_CACHE if settings.database_listen_url == settings.database_url else 0,
        ) as database,
        open_authenticator(settings) as authenticator,
        open_relay(instance) as relay,
        open_provider(settings, turn=_pacer(settings, database).wait_turn) as provider,
        open_modal(settings) as modal,
        open_customization(settings) as customization,
        keeping_leases(database, instance, listen_url=settings.database_listen_url) as keeper,
        open_audio_spool(settings.spool_dir, database, objects, keeper) as spool,
        Supervisor(
            provider,
            Persister(database, objects, spool, instance, provider=ProviderMode.QWEN.value),
            keeper,
            Room(
                places=settings.max_concurrent_generations,
                waiting=settings.max_waiting_tasks,
                wait_seconds=settings.task_queue_seconds,
                memory=AudioMemory(settings.audio_memory_bytes, settings.spool_dir),
            ),
        ) as supervisor,
    ):
        jobs = ModalJobs(settings, database, objects, modal, supervisor, keeper)
        signer = Signer(settings.signing_secret)
        recordings = Recordings(objects, settings, signer)
        studio = open_studio(settings, database, recordings, customization, provider, supervisor)
        chores = [
            Chore("modal.jobs", jobs.sweep),
            Chore("studio.stale", studio.recover_stale),
            Chore("spool.adopt", spool.adopt),
            Chore("spool.land", spool.land),
        ]
        pick_up = PickUp(settings, database, objects, keeper, supervisor)
        task_news = TaskNews(settings.database_listen_url)
        others = [
            Chore("leases.pick_up", pick_up.look, longest_pause=NEVER_LATER),
            Chore("task_news.hear", task_news.hear),
        ]
        rare = [Chore("tidying", Tidying(database).tidy)]
        async with (
            sweeping(chores, settings.sweep_seconds),
            sweeping(others, instance.beat_seconds),
            sweeping(rare, TIDY_SECONDS),
            sweeping([Chore("vitals", Vitals(supervisor).say)], settings.vitals_seconds),
        ):
            yield Services(
                settings=settings,
                database=database,
                objects=objects,
                authenticator=authenticator,
                signer=signer,
                supervisor=supervisor,
                jobs=jobs,
                studio=studio,
                relay=relay,
                spool=spool,
                not_ready_reason=not_ready_reason,
                task_news=task_news,
                provider_trouble=lambda: provider.trouble,
            )


def _pacer(settings: Settings, database: Database) -> Pacer:
    """Limits belong to an account in a region, which every process on this database shares."""
    return Pacer(
        database,
        lane=f"{ProviderMode.QWEN.value}-{settings.dashscope_region}",
        per_second=settings.starts_per_second,
        per_minute=settings.starts_per_minute,
    )
