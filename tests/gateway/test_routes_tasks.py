"""Tasks over HTTP (v1 contract 1.8, 2 and appendix A)."""

from __future__ import annotations

from uuid import UUID

import pytest

from protocol.errors import Fault
from tests.support.exchange import Exchange
from tests.support.gateway import Caller, Gateway

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

BASE = "http://127.0.0.1:8080"


async def started(caller: Caller) -> Exchange:
    voice = await caller.add_voice()
    answer = await caller.generate(voice.id)
    assert answer.status == 200
    return answer


async def ended(gateway: Gateway, generation_id: str) -> None:
    running = gateway.services.supervisor.get(UUID(generation_id))
    if running is not None:
        await running.ended.wait()


async def test_a_task_from_start_to_end(gateway: Gateway, ada: Caller) -> None:
    accepted = (await started(ada)).json()
    path = f"/api/tasks/{accepted['task_id']}"
    await gateway.stage.say(b"one")
    running = (await ada.ask("GET", path)).json()
    assert running["status"] in {"pending", "processing"}
    assert running["provider_status"] == "streaming"
    assert "result" not in running
    assert (running["error"], running["modal_status"], running["modal_poll_count"]) == (None, None, 0)
    gateway.stage.finish()
    await ended(gateway, accepted["generation_id"])
    done = (await ada.ask("GET", path)).json()
    assert (done["status"], done["provider"], done["provider_status"]) == ("completed", "qwen", "completed")
    assert done["result"] == {
        "audio_url": f"/api/generations/{accepted['generation_id']}/audio",
        "audio_bytes": 3,
        "audio_sha256": "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed",
    }


async def test_the_stream_url_plays_without_a_token_while_it_runs_and_afterwards(gateway: Gateway, ada: Caller) -> None:
    accepted = (await started(ada)).json()
    path = f"/api/tasks/{accepted['task_id']}"
    await gateway.stage.say(b"one")
    url = (await ada.ask("GET", path)).json()["stream_url"].removeprefix(BASE)
    async with ada.listening(url) as listener:
        await listener.received(3)
        gateway.stage.finish()
        await listener.over()
        assert listener.complete
    await ended(gateway, accepted["generation_id"])
    for link in (url, (await ada.ask("GET", path)).json()["stream_url"].removeprefix(BASE)):
        assert (await gateway.ask("GET", link)).body == b"one"


async def test_a_failed_task_says_why_and_has_nothing_to_play(gateway: Gateway, ada: Caller) -> None:
    accepted = (await started(ada)).json()
    await gateway.stage.began()
    gateway.stage.fail(Fault.MODEL_GONE)
    await ended(gateway, accepted["generation_id"])
    task = (await ada.ask("GET", f"/api/tasks/{accepted['task_id']}")).json()
    assert (task["status"], task["error"]) == ("failed", Fault.MODEL_GONE.facts.detail)
    assert not {"result", "stream_url"} & set(task)


async def test_cancel(gateway: Gateway, ada: Caller) -> None:
    accepted = (await started(ada)).json()
    task = accepted["task_id"]
    await gateway.stage.say(b"one")
    answer = await ada.ask("POST", f"/api/tasks/{task}/cancel")
    assert (answer.status, answer.json()) == (200, {"task_id": task, "cancelled": True})
    assert gateway.services.supervisor.active == 0
    row = (await ada.ask("GET", f"/api/tasks/{task}")).json()
    assert (row["status"], row["provider_status"]) == ("cancelled", "cancelled")
    assert "stream_url" not in row
    history = (await ada.ask("GET", "/api/generations")).json()["generations"]
    assert history[0]["status"] == "cancelled"
    assert (await ada.ask("POST", f"/api/tasks/{task}/cancel")).status == 400
    voice = await ada.add_voice()
    assert (await ada.generate(voice.id)).status == 200, "the guard of one active task was not freed"


async def test_what_has_ended_cannot_be_cancelled(gateway: Gateway, ada: Caller) -> None:
    accepted = (await started(ada)).json()
    await gateway.stage.say(b"one")
    gateway.stage.finish()
    await ended(gateway, accepted["generation_id"])
    answer = await ada.ask("POST", f"/api/tasks/{accepted['task_id']}/cancel")
    assert answer.status == 400
    assert (await ada.ask("GET", f"/api/tasks/{accepted['task_id']}")).json()["status"] == "completed"


async def test_a_task_that_nobody_runs_can_be_cancelled(ada: Caller) -> None:
    new = await ada.add_generation()
    assert (await ada.ask("POST", f"/api/tasks/{new.task_id}/cancel")).status == 200
    history = (await ada.ask("GET", "/api/generations")).json()["generations"]
    assert history[0]["status"] == "cancelled"


async def test_deleting_a_running_task_cancels_it(gateway: Gateway, ada: Caller) -> None:
    accepted = (await started(ada)).json()
    await gateway.stage.say(b"one")
    answer = await ada.ask("DELETE", f"/api/tasks/{accepted['task_id']}")
    assert (answer.status, answer.json()) == (200, {"ok": True})
    assert gateway.services.supervisor.active == 0
    assert (await ada.ask("GET", f"/api/tasks/{accepted['task_id']}")).status == 404
    assert (await ada.ask("DELETE", f"/api/tasks/{accepted['task_id']}")).status == 404
    history = (await ada.ask("GET", "/api/generations")).json()["generations"]
    assert history[0]["status"] == "cancelled"


async def test_anothers_task_is_not_there(gateway: Gateway, ada: Caller, bob: Caller) -> None:
    task = (await started(ada)).json()["task_id"]
    assert (await bob.ask("GET", f"/api/tasks/{task}")).status == 404
    assert (await bob.ask("POST", f"/api/tasks/{task}/cancel")).status == 404
    assert (await bob.ask("DELETE", f"/api/tasks/{task}")).status == 404
    assert gateway.services.supervisor.active == 1
