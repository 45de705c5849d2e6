"""How the world breaks: each scenario is one kind of trouble, at moments its seed decides."""

from __future__ import annotations

import random
import signal
from collections.abc import Awaitable, Callable

import anyio
import anyio.to_thread

from tests.chaos.world import World

FIFTY = 50

FIFTY_PLAY_SECONDS = 60.0
"""Until so many play at once; half a minute on a small machine."""

Scenario = Callable[[World, random.Random, int], Awaitable[None]]


async def kill(world: World, rng: random.Random, moments: int) -> None:
    """kill -9 of a gateway, at a random moment, and a new one in its place a little later."""
    for _ in range(moments):
        await anyio.sleep(rng.uniform(0.05, 1.5))
        victim = rng.choice([one for one in world.gateways if one.running])
        victim.kill()
        await anyio.sleep(rng.uniform(0.0, 1.0))
        victim.start()
        await victim.ready()


async def database(world: World, rng: random.Random, moments: int) -> None:
    """PostgreSQL restarts, connections reset in mid-transaction, and short absences."""
    for _ in range(moments):
        await anyio.sleep(rng.uniform(0.2, 2.0))
        match rng.choice(["restart", "cut", "away", "slow"]):
            case "restart":
                await anyio.to_thread.run_sync(world.restart_postgres)
            case "cut":
                world.database_proxy.cut()
            case "away":
                world.database_proxy.go_down()
                await anyio.sleep(rng.uniform(0.1, 3.0))
                world.database_proxy.come_back()
            case _:
                world.database_proxy.delay_seconds = rng.uniform(0.05, 0.5)
                await anyio.sleep(rng.uniform(0.5, 2.0))
                world.database_proxy.come_back()


async def store(world: World, rng: random.Random, moments: int) -> None:
    """The object store cut, slow, and away for longer than a finished generation waits for it."""
    for moment in range(moments):
        await anyio.sleep(rng.uniform(0.2, 2.0))
        if moment % 3 == 0:
            world.store_proxy.go_down()
            await anyio.sleep(rng.uniform(0.5, 8.0))
        elif moment % 3 == 1:
            world.store_proxy.bytes_per_second = 20_000
            await anyio.sleep(rng.uniform(0.5, 3.0))
        else:
            world.store_proxy.cut()
        world.store_proxy.come_back()


async def provider(world: World, rng: random.Random, moments: int) -> None:
    """The provider's sockets reset in mid-sentence, and the provider away."""
    for moment in range(moments):
        await anyio.sleep(rng.uniform(0.3, 2.0))
        if moment % 2:
            world.provider_proxy.cut()
        else:
            world.provider_proxy.go_down()
            await anyio.sleep(rng.uniform(0.1, 1.0))
        world.provider_proxy.come_back()


async def restart(world: World, rng: random.Random, moments: int) -> None:
    """SIGTERM under load, one gateway after the other, as a rollout does it; sometimes it is told twice."""
    for _ in range(moments):
        for gateway in world.gateways:
            await anyio.sleep(rng.uniform(0.2, 1.5))
            gateway.signal(signal.SIGTERM)
            if rng.random() < 0.3:
                await anyio.sleep(rng.uniform(0.0, 0.5))
                gateway.signal(signal.SIGTERM)
            await gateway.over()
            gateway.start()
            await gateway.ready()


async def drain(world: World, rng: random.Random, moments: int) -> None:
    """SIGTERM to the only gateway while fifty streams play. None of them is cut; who comes meanwhile asks again."""
    (gateway,) = world.gateways
    for _ in range(moments):
        with anyio.fail_after(FIFTY_PLAY_SECONDS):
            while await anyio.to_thread.run_sync(world.emulator.speaking) < FIFTY:  # noqa: ASYNC110  nothing tells us
                await anyio.sleep(0.1)
        await anyio.sleep(rng.uniform(0.0, 1.0))
        gateway.signal(signal.SIGTERM)
        await gateway.over()
        gateway.start()
        await gateway.ready()


async def everything(world: World, rng: random.Random, moments: int) -> None:
    """All of it, in any order."""
    for _ in range(moments):
        await rng.choice([kill, database, store, provider])(world, rng, 1)


SCENARIOS: dict[str, Scenario] = {
    "kill": kill,
    "database": database,
    "store": store,
    "provider": provider,
    "restart": restart,
    "drain": drain,
    "everything": everything,
}
