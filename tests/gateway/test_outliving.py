"""Paid work goes on when whoever asked for it leaves (product section 11)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from gateway.errors import ApiError
from gateway.outliving import outliving_request
from gateway.supervisor import Supervisor
from storage.errors import DatabaseUnavailable
from tests.support.exchange import WAIT_SECONDS
from tests.support.leases import open_keeper, room_for
from tests.support.workshop import Pause, Workshop

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


@pytest.fixture
async def supervisor(anyio_backend: Any, workshop: Workshop) -> AsyncIterator[Supervisor]:
    # No generation is started here, so no provider is asked for.
    async with Supervisor(None, workshop.persister, open_keeper(workshop.pool), room_for(2)) as opened:  # type: ignore[arg-type]
        yield opened


async def test_the_outcome_comes_back(supervisor: Supervisor) -> None:
    async def work() -> str:
        return "made"

    assert await outliving_request(supervisor, "work", work) == "made"


@pytest.mark.parametrize("error", [ApiError(409, "No."), DatabaseUnavailable("away"), RuntimeError("a defect")])
async def test_a_failure_comes_back_and_only_a_defect_is_a_crash(supervisor: Supervisor, error: Exception) -> None:
    async def work() -> str:
        raise error

    with capture_logs() as logs, pytest.raises(type(error)) as caught:
        await outliving_request(supervisor, "work", work)
    assert caught.value is error
    with anyio.fail_after(WAIT_SECONDS):
        await supervisor.wait_idle()
    crashed = [line["event"] for line in logs if line["event"] == "job.crashed"]
    assert crashed == (["job.crashed"] if isinstance(error, RuntimeError) else [])


async def test_it_ends_though_nobody_waits(supervisor: Supervisor) -> None:
    pause, ended = Pause(), anyio.Event()

    async def work() -> str:
        await pause()
        ended.set()
        return "made"

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(outliving_request, supervisor, "work", work)
        await pause.reached()
        tasks.cancel_scope.cancel()
    assert supervisor.active == 1
    pause.end()
    with anyio.fail_after(WAIT_SECONDS):
        await ended.wait()
        await supervisor.wait_idle()


async def test_a_server_that_stops_says_so(workshop: Workshop) -> None:
    pause = Pause()
    told: list[int] = []

    async def work() -> str:
        await pause()
        return "made"

    async def request() -> None:
        with pytest.raises(ApiError) as caught:
            await outliving_request(supervised, "work", work)
        told.append(caught.value.status)

    supervised = Supervisor(None, workshop.persister, open_keeper(workshop.pool), room_for(2))  # type: ignore[arg-type]
    async with anyio.create_task_group() as tasks, supervised:
        tasks.start_soon(request)
        await pause.reached()
    assert told == [503]


async def test_one_too_many_is_refused_before_it_begins(supervisor: Supervisor) -> None:
    pauses = [Pause(), Pause()]
    for pause in pauses:
        supervisor.start_job("busy", pause)

    async def work() -> str:
        raise AssertionError("never begun")

    with pytest.raises(ApiError) as caught:
        await outliving_request(supervisor, "work", work)
    assert caught.value.status == 503
    for pause in pauses:
        pause.end()
