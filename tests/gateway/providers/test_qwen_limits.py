"""What a Qwen session may take, in time and in audio, and what becomes of one that takes more."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from gateway.providers.attempts import RetryPolicy
from gateway.providers.circuit import Circuit, CircuitLimits
from gateway.providers.conversation import MAX_AUDIO_SECONDS
from gateway.providers.deadlines import Deadlines
from protocol.errors import Fault, ProviderFailure
from tests.gateway.providers.conftest import Serve
from tests.support import qwen_dialogue as vendor
from tests.support.qwen_dialogue import cuts_at_once, drips_for_ever, stalls_before_audio, stalls_in_the_middle
from tests.support.qwen_take import Take, failure_of
from tests.support.websocket_servers import NO_CLOSE_FRAME, Peer, Script, ScriptedServer, ended

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


async def test_nobody_listening_is_unreachable(provider: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    failure = await failure_of(provider, ScriptedServer(f"ws://127.0.0.1:{port}"), Take())
    assert failure.fault is Fault.UNREACHABLE


async def test_a_server_that_does_not_accept_is_a_connect_timeout(provider: Any) -> None:
    deadlines = Deadlines(connect=0.05, first_audio=30, delta_gap=30, session=50)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = ScriptedServer(f"ws://127.0.0.1:{listener.getsockname()[1]}")
        failure = await failure_of(provider, server, Take(), deadlines=deadlines)
    assert failure.fault is Fault.CONNECT_TIMEOUT


STALLS: list[Any] = [
    pytest.param(vendor.wait_for_goodbye, {"first_audio": 0.3}, Fault.FIRST_AUDIO_TIMEOUT, id="mute"),
    pytest.param(stalls_before_audio, {"first_audio": 0.3}, Fault.FIRST_AUDIO_TIMEOUT, id="no-audio-comes"),
    pytest.param(stalls_in_the_middle, {"delta_gap": 0.3}, Fault.AUDIO_STALLED, id="audio-stops"),
    pytest.param(drips_for_ever, {"session": 0.3}, Fault.SESSION_TIMEOUT, id="no-end-comes"),
]  # fmt: skip


@pytest.mark.parametrize(("script", "limits", "fault"), STALLS)
async def test_each_deadline_has_its_fault_and_drops_the_socket(
    provider: Any, serve: Serve, script: Script, limits: dict[str, float], fault: Fault
) -> None:
    deadlines = Deadlines(**{"connect": 20, "first_audio": 30, "delta_gap": 30, "session": 50, **limits})
    with serve(script) as server:
        failure = await failure_of(provider, server, Take(), deadlines=deadlines)
        assert server.upgrades == 1
        assert await ended(server) == NO_CLOSE_FRAME
    assert failure.fault is fault


async def test_retries_stop_at_the_first_audio_deadline(provider: Any, serve: Serve) -> None:
    deadlines = Deadlines(connect=20, first_audio=0.0005, delta_gap=30, session=50)
    with serve(cuts_at_once) as server:
        failure = await failure_of(provider, server, Take(), deadlines=deadlines)
        assert server.upgrades <= 1
    assert failure.fault in {Fault.CONNECT_TIMEOUT, Fault.FIRST_AUDIO_TIMEOUT, Fault.CONNECTION_LOST}


async def test_speech_without_end_is_stopped_long_before_it_fills_the_memory(provider: Any, serve: Serve) -> None:
    frame = b"\xff\xf3\x14\xc0".ljust(24, b"\0")  # 8 kbit/s at 24 kHz: 24 ms in 24 bytes
    frames_a_minute = 2_500

    def script(peer: Peer) -> None:
        vendor.begin(peer)
        vendor.open_response(peer, "resp_1")
        while True:
            vendor.send_delta(peer, "resp_1", frame * frames_a_minute)

    take = Take()
    with serve(script) as server:
        failure = await failure_of(provider, server, take)
        assert server.upgrades == 1
    assert failure.fault is Fault.PROTOCOL_BROKEN
    assert len(take.audio) == (MAX_AUDIO_SECONDS / 60 + 1) * frames_a_minute * len(frame)


async def test_a_provider_that_keeps_failing_is_left_alone(provider: Any, serve: Serve) -> None:
    with serve(cuts_at_once) as server:
        async with provider(server.url, retries=RetryPolicy(retries=0), circuit=CircuitLimits(failures=2)) as opened:
            faults = [(await _fault_of(opened)) for _ in range(4)]
            assert opened.circuit.state is Circuit.OPEN
        assert server.upgrades == 2
    assert faults == [Fault.CONNECTION_LOST, Fault.CONNECTION_LOST, Fault.CIRCUIT_OPEN, Fault.CIRCUIT_OPEN]


async def test_an_open_circuit_ends_the_retries_of_those_who_wait(provider: Any, serve: Serve) -> None:
    with serve(cuts_at_once) as server:
        async with provider(server.url, circuit=CircuitLimits(failures=1)) as opened:
            assert await _fault_of(opened) is Fault.CIRCUIT_OPEN
        assert server.upgrades == 1


async def _fault_of(opened: Any) -> Fault:
    with pytest.raises(ProviderFailure) as caught:
        await Take().speak(opened)
    return caught.value.fault
