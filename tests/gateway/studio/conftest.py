"""A studio in Qwen mode at the emulator, by one of two doors: `scene` is a whole gateway, `atelier` one whose calls to
the provider can be watched and held."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.studio.atelier import Atelier, open_atelier
from tests.gateway.studio.front import Front, front_of
from tests.gateway.studio.scene import Scene, open_scene
from tests.support.emulator import Emulator, emulator
from tests.support.gateway import Caller
from tests.support.postgres import TestDatabase

__all__ = ["emulator"]

Bill = Callable[[], dict[str, int]]
"""What the vendor has billed since the test began: clones, designs, characters."""


@pytest.fixture
def vendor(emulator: Emulator) -> Iterator[Emulator]:
    """The emulator; what went wrong there ends with the test."""
    yield emulator
    emulator.clear_faults()


@pytest.fixture
def billed(vendor: Emulator) -> Bill:
    before = vendor.billing()

    def since() -> dict[str, int]:
        now = vendor.billing()
        return {kind: now[kind] - before[kind] for kind in ("clones", "designs", "characters")}

    return since


@pytest.fixture
async def scene(anyio_backend: Any, database: TestDatabase, tmp_path: Path, vendor: Emulator) -> AsyncIterator[Scene]:
    """One user in front of a gateway."""
    async with open_scene(database, tmp_path, vendor) as opened:
        yield opened


@pytest.fixture
def front(vendor: Emulator) -> Iterator[Front]:
    """The vendor's front door."""
    with front_of(vendor.rest_url) as running:
        yield running


@pytest.fixture
async def atelier(
    anyio_backend: Any, database: TestDatabase, tmp_path: Path, vendor: Emulator, front: Front
) -> AsyncIterator[Atelier]:
    """A studio behind that door."""
    async with open_atelier(database, tmp_path, vendor, front) as opened:
        yield opened


@pytest.fixture
async def ada(atelier: Atelier) -> Caller:
    """A user of the atelier."""
    return await atelier.user()


@pytest.fixture
async def bob(atelier: Atelier) -> Caller:
    """Another one."""
    return await atelier.user()
