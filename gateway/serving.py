"""`utter serve`: one gateway on the settings of its environment."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from gateway.app import create_app
from gateway.logs import configure_logging
from gateway.metrics.serving import serving_metrics
from gateway.server import CannotListen, base_url_of, listen_internally, serve
from gateway.services import Services, open_services
from gateway.settings import Settings, SettingsError
from storage.database import DatabaseUnavailable
from storage.objects import ObjectStore, ObjectStoreRefused, ObjectStoreUnavailable

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.serving")


CANNOT_START = (CannotListen, SettingsError, DatabaseUnavailable, ObjectStoreRefused, ObjectStoreUnavailable)
"""What keeps a gateway from starting and is not its own fault."""


async def run_gateway(settings: Settings) -> None:
    """Serve until a signal stops it. Raises what `CANNOT_START` lists."""
    configure_logging(settings)
    with serving_metrics(settings.metrics_bind):
        await _run(settings)


async def _run(settings: Settings) -> None:
    async with open_gateway(settings) as (services, internal):
        await serve(create_app(services), settings, services.supervisor, internal=internal)


@asynccontextmanager
async def open_gateway(settings: Settings) -> AsyncIterator[tuple[Services, socket.socket]]:
    """Everything a gateway serves with, found to be usable, and the socket at which other instances reach this one.

    Raises what `CANNOT_START` lists.
    """
    with listen_internally(settings) as internal:
        async with open_services(settings, address=base_url_of(internal)) as services:
            await _check(services.objects)
            yield services, internal


def advice(error: Exception) -> str:
    """What happened and what to do, of an error that `CANNOT_START` lists."""
    match error:
        case SettingsError():
            return "\n".join(error.problems)
        case DatabaseUnavailable():
            return f"{error}. Check DATABASE_URL, and that `utter migrate` has run."
        case ObjectStoreRefused() | ObjectStoreUnavailable():
            return f"{error}. Check OBJECTS_URL."
        case _:
            return str(error)


async def _check(objects: ObjectStore) -> None:
    """A store that turns us away does so until somebody changes the settings; one that is away may come back, and
    speech can be heard without it (product section 11)."""
    try:
        await objects.check()
    except ObjectStoreUnavailable as error:
        _log.warning("objects.unavailable", error=str(error))
