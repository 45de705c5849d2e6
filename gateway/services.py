"""What the routes work with, opened in order and closed in reverse."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from gateway.auth import Authenticator
from gateway.pacing import Pacer
from gateway.persister import Persister
from gateway.providers import open_provider
from gateway.settings import Settings
from gateway.signing import Signer
from gateway.supervisor import Supervisor
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
    not_ready_reason: Callable[[], str | None]


@asynccontextmanager
async def open_services(
    settings: Settings, *, not_ready_reason: Callable[[], str | None] = lambda: None
) -> AsyncIterator[Services]:
    """Open the database pool, the object store and the provider. Leaving stops what still runs, then closes them."""
    objects = ObjectStore.open(settings.objects_url)
    async with (
        Database.open(
            settings.database_url,
            max_connections=settings.database_max_connections,
            # A connection of its own for LISTEN says that this one goes through a transaction pooler.
            statement_cache_size=STATEMENT_CACHE if settings.database_listen_url == settings.database_url else 0,
        ) as database,
        open_provider(settings, turn=_pacer(settings, database).wait_turn) as provider,
        Supervisor(
            provider,
            Persister(database, objects, provider=settings.provider_mode.value),
            max_running=settings.max_concurrent_generations,
        ) as supervisor,
    ):
        yield Services(
            settings=settings,
            database=database,
            objects=objects,
            authenticator=Authenticator(settings),
            signer=Signer(settings.signing_secret),
            supervisor=supervisor,
            not_ready_reason=not_ready_reason,
        )


def _pacer(settings: Settings, database: Database) -> Pacer:
    """Limits belong to an account in a region, which every process on this database shares."""
    return Pacer(
        database,
        lane=f"{settings.provider_mode.value}-{settings.dashscope_region}",
        per_second=settings.starts_per_second,
        per_minute=settings.starts_per_minute,
    )
