"""The lines of product section 4's error table that need a gateway of their own, which may be starved, cut off and
stopped: our own trouble, and a provider that is slow, away or not set up.
"""

from __future__ import annotations

import pytest

from tests.contract.asking import REJECTED, TIMEOUT, UNAVAILABLE, assert_told
from tests.contract.beside import beside
from tests.contract.faults import running_for_ever
from tests.contract.rows import UNKNOWN
from tests.contract.spa import Spa
from tests.contract.things import TRANSCRIPT, Upload, Voice
from tests.contract.world import User, World

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


@pytest.mark.parametrize("mode", ["qwen"])
def test_streams_switched_off(world: World, owner: User) -> None:
    with beside(world, ENABLE_GENERATE_STREAM="false") as server:
        voice = Voice().make(world, owner, {})
        body = {"voice_id": voice, "text": "Good morning."}
        assert_told(server.ask(owner, "POST", "/api/generate/stream", json=body), 409, None)
        assert server.ask(owner, "POST", "/api/generate", json=body).status_code == 200
        assert server.http.get("/api/languages").json()["capabilities"]["supports_generate_stream"] is False


@pytest.mark.parametrize("mode", ["qwen"])
def test_a_vendor_too_slow_then_a_circuit_that_opens(world: World, owner: User) -> None:
    """504 each time the vendor does not speak in time; then nothing is sent to it for a while: 503."""
    # The deadline counts from the request: what a busy machine takes to write rows must leave time to ask the vendor,
    # or it was never asked, and no failure of its is counted.
    limits = {
        "UTTER_FIRST_AUDIO_SECONDS": "1.5",
        "UTTER_CIRCUIT_FAILURES": "2",
        "UTTER_CIRCUIT_PAUSE_SECONDS": "60",
    }
    with beside(world, **limits, DASHSCOPE_REALTIME_URL=world.silent_url) as server:
        body = {"voice_id": Voice().make(world, owner, {}), "text": "Good morning."}
        answers = [server.ask(owner, "POST", "/api/generate/stream", json=body) for _ in range(3)]
        assert_told(answers[0], 504, TIMEOUT)
        assert_told(answers[2], 503, UNAVAILABLE)
        ready = server.http.get("/api/ready")
        assert (ready.status_code, bool(ready.json()["degraded"])) == (200, True)


@pytest.mark.parametrize("mode", ["qwen"])
def test_a_vendor_that_cannot_be_reached(world: World, owner: User) -> None:
    nowhere = {"DASHSCOPE_REALTIME_URL": "ws://127.0.0.1:9/realtime", "DASHSCOPE_BASE_URL": "http://127.0.0.1:9"}
    with beside(world, **nowhere) as server:
        body = {"voice_id": Voice().make(world, owner, {}), "text": "Good morning."}
        assert_told(server.ask(owner, "POST", "/api/generate/stream", json=body), 503, UNAVAILABLE)
        wanted = {"name": "Ada", "language": "English", "transcript": TRANSCRIPT}
        voice = Upload().make(world, owner, {})
        refused = server.ask(owner, "POST", "/api/clone/finalize", json={**wanted, "voice_id": voice})
        assert_told(refused, 503, UNAVAILABLE)


@pytest.mark.parametrize("mode", ["modal"])
def test_a_modal_that_is_not_set_up_is_slow_or_away(world: World, owner: User) -> None:
    body = {"voice_id": Voice().make(world, owner, {}), "text": "Good morning."}
    causes = {
        "": REJECTED,
        "http://127.0.0.1:9/submit": UNAVAILABLE,
        world.silent_url.replace("ws://", "http://"): TIMEOUT,
    }
    for address, category in causes.items():
        with beside(world, MODAL_JOB_SUBMIT=address, UTTER_MODAL_SUBMIT_SECONDS="0.3") as server:
            assert_told(server.ask(owner, "POST", "/api/generate", json=body), 502, category)


def test_a_database_that_is_away(world: World, owner: User) -> None:
    with beside(world) as server:
        with server.without_database():
            for method, path in (("GET", "/voices"), ("GET", "/generations"), ("GET", f"/tasks/{UNKNOWN}")):
                assert_told(server.ask(owner, method, f"/api{path}"), 503, None)
            ready = server.http.get("/api/ready")
            assert (ready.status_code, ready.json()["ready"]) == (503, False)
            assert server.http.get("/api/health").json() == {"ok": True}
        assert server.ask(owner, "GET", "/api/voices").status_code == 200


@pytest.mark.parametrize("mode", ["qwen"])
def test_a_server_that_stops(world: World, owner: User) -> None:
    """New work is refused while what runs may end."""
    with beside(world, UTTER_DRAIN_SECONDS="20") as server, running_for_ever(world, owner) as voice:
        body = {"voice_id": voice, "text": "Good morning, dear listeners, wherever you are."}
        running = server.ask(owner, "POST", "/api/generate", json=body).json()["task_id"]
        other = world.user()
        mine = {"voice_id": Voice().make(world, other, {}), "text": "Good morning."}
        server.drain()
        assert_told(server.ask(other, "POST", "/api/generate", json=mine), 503, None)
        Spa(world, owner).json("POST", f"/tasks/{running}/cancel")


@pytest.mark.parametrize("mode", ["qwen"])
def test_a_server_that_is_full(world: World, owner: User) -> None:
    """Our own overload is nobody else's fault: 503 without a category."""
    with (
        beside(world, UTTER_MAX_CONCURRENT_GENERATIONS="1", UTTER_MAX_WAITING_TASKS="0") as server,
        running_for_ever(world, owner) as voice,
    ):
        body = {"voice_id": voice, "text": "Good morning, dear listeners, wherever you are."}
        running = server.ask(owner, "POST", "/api/generate", json=body).json()["task_id"]
        other = world.user()
        mine = {"voice_id": Voice().make(world, other, {}), "text": "Good morning."}
        for route in ("/api/generate", "/api/generate/stream"):
            assert_told(server.ask(other, "POST", route, json=mine), 503, None)
        Spa(world, owner, server.http).json("POST", f"/tasks/{running}/cancel")
        assert server.ask(other, "POST", "/api/generate", json=mine).status_code == 200
