"""The process a test is, among those that share its database."""

from __future__ import annotations

from gateway.leases import Instance, LeaseKeeper
from gateway.running import GenerationOrder
from gateway.supervisor import Room
from schema.records import Completion
from storage.audio_spool import SpoolUnavailable
from storage.database import Database

LEASE_SECONDS = 60.0
"""Longer than any test: nothing runs out unless a test wants it to."""


def new_instance(lease_seconds: float = LEASE_SECONDS) -> Instance:
    """A process that cannot be reached by others."""
    return Instance.new(lease_seconds)


def open_keeper(database: Database, instance: Instance | None = None, listen_url: str = "") -> LeaseKeeper:
    """One that does nothing by itself: renew and hear are the test's to call."""
    return LeaseKeeper(database, instance or new_instance(), listen_url=listen_url)


class NoSpool:
    """A disk that takes nothing."""

    async def keep(self, _order: GenerationOrder, _done: Completion, _audio: memoryview) -> None:
        raise SpoolUnavailable("there is no spool in this test")


async def at_once() -> float:
    """The `Place` of a stream that has one."""
    return 0.0


def room_for(places: int, waiting: int = 0, wait_seconds: float = 60.0) -> Room:
    """A supervisor's room, without a line unless the test wants one."""
    return Room(places=places, waiting=waiting, wait_seconds=wait_seconds)
