"""A gateway in Modal mode, and a Modal that does what the test says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.modal.scene import Scene
from tests.support.gateway import Caller, Gateway, open_gateway
from tests.support.modal_server import ModalServer, modal_server
from tests.support.postgres import TestDatabase

HURRIED = {
    "UTTER_MODAL_SUBMIT_SECONDS": "1",
    "UTTER_MODAL_STATUS_SECONDS": "1",
    "UTTER_MODAL_RESULT_SECONDS": "1",
    "UTTER_MODAL_CANCEL_SECONDS": "0.5",
    "UTTER_MODAL_DESIGN_SECONDS": "2",
}
"""Deadlines for a server on this machine, so that one that hangs does not make a test slow."""


@pytest.fixture
def modal() -> Iterator[ModalServer]:
    """Its other end."""
    with modal_server() as server:
        yield server


@pytest.fixture
async def gateway(
    anyio_backend: Any, database: TestDatabase, tmp_path: Path, modal: ModalServer
) -> AsyncIterator[Gateway]:
    """In Modal mode."""
    environment = {"TTS_PROVIDER_MODE": "modal", **modal.environment(), **HURRIED}
    async with open_gateway(database, tmp_path, **environment) as running:
        yield running
        modal.release()


@pytest.fixture
async def ada(gateway: Gateway) -> Caller:
    """A user of the gateway."""
    return await gateway.user()


@pytest.fixture
async def scene(gateway: Gateway, ada: Caller, modal: ModalServer) -> Scene:
    """Ada, with what she has."""
    return Scene(gateway, ada, modal)
