"""`utter serve`: one gateway on the settings of its environment."""

from __future__ import annotations

from gateway.app import create_app
from gateway.logs import configure_logging
from gateway.server import serve
from gateway.services import open_services
from gateway.settings import Settings


async def run_gateway(settings: Settings) -> None:
    """Serve until a signal stops it. Raises `DatabaseUnavailable` and `CannotListen`."""
    configure_logging(settings)
    async with open_services(settings) as services:
        await serve(create_app(services), settings, services.supervisor)
