"""Stop at every await there is: a preview and a clone whose work ends at its n-th wait, and is then taken up again.

However far it was: the vendor bills one create at most, each voice it billed is in the ledger, and none waits for ever.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio.to_thread
import pytest

from gateway.errors import ApiError
from schema.http_voices import FinalizeRequest, PreviewRequest
from storage.objects import REFERENCES
from tests.gateway.studio.conftest import Bill
from tests.gateway.studio.front import Front
from tests.gateway.studio.scene import RECORDING, TRANSCRIPT, Scene, open_scene
from tests.support.checkpoints import Checkpoints
from tests.support.emulator import Emulator
from tests.support.postgres import TestDatabase

pytestmark = [pytest.mark.anyio, pytest.mark.integration, pytest.mark.timeout(300)]  # some dozens, one after the other

MOST_CHECKPOINTS = 500
"""Far more waits than making one voice has: the loop over n must end."""

FEWEST_CHECKPOINTS = 12
"""Fewer would mean that the harness does not see the gateway's job."""


@pytest.fixture
async def scene(
    anyio_backend: Any, database: TestDatabase, tmp_path: Path, vendor: Emulator, front: Front
) -> AsyncIterator[Scene]:
    """Its vendor can be waited for: what it was asked it does, also when whoever asked has gone."""
    async with open_scene(database, tmp_path, vendor, DASHSCOPE_BASE_URL=front.base_url) as opened:
        yield opened


async def stops_at(scene: Scene, front: Front, nth: int, work: Callable[[], Awaitable[object]]) -> bool:
    """Whether the job that `work` began was stopped at its n-th wait. Nothing of it is under way any more."""
    supervisor = scene.gateway.services.supervisor

    def stop() -> None:
        for job in supervisor._jobs:
            job.cancel()

    checkpoints = Checkpoints(nth, stop)
    async with checkpoints.installed():
        with suppress(ApiError):  # 503, as when the server stops
            await work()
        await scene.idle()
    await anyio.to_thread.run_sync(front.wait_until_quiet)
    return checkpoints.acted


async def known_at_the_vendor(scene: Scene) -> list[str]:
    """The voices of the ledger."""
    async with scene.gateway.services.database.as_user(scene.user.id) as transaction:
        rows = await transaction._connection.fetch(
            "select provider_voice_id from utter.voice_creates where state = 'created'"
        )
    return [row["provider_voice_id"] for row in rows]


async def test_a_preview(scene: Scene, front: Front, billed: Bill) -> None:
    studio = scene.gateway.services.studio
    wanted = PreviewRequest(text="Hi.", instruct="A calm narrator.", language="English")
    seen: Counter[str] = Counter()
    made = 0
    for nth in range(1, MOST_CHECKPOINTS):
        acted = await stops_at(scene, front, nth, partial(studio.start_preview, scene.user.id, wanted))
        await scene.recover()
        assert billed()["designs"] - made in {0, 1}, f"stopped at wait {nth}"
        made = billed()["designs"]
        assert len(await known_at_the_vendor(scene)) == made, f"stopped at wait {nth}: a voice was lost"
        seen.update(await statuses(scene))
        if not acted:
            break
        await scene.sql("delete from public.tasks")
    assert nth > FEWEST_CHECKPOINTS
    assert await statuses(scene) == ["completed"], "the last one was not stopped"
    assert set(seen) == {"completed", "failed"}, "none waits, some could be saved and some not"
    assert set(await known_at_the_vendor(scene)) <= {create["voice"] for create in scene.emulator.creates()}


async def test_a_clone(scene: Scene, front: Front, billed: Bill) -> None:
    studio = scene.gateway.services.studio
    for nth in range(1, MOST_CHECKPOINTS):
        wanted = FinalizeRequest(voice_id=uuid4(), name="Ada", language="English", transcript=TRANSCRIPT)
        key = f"{scene.user.id}/{wanted.voice_id}/reference.wav"
        await scene.gateway.services.objects.put(REFERENCES, key, RECORDING, "audio/wav")
        acted = await stops_at(scene, front, nth, partial(studio.finalize_clone, scene.user.id, wanted))
        await scene.expire_claims()
        again = await scene.finalize(wanted.voice_id)
        assert again.status in {200, 409}, again.body
        assert await scene.voice(wanted.voice_id) is not None, f"stopped at wait {nth}"
        assert billed()["clones"] == nth, f"stopped at wait {nth}"
        if not acted:
            break
    assert nth > FEWEST_CHECKPOINTS
    assert again.status == 409, "the last one was not stopped"
    assert len(await known_at_the_vendor(scene)) == nth
    assert await scene.orphans() == []


async def statuses(scene: Scene) -> list[str]:
    """Of the user's tasks."""
    async with scene.gateway.services.database.as_user(scene.user.id) as transaction:
        return [row["status"] for row in await transaction._connection.fetch("select status from public.tasks")]
