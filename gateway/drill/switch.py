"""One flip: a gateway in the other mode is started, users are led to it, and the old one is told to stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AsyncExitStack

import msgspec
from anyio.abc import TaskGroup

from gateway.drill import work
from gateway.drill.cast import Cast, Person
from gateway.drill.ledger import Ledger, read_ledger
from gateway.drill.site import Instance, Site
from gateway.drill.work import SHORT, Work, played
from gateway.settings import ProviderMode


class Switch(msgspec.Struct, frozen=True):
    """How long it took, in seconds: until the new process was ready, from there until it had taken the first new work,
    and until the old one was gone after SIGTERM, with which exit status. `in_flight` is how much work ran then."""

    mode: ProviderMode
    ready_seconds: float
    taken_seconds: float
    gone_seconds: float
    exit_status: int
    in_flight: int

    @property
    def seconds(self) -> float:
        """From the order to the first new work."""
        return self.ready_seconds + self.taken_seconds


class Flipped(msgspec.Struct, frozen=True):
    """What a flip left: the new process, the rows of the moment it came, and the work that was in flight."""

    instance: Instance
    switch: Switch
    ledger: Ledger
    works: list[Work]


async def flip(
    site: Site, old: Instance, mode: ProviderMode, cast: Cast, tasks: TaskGroup, processes: AsyncExitStack
) -> Flipped:
    """Lead everybody to a gateway in `mode`. `tasks` carries those who listen meanwhile, `processes` ends the new one.

    Raises `DrillBroken` and `Surprise`.
    """
    measure = _stopwatch()
    new = await processes.enter_async_context(site.gateway(mode))
    ready_seconds = measure()
    works = await work.begin(site, old.mode, cast, tasks)
    async with site.database() as database:
        ledger = await read_ledger(database)
    measure()
    site.front = new.base_url
    first = await _first_new_work(cast.newcomer, mode)
    taken_seconds = measure()
    in_flight = await work.still_running(works, old.base_url)
    for one in works:
        await one.interfere()
    measure()
    exit_status = await old.stop()
    switch = Switch(mode, ready_seconds, taken_seconds, measure(), exit_status, in_flight)
    return Flipped(new, switch, ledger, [first, *works])


async def _first_new_work(person: Person, mode: ProviderMode) -> Work:
    order = await person.user.now.generate(person.voice(mode), SHORT)
    return Work("new work is taken", order.task_id, person, lambda: played(person, order))


def _stopwatch() -> Callable[[], float]:
    """Seconds since it was last asked."""
    last = [time.monotonic()]

    def measure() -> float:
        now = time.monotonic()
        seconds, last[0] = now - last[0], now
        return round(seconds, 3)

    return measure
