"""A good Qwen session, and its end by cancelling, over real sockets."""

from __future__ import annotations

import json
import socket
import threading
from typing import Any

import anyio
import pytest

from gateway.providers.audio_path import open_audio_path
from gateway.providers.conversation import Conversation, Recipient
from gateway.providers.conversation import Script as ConversationScript
from gateway.providers.deadlines import SessionClock
from gateway.providers.pcm_encoder import PcmEncoder
from gateway.providers.realtime_connection import RealtimeConnection
from gateway.providers.sockets import SocketKeeper
from gateway.tracing import Trace
from gateway.transports import Connect, TransportClosed
from protocol.session import SessionConfig
from tests.gateway.providers.conftest import PATIENT, QUIET, Serve
from tests.support import qwen_dialogue as vendor
from tests.support.qwen_dialogue import (
    AUDIO,
    AUDIO_SECONDS,
    drips_for_ever,
    speaks,
    stalls_before_audio,
    stalls_in_the_middle,
)
from tests.support.qwen_take import TEXT, Take
from tests.support.websocket_servers import (
    NO_CLOSE_FRAME,
    Peer,
    Script,
    deaf_server,
    ended,
)

pytestmark = pytest.mark.anyio


# ------------------------------------------------------------------------------------------------- a good session


async def test_the_audio_arrives_whole_and_the_outcome_tells_the_session(provider: Any, serve: Serve) -> None:
    take = Take()
    with serve(speaks) as server:
        async with provider(server.url) as opened:
            outcome = await take.speak(opened)
        assert await ended(server) == 1000
    assert bytes(take.audio) == AUDIO
    assert outcome.session_id == vendor.SESSION_ID
    assert (outcome.responses, outcome.attempts) == (1, 1)
    assert outcome.characters == vendor.MP3_CHARACTERS_BILLED
    assert outcome.audio_seconds == pytest.approx(AUDIO_SECONDS, abs=0.1)
    assert take.statuses == ["ws_connecting", "session_updated", "streaming"]
    steps = [(timing.step, timing.outcome) for timing in take.trace.timings]
    assert steps == [(f"provider.{step}", "completed") for step in ("connect", "session", "first_audio")]
    assert take.trace.ids["provider_session_id"] == vendor.SESSION_ID


async def test_one_flight_holds_configuration_text_and_finish(provider: Any, serve: Serve) -> None:
    seen: dict[str, Any] = {}

    def script(peer: Peer) -> None:
        vendor.greet(peer)
        # Nothing is answered until all of it is here: a driver that waited for an answer would wait for ever.
        seen.update(path=peer.path, headers=peer.headers, flight=vendor.read_flight(peer))
        vendor.accept(peer, seen["flight"])
        vendor.respond(peer, "resp_1", vendor.deltas(AUDIO))
        vendor.finish(peer)

    with serve(script) as server:
        async with provider(f"{server.url}/realtime") as opened:
            await Take(trace=Trace(trace_id="4bf92f3577b34da6a3ce929d0e0e4736")).speak(opened)
    update, *appends, finish = seen["flight"]
    assert seen["path"] == "/realtime?model=model-1"
    assert seen["headers"]["authorization"] == "Bearer sk-test"
    assert seen["headers"]["x-dashscope-workspace"] == "ws-1"
    assert seen["headers"]["traceparent"].startswith("00-4bf92f3577b34da6a3ce929d0e0e4736-")
    assert update["session"] == {
        "voice": "voice-1",
        "mode": "server_commit",
        "response_format": "mp3",
        "sample_rate": 24_000,
        "language_type": "English",
    }
    assert {append["type"] for append in appends} == {"input_text_buffer.append"}
    assert "".join(append["text"] for append in appends) == TEXT
    assert finish["type"] == "session.finish"
    ids = [message["event_id"] for message in seen["flight"]]
    assert len(set(ids)) == len(ids)


async def test_nothing_is_sent_before_clearance_though_the_socket_is_open(provider: Any, serve: Serve) -> None:
    connected, cleared, early = threading.Event(), threading.Event(), []

    def script(peer: Peer) -> None:
        connected.set()
        vendor.greet(peer)
        flight = vendor.read_flight(peer)
        early.append(not cleared.is_set())
        vendor.accept(peer, flight)
        vendor.respond(peer, "resp_1", [AUDIO])
        vendor.finish(peer)

    async def clearance() -> None:
        await anyio.to_thread.run_sync(connected.wait)
        cleared.set()

    with serve(script) as server:
        async with provider(server.url) as opened:
            await Take().speak(opened, clearance)
    assert early == [False]


async def test_what_clearance_raises_comes_out_bare_and_drops_the_socket(provider: Any, serve: Serve) -> None:
    def script(peer: Peer) -> None:
        vendor.greet(peer)
        peer.receive()
        pytest.fail("something was sent without clearance")

    async def clearance() -> None:
        raise LookupError("no rows")

    with serve(script) as server:
        async with provider(server.url) as opened:
            with pytest.raises(LookupError, match="no rows"):
                await Take().speak(opened, clearance)
        assert await ended(server) == NO_CLOSE_FRAME


async def test_several_responses_and_late_deltas_join_in_arrival_order(provider: Any, serve: Serve) -> None:
    pieces = vendor.deltas(AUDIO)

    def script(peer: Peer) -> None:
        vendor.begin(peer)
        vendor.respond(peer, "resp_1", pieces[:1])
        vendor.respond(peer, "resp_2", pieces[1:-1])
        vendor.send_delta(peer, "resp_2", pieces[-1])
        vendor.finish(peer)

    take = Take()
    with serve(script) as server:
        async with provider(server.url) as opened:
            outcome = await take.speak(opened)
    assert bytes(take.audio) == AUDIO
    assert outcome.responses == 2
    assert outcome.characters == 2 * vendor.MP3_CHARACTERS_BILLED


async def test_what_comes_after_session_finished_is_ignored(provider: Any, serve: Serve) -> None:
    def script(peer: Peer) -> None:
        vendor.begin(peer)
        vendor.respond(peer, "resp_1", [AUDIO])
        peer.send(vendor.event("session.finished"))
        vendor.send_delta(peer, "resp_1", AUDIO)
        peer.send("not even JSON")
        vendor.wait_for_goodbye(peer)

    take = Take()
    with serve(script) as server:
        async with provider(server.url) as opened:
            await take.speak(opened)
    assert bytes(take.audio) == AUDIO


async def test_an_unknown_event_is_counted_and_harmless(provider: Any, serve: Serve) -> None:
    def script(peer: Peer) -> None:
        vendor.begin(peer)
        peer.send(vendor.event("response.mood", mood="cheerful"))
        vendor.respond(peer, "resp_1", [AUDIO])
        vendor.finish(peer)

    with serve(script) as server:
        async with provider(server.url) as opened:
            outcome = await Take().speak(opened)
    assert outcome.unknown_events == ("response.mood",)


async def test_many_at_once_do_not_mix(provider: Any, serve: Serve) -> None:
    takes = [Take() for _ in range(8)]
    with serve(speaks) as server:
        async with provider(server.url) as opened, anyio.create_task_group() as tasks:
            for take in takes:
                tasks.start_soon(take.speak, opened)
    assert {bytes(take.audio) for take in takes} == {AUDIO}


# ------------------------------------------------------------------------------------------------- cancelling


@pytest.mark.parametrize("script", [stalls_before_audio, stalls_in_the_middle, drips_for_ever])
async def test_cancelling_drops_the_vendors_socket(provider: Any, serve: Serve, script: Script) -> None:
    take = Take()
    with serve(script) as server:
        async with provider(server.url) as opened:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(take.speak, opened)
                while "session_updated" not in take.statuses:
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
            # The provider is still open: it is the cancelled utterance that let go of its socket.
            assert await ended(server) == NO_CLOSE_FRAME


async def test_cancelling_while_the_socket_opens_leaves_nothing_behind(provider: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with provider(f"ws://127.0.0.1:{listener.getsockname()[1]}") as opened:
            with anyio.move_on_after(0.1):
                await Take().speak(opened)
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(20)
                while await anyio.to_thread.run_sync(connection.recv, 4096):
                    pass


# ------------------------------------------------------------------------------------------------- sending and closing


async def test_a_server_that_talks_before_it_listens_does_not_deadlock(connect: Connect, serve: Serve) -> None:
    """Both directions hold more than the socket buffers: who only sends, or only receives, waits for ever."""
    appends, deltas = 4_000, 400
    flight: list[dict[str, Any]] = []

    def script(peer: Peer) -> None:
        vendor.greet(peer)
        update = json.loads(peer.receive())
        vendor.accept(peer, [update])
        vendor.open_response(peer, "resp_1")
        for _ in range(deltas):
            vendor.send_delta(peer, "resp_1", AUDIO)
        flight.extend(vendor.read_flight(peer))
        vendor.close_response(peer, "resp_1")
        vendor.finish(peer)

    take = Take()
    config = SessionConfig(voice="v", response_format="mp3", sample_rate=24_000, language_type="Auto")
    with serve(script) as server:
        async with anyio.create_task_group() as tasks:
            connection = RealtimeConnection(await SocketKeeper(tasks, connect, QUIET).open(server.url, {}))
            clock = SessionClock(PATIENT, anyio.current_time() + PATIENT.first_audio)
            recipient = Recipient(take, take.trace, take.statuses.append)
            conversation = Conversation(connection, open_audio_path("mp3", 24_000), clock, recipient)
            await conversation.run(ConversationScript(config, ("text " * 400,) * appends), anyio.lowlevel.checkpoint)
            connection.close_politely()
    assert len(flight) == appends + 1
    assert len(take.audio) == deltas * len(AUDIO)


async def test_the_outcome_does_not_wait_for_the_vendors_goodbye(connect: Connect) -> None:
    order: list[str] = []
    with deaf_server() as server:
        async with anyio.create_task_group() as tasks:
            held = await SocketKeeper(tasks, connect, QUIET).open(server.url, {})
            held.close_politely()
            order.append("outcome")
        order.append("closed")
        with pytest.raises(TransportClosed):
            await held.transport.receive()
    assert order == ["outcome", "closed"]


# ------------------------------------------------------------------------------------------------- pcm upstream


async def test_pcm_is_asked_for_and_encoded_here(provider: Any, serve: Serve) -> None:
    pcm = vendor.tone_pcm(AUDIO_SECONDS)
    asked: list[dict[str, Any]] = []

    def script(peer: Peer) -> None:
        asked.extend(vendor.begin(peer))
        vendor.respond(peer, "resp_1", vendor.deltas(pcm, 14_699))  # odd: a sample is cut by every second delta
        vendor.finish(peer)

    take = Take()
    with serve(script) as server:
        async with provider(server.url, upstream_format="pcm") as opened:
            outcome = await take.speak(opened)
    assert asked[0]["session"]["response_format"] == "pcm"
    whole = PcmEncoder(vendor.SAMPLE_RATE)
    assert bytes(take.audio) == whole.encode(pcm) + whole.finish(), "where it was cut must not be heard"
    assert outcome.audio_seconds == pytest.approx(AUDIO_SECONDS, abs=0.1)
