"""`utter serve`: one gateway on the settings of its environment."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from gateway.app import create_app
from gateway.logs import configure_logging
from gateway.server import CannotListen, serve
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
    async with open_gateway(settings) as services:
        await serve(create_app(services), settings, services.supervisor)


@asynccontextmanager
async def open_gateway(settings: Settings) -> AsyncIterator[Services]:
    """Everything a gateway serves with, found to be usable. Raises what `CANNOT_START` lists."""
    async with open_services(settings) as services:
        await _check(services.objects)
        yield services


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
