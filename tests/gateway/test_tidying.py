"""What nobody needs any more goes; what somebody may need stays."""

from __future__ import annotations

import pytest

from gateway.tidying import Tidying
from tests.support.gateway import Caller, Gateway, speech
from tests.support.migrations import connected

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

COUNTS = "select (select count(*) from utter.leases) leases, (select count(*) from utter.idempotency_keys) keys"


async def counts(gateway: Gateway) -> tuple[int, int]:
    async with connected(gateway.database) as sql:
        row = await sql.row(COUNTS)
    return row["leases"], row["keys"]


async def begin(ada: Caller) -> str:
    voice = await ada.add_voice()
    answer = await ada.ask("POST", "/api/generate", headers={"idempotency-key": "k"}, body=speech(voice.id, "Hello"))
    return str(answer.json()["generation_id"])


async def test_what_is_in_use_stays(gateway: Gateway, ada: Caller) -> None:
    generation = await begin(ada)
    await Tidying(gateway.services.database).tidy()
    assert await counts(gateway) == (1, 1)
    assert (await ada.ask("GET", f"/api/generations/{generation}/audio")).status == 404


async def test_leases_of_the_dead_and_old_keys_go(gateway: Gateway, ada: Caller) -> None:
    await begin(ada)
    gateway.database.run("update public.tasks set status = 'failed'")
    gateway.database.run("update utter.leases set until = now() - interval '2 hours'")
    gateway.database.run("update utter.idempotency_keys set created_at = now() - interval '25 hours'")
    await Tidying(gateway.services.database).tidy()
    assert await counts(gateway) == (0, 0)


async def test_a_generation_that_lost_its_task_fails_when_it_is_old(gateway: Gateway, ada: Caller) -> None:
    await begin(ada)
    gateway.database.run("delete from public.tasks")
    await Tidying(gateway.services.database).tidy()
    listed = (await ada.ask("GET", "/api/generations")).json()["generations"]
    assert [row["status"] for row in listed] == ["processing"]
    gateway.database.run("update public.generations set created_at = now() - interval '3 hours'")
    await Tidying(gateway.services.database).tidy()
    listed = (await ada.ask("GET", "/api/generations")).json()["generations"]
    assert [row["status"] for row in listed] == ["failed"]
