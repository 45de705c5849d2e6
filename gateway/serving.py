"""`utter serve`: one gateway on the settings of its environment."""

from __future__ import annotations

import structlog

from gateway.app import create_app
from gateway.logs import configure_logging
from gateway.server import serve
from gateway.services import open_services
from gateway.settings import Settings
from storage.objects import ObjectStore, ObjectStoreUnavailable

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.serving")


async def run_gateway(settings: Settings) -> None:
    """Serve until a signal stops it. Raises `DatabaseUnavailable`, `ObjectStoreRefused` and `CannotListen`."""
    configure_logging(settings)
    async with open_services(settings) as services:
        await _check(services.objects)
        await serve(create_app(services), settings, services.supervisor)


async def _check(objects: ObjectStore) -> None:
    """A store that turns us away does so until somebody changes the settings; one that is away may come back, and
    speech can be heard without it (product section 11)."""
    try:
        await objects.check()
    except ObjectStoreUnavailable as error:
        _log.warning("objects.unavailable", error=str(error))
