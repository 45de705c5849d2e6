"""Cancel at every await there is: a generation over a real socket, database and store, stopped at its n-th wait.

However far it was, its rows converge, its socket is closed, nothing of it still runs, no pooled connection is lost, and
there is audio in the store exactly where a row says so.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import anyio
import anyio.to_thread
import pytest

from gateway.audio_log import AudioLog
from gateway.pipeline import run_generation
from gateway.providers.attempts import RetryPolicy
from gateway.providers.circuit import CircuitLimits
from gateway.providers.deadlines import Deadlines
from gateway.providers.dialing import QwenAccount
from gateway.providers.qwen_realtime import QwenOptions, QwenRealtime, open_qwen_realtime
from gateway.running import EndReason, RunningGeneration
from gateway.tracing import Trace
from gateway.transports import Keepalive, asyncio_websocket
from protocol.mp3 import Mp3FrameReader
from tests.support import qwen_dialogue as vendor
from tests.support.checkpoints import Checkpoints
from tests.support.exchange import WAIT_SECONDS
from tests.support.leases import at_once
from tests.support.websocket_servers import Peer, ScriptedServer, trio_server
from tests.support.workshop import Workshop

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

MOST_CHECKPOINTS = 2_000
"""Far more waits than one short generation has: the loop over n must end."""

FEWEST_CHECKPOINTS = 30
"""Fewer would mean that the harness does not see the pipeline's tasks."""

SPEECH = vendor.tone_mp3(0.4)


def speaks(peer: Peer) -> None:
    vendor.begin(peer)
    vendor.respond(peer, "resp_1", vendor.deltas(SPEECH, 1_500))
    vendor.respond(peer, "resp_2", [SPEECH])
    vendor.finish(peer)


def fails_in_the_middle(peer: Peer) -> None:
    vendor.begin(peer)
    vendor.open_response(peer, "resp_1")
    vendor.send_delta(peer, "resp_1", SPEECH)
    peer.cut()
    peer.receive()


@pytest.mark.parametrize(
    ("script", "how_it_would_end"),
    [(speaks, "completed"), (fails_in_the_middle, "failed")],
    ids=["a good session", "a session that is cut"],
)
@pytest.mark.timeout(240)  # some hundred generations, one after the other
async def test_a_generation_that_is_cancelled_there_leaves_nothing_behind(
    workshop: Workshop, script: Callable[[Peer], None], how_it_would_end: str
) -> None:
    seen: Counter[str | None] = Counter()
    with trio_server(script) as server:
        options = QwenOptions(
            QwenAccount(server.url, "sk-test"),
            Deadlines(connect=20, first_audio=30, delta_gap=30, session=50),
            Keepalive(interval=60, timeout=60),
            retries=RetryPolicy(retries=0),
            circuit=CircuitLimits(failures=MOST_CHECKPOINTS),
        )
        async with open_qwen_realtime(options, asyncio_websocket.connect) as provider:
            await _one(workshop, provider, server, act_at=0)  # what is made once, such as pooled connections
            for nth in range(1, MOST_CHECKPOINTS):
                status, acted = await _one(workshop, provider, server, act_at=nth)
                seen[status] += 1
                if not acted:
                    break
    assert nth > FEWEST_CHECKPOINTS
    assert status == how_it_would_end, "the last run was not stopped"
    assert seen["cancelled"] > FEWEST_CHECKPOINTS / 2
    assert set(seen) <= {"cancelled", how_it_would_end, None}


async def _one(
    workshop: Workshop, provider: QwenRealtime, server: ScriptedServer, act_at: int
) -> tuple[str | None, bool]:
    """One generation, cancelled at wait `act_at`. Returns the status its rows ended in, and whether that came."""
    order = await workshop.order(workshop.user())
    running = RunningGeneration(order, Trace(), AudioLog())
    upgrades, before = server.upgrades, _tasks()
    checkpoints = Checkpoints(act_at, lambda: running.stop(EndReason.CANCELLED))
    with anyio.fail_after(WAIT_SECONDS):
        async with checkpoints.installed(), anyio.create_task_group() as group:
            group.start_soon(run_generation, running, provider, workshop.persister, at_once)
        while _tasks() - before:  # a goodbye under way, which is bounded
            await workshop.look()
    assert running.ended.is_set()
    await _sockets_are_closed(server, server.upgrades - upgrades)
    connections = workshop.pool._pool
    assert connections.get_idle_size() == connections.get_size(), "a connection was not given back"
    audio = running.log.slice(0, running.log.size)
    reader = Mp3FrameReader()
    assert reader.feed(audio) == audio, "the log ends in the middle of a frame"
    states = await workshop.states(order)
    stored = await workshop.stored(order)
    if states is None:
        assert stored is None
        return None, checkpoints.acted
    status, task_status, provider_status = states
    assert status == task_status == provider_status
    assert stored == (audio if status == "completed" else None)
    return status, checkpoints.acted


async def _sockets_are_closed(server: ScriptedServer, upgrades: int) -> None:
    for _ in range(upgrades):
        await anyio.to_thread.run_sync(server.next_end)


def _tasks() -> set[asyncio.Task[object]]:
    return {task for task in asyncio.all_tasks() if not task.done()}
