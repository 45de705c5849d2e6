"""The whole drill: rows are made, and for each flip it is seen to that everything on the list is in order."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import anyio
import httpx
import msgspec

from gateway.drill.cast import Person, assemble
from gateway.drill.items import LAST, LIST, Item, Scene, traffic_lost_nothing
from gateway.drill.site import DrillBroken, Instance, Site, open_site
from gateway.drill.switch import Flipped, Switch, flip
from gateway.drill.traffic import Traffic
from gateway.drill.work import SETTLE_SECONDS, SHORT
from gateway.findings import Finding, Verdict
from gateway.sample_recording import NoRecording, sample_recording
from gateway.settings import ProviderMode
from gateway.task_groups import unwrapped
from gateway.visitor import Json, Order, Surprise
from storage.errors import StorageError

REMEDY = (
    "Do not switch with this release: keep the one before it, or put it back (docs/operations/restoration.md, 3), and "
    "report this line. The drill brings everything else along, so nothing outside can be the cause."
)
"""What to do about any item that is not in order."""

ITEM_SECONDS = 60.0
"""Longest an item may take; each bounds what it waits for itself."""


class DrillReport(msgspec.Struct, frozen=True):
    """`passed`: every item of every list is in order."""

    passed: bool
    seconds: float
    switches: list[Switch]
    findings: list[Finding]


BeforeList = Callable[[Site, ProviderMode], Awaitable[None]]


async def leave_alone(_site: Site, _mode: ProviderMode) -> None:
    """Nothing happens between a flip and its list."""


async def hold_drill(say: Callable[[str], None], before_list: BeforeList = leave_alone) -> DrillReport:
    """Hold it. `say` is told what is going on, in a line each.

    `before_list` is called after each flip, before its list is gone through: there the rehearsal itself is rehearsed,
    by breaking something. Raises `DrillBroken` when nothing can be said about the restoration.
    """
    began = time.monotonic()
    drill = _Drill(say, before_list)
    say("Starting a database, both providers emulated, and a gateway in Qwen mode ...")
    try:
        with unwrapped():
            async with open_site() as site, AsyncExitStack() as processes:
                await drill.hold(site, processes)
    except (Surprise, NoRecording, StorageError, httpx.HTTPError) as error:
        raise DrillBroken(f"The drill could not be held. {error}") from error
    passed = all(finding.verdict is Verdict.OK for finding in drill.findings)
    return DrillReport(passed, round(time.monotonic() - began, 2), drill.switches, drill.findings)


@dataclass
class _Drill:
    say: Callable[[str], None]
    before_list: BeforeList
    switches: list[Switch] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    heard: dict[str, Json] = field(default_factory=dict)
    """Completed tasks of the owner's history, by generation."""

    async def hold(self, site: Site, processes: AsyncExitStack) -> None:
        recording = await sample_recording()
        instance = await processes.enter_async_context(site.gateway(ProviderMode.QWEN))
        site.front = instance.base_url
        cast = await assemble(site, recording)
        traffic = Traffic(cast.crowd)
        scene = Scene(site, instance.mode, cast, traffic, recording, heard=self.heard)
        async with traffic.flowing():
            for mode in (ProviderMode.MODAL, ProviderMode.QWEN):
                instance = await self._flip(scene, instance, mode, processes)
        self.findings.append(await _found("live traffic, to its end", lambda: traffic_lost_nothing(scene)))

    async def _flip(self, scene: Scene, old: Instance, mode: ProviderMode, processes: AsyncExitStack) -> Instance:
        self.say(f"Making rows in {old.mode} mode, then flipping to {mode} with work in flight ...")
        scene.key = f"drill-{old.mode}"
        scene.keyed, spoken = await _speak(scene.owner, old.mode, scene.key)
        self.heard |= spoken
        async with anyio.create_task_group() as listeners:
            flipped = await flip(scene.site, old, mode, scene.cast, listeners, processes)
            scene.mode, scene.ledger = mode, flipped.ledger
            await self._settle(flipped)
        scene.bill = await scene.site.bill()
        await self.before_list(scene.site, mode)
        self.say(f"Going through the list in {mode} mode ...")
        await self._go_through(scene)
        return flipped.instance

    async def _settle(self, flipped: Flipped) -> None:
        """What was in flight comes to its end, of whatever kind."""
        switch = flipped.switch
        self.switches.append(switch)
        self.findings.append(_of_switch(switch))
        for work in flipped.works:
            self.findings.append(await _found(f"{switch.mode}: {work.name}", work.settle))

    async def _go_through(self, scene: Scene) -> None:
        found: dict[str, Finding] = {}

        async def look(name: str, item: Item) -> None:
            found[name] = await _found(f"{scene.mode}: {name}", lambda: item(scene))

        async with anyio.create_task_group() as tasks:
            for name, item in LIST:
                tasks.start_soon(look, name, item)
        for name, item in LAST:
            await look(name, item)
        self.findings += [found[name] for name, _ in (*LIST, *LAST)]


def _of_switch(switch: Switch) -> Finding:
    """A flip with nothing in flight would show nothing, and a process that does not end in order is killed by whoever
    runs it."""
    name = f"{switch.mode}: the old process hands over"
    detail = f"{switch.in_flight} works were in flight; it was gone after {switch.gone_seconds:.2f} s."
    if switch.exit_status or not switch.in_flight:
        return Finding(name, Verdict.FAILED, f"{detail} Its exit status was {switch.exit_status}.", REMEDY)
    return Finding(name, Verdict.OK, detail, seconds=switch.gone_seconds)


async def _found(name: str, look: Callable[[], Awaitable[str]]) -> Finding:
    began = time.monotonic()
    try:
        with anyio.fail_after(ITEM_SECONDS):
            verdict, detail = Verdict.OK, await look()
    except Surprise as surprise:
        verdict, detail = Verdict.FAILED, str(surprise)
    except TimeoutError:
        verdict, detail = Verdict.FAILED, f"It did not come to an end within {ITEM_SECONDS:.0f} s."
    except Exception as error:  # a defect in one item must not hide the others
        verdict, detail = Verdict.FAILED, f"The item itself broke off: {type(error).__name__}: {error}"
    remedy = "" if verdict is Verdict.OK else REMEDY
    return Finding(name, verdict, detail, remedy, round(time.monotonic() - began, 3))


async def _speak(person: Person, mode: ProviderMode, key: str) -> tuple[Order, dict[str, Json]]:
    """Rows to look for later: a task with an idempotency key, and a stream where there are streams. The task's order,
    and all tasks by generation."""
    at, voice = person.user.now, person.voice(mode)
    keyed = await at.generate(voice, SHORT, key=key)
    orders = [keyed]
    if mode is ProviderMode.QWEN:
        orders.append((await at.stream(voice, SHORT)).order)
    tasks = {order.generation_id: await at.completed(order.task_id, seconds=SETTLE_SECONDS) for order in orders}
    return keyed, tasks
