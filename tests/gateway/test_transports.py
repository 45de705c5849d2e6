"""Both transports against a server made with the other library (product decision 14)."""

from __future__ import annotations

import gc
import logging
import socket
import threading
from contextlib import suppress
from typing import Any

import anyio
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.client import ClientProtocol

from gateway.transports import (
    MAX_REFUSAL_BYTES,
    Connect,
    Keepalive,
    MessageRefused,
    TransportClosed,
    TransportUnreachable,
    UpgradeRefused,
)
from protocol.events import MAX_MESSAGE_BYTES
from tests.support.backends import BACKENDS
from tests.support.collector import collector_off
from tests.support.websocket_servers import (
    NO_CLOSE_FRAME,
    QUIET,
    Peer,
    Refusal,
    Serve,
    deaf_server,
    ended,
    frame,
)

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend[0])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


def echo(peer: Peer) -> None:
    while True:
        peer.send(peer.receive())


def listen(peer: Peer) -> None:
    while True:
        peer.receive()


async def test_text_goes_both_ways_in_order(connect: Connect, serve: Serve) -> None:
    with serve(echo) as server:
        async with connect(server.url, {}, QUIET) as transport:
            sent = ["one", "日本語 🙂", "x" * 100_000, ""]
            for message in sent:
                await transport.send(message)
            assert [await transport.receive() for _ in sent] == sent
            await transport.aclose()


async def test_path_and_headers_arrive_and_nothing_is_compressed(connect: Connect, serve: Serve) -> None:
    seen: dict[str, Any] = {}

    def script(peer: Peer) -> None:
        seen.update(path=peer.path, headers=peer.headers)
        peer.send("ok")

    with serve(script) as server:
        headers = {"Authorization": "Bearer k", "user-agent": "utter/test"}
        async with connect(f"{server.url}/api?model=m", headers, QUIET) as transport:
            assert await transport.receive() == "ok"
    assert seen["path"] == "/api?model=m"
    assert seen["headers"]["authorization"] == "Bearer k"
    assert seen["headers"].get("user-agent", "utter/test") == "utter/test"
    assert "sec-websocket-extensions" not in seen["headers"]


async def test_a_binary_message_is_told_from_text(connect: Connect, serve: Serve) -> None:
    with serve(lambda peer: peer.send(b"\x00\x01")) as server:
        async with connect(server.url, {}, QUIET) as transport:
            assert await transport.receive() == b"\x00\x01"


TEXT, BINARY, CLOSE, CONTINUATION = 1, 2, 8, 0
"""Opcodes (RFC 6455, 11.8)."""

GOODBYE = frame(CLOSE, (1000).to_bytes(2, "big"))


async def followed(connect: Connect, url: str, last: str | bytes = "last") -> list[str | bytes]:
    """What was handed over, up to `last`."""
    heard: list[str | bytes] = []

    def on_message(message: str | bytes) -> bool:
        heard.append(message)
        return message == last

    async with connect(url, {}, QUIET) as transport:
        await transport.follow(on_message)
    return heard


FOLLOWED = {
    "each by itself": [frame(TEXT, b"one"), frame(TEXT, b"two"), frame(TEXT, b"last")],
    "all at once": [frame(TEXT, b"one") + frame(TEXT, b"two") + frame(TEXT, b"last")],
    "more behind the last": [frame(TEXT, b"one"), frame(TEXT, b"two") + frame(TEXT, b"last") + frame(TEXT, b"three")],
    "the end behind the last": [frame(TEXT, b"one"), frame(TEXT, b"two") + frame(TEXT, b"last") + GOODBYE],
    "one in parts": [
        frame(TEXT, b"one"),
        frame(TEXT, b"tw", last=False),
        frame(CONTINUATION, b"o") + frame(TEXT, b"last"),
    ],
}


@pytest.mark.parametrize("wire", FOLLOWED.values(), ids=FOLLOWED)
async def test_all_is_handed_over_in_order_up_to_the_last(connect: Connect, wire: list[bytes]) -> None:
    with deaf_server(*wire) as server:
        assert await followed(connect, server.url) == ["one", "two", "last"]


async def test_a_binary_message_among_others_keeps_its_place(connect: Connect) -> None:
    wire = frame(TEXT, b"one") + frame(BINARY, b"\x00") + frame(TEXT, b"two") + frame(TEXT, b"last")
    with deaf_server(wire, wire) as server:
        assert await followed(connect, server.url) == ["one", b"\x00", "two", "last"]


async def test_what_follows_the_last_can_be_received(connect: Connect) -> None:
    with deaf_server(frame(TEXT, b"one"), frame(TEXT, b"last") + frame(TEXT, b"more")) as server:
        async with connect(server.url, {}, QUIET) as transport:
            await transport.follow(lambda message: message == "last")
            assert await transport.receive() == "more"


async def test_who_stops_following_has_lost_nothing(connect: Connect) -> None:
    heard: list[str | bytes] = []

    def on_message(message: str | bytes) -> bool:
        heard.append(message)
        return False

    with deaf_server(frame(TEXT, b"one"), frame(TEXT, b"two")) as server:
        async with connect(server.url, {}, QUIET) as transport:
            with anyio.move_on_after(0.01):
                await transport.follow(on_message)
            while len(heard) < 2:
                heard.append(await transport.receive())
    assert heard == ["one", "two"]


async def test_who_follows_is_told_of_the_end(connect: Connect, serve: Serve) -> None:
    heard: list[str | bytes] = []

    def script(peer: Peer) -> None:
        peer.send("one")
        peer.close(1000)

    def on_message(message: str | bytes) -> bool:
        heard.append(message)
        return False

    with serve(script) as server:
        async with connect(server.url, {}, QUIET) as transport:
            with pytest.raises(TransportClosed) as caught:
                await transport.follow(on_message)
    assert (heard, caught.value.code) == (["one"], 1000)


async def test_text_that_is_none_ends_the_socket_for_who_follows(connect: Connect) -> None:
    with deaf_server(frame(TEXT, b"one"), frame(TEXT, b"\xff")) as server:
        async with connect(server.url, {}, QUIET) as transport:
            with pytest.raises(TransportClosed):
                await transport.follow(lambda _: False)


async def test_what_the_follower_raises_comes_out(connect: Connect) -> None:
    def on_message(message: str | bytes) -> bool:
        raise LookupError(message)

    with deaf_server(frame(TEXT, b"one"), frame(TEXT, b"two")) as server:
        async with connect(server.url, {}, QUIET) as transport:
            with pytest.raises(LookupError):
                await transport.follow(on_message)
            assert await transport.receive() == "two"


async def test_a_refused_upgrade_keeps_status_and_the_start_of_the_body(connect: Connect, serve: Serve) -> None:
    body = b'{"code":"InvalidApiKey"}' + b" " * MAX_REFUSAL_BYTES
    with serve(echo, Refusal(401, body)) as server:
        with pytest.raises(UpgradeRefused) as caught:
            async with connect(server.url, {}, QUIET):
                pytest.fail("the upgrade was refused")
        assert (caught.value.status, caught.value.body) == (401, body[:MAX_REFUSAL_BYTES])


async def test_a_redirect_is_a_refusal_and_is_not_followed(connect: Connect, serve: Serve) -> None:
    with serve(echo) as other, serve(echo, Refusal(302, headers={"Location": f"{other.url}/"})) as server:
        with pytest.raises(UpgradeRefused) as caught:
            async with connect(server.url, {"Authorization": "Bearer k"}, QUIET):
                pytest.fail("the upgrade was refused")
        assert caught.value.status == 302
        assert other.upgrades == 0


async def test_nobody_listening_is_unreachable(connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(TransportUnreachable):
        async with connect(f"ws://127.0.0.1:{port}", {}, QUIET):
            pytest.fail("nobody listens")


@pytest.mark.parametrize("scheme", ["ws", "wss"])
@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH\r\n\r\n"], ids=["hang-up", "not-http"])
async def test_a_server_that_does_not_speak_http_is_unreachable(connect: Connect, scheme: str, answer: bytes) -> None:
    def accept() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept)
        thread.start()
        with pytest.raises(TransportUnreachable):
            async with connect(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}", {}, QUIET):
                pytest.fail("that was no WebSocket")
        await anyio.to_thread.run_sync(thread.join)


async def test_a_close_frame_comes_after_the_messages_before_it(connect: Connect, serve: Serve) -> None:
    def script(peer: Peer) -> None:
        peer.send("last words")
        peer.close(1007, "Access denied")

    with serve(script) as server:
        async with connect(server.url, {}, QUIET) as transport:
            assert await transport.receive() == "last words"
            with pytest.raises(TransportClosed) as caught:
                await transport.receive()
            assert (caught.value.code, caught.value.reason) == (1007, "Access denied")
            assert not isinstance(caught.value, MessageRefused)
            with pytest.raises(TransportClosed):
                await transport.send("too late")


async def test_a_cut_has_no_close_frame(connect: Connect, serve: Serve) -> None:
    with serve(lambda peer: peer.cut()) as server:
        async with connect(server.url, {}, QUIET) as transport:
            with pytest.raises(TransportClosed) as caught:
                await transport.receive()
            assert caught.value.code == NO_CLOSE_FRAME


async def test_a_cut_connection_does_not_wait_for_the_garbage_collector(connect: Connect, serve: Serve) -> None:
    with collector_off():
        with serve(Peer.cut) as server:
            async with connect(server.url, {}, QUIET) as transport:
                with suppress(TransportClosed):  # which pytest.raises would keep
                    await transport.receive()
            del transport
        with anyio.fail_after(10):
            while any(issubclass(type(it), ClientConnection | ClientProtocol) for it in gc.get_objects()):  # noqa: ASYNC110
                await anyio.sleep(0.01)


async def test_the_largest_message_passes_and_one_more_byte_is_refused(connect: Connect, serve: Serve) -> None:
    def script(peer: Peer) -> None:
        peer.send("x" * MAX_MESSAGE_BYTES)
        peer.send("x" * (MAX_MESSAGE_BYTES + 1))
        listen(peer)

    with serve(script) as server:
        async with connect(server.url, {}, QUIET) as transport:
            assert len(await transport.receive()) == MAX_MESSAGE_BYTES
            with pytest.raises(MessageRefused):
                await transport.receive()


async def test_aclose_says_goodbye_once(connect: Connect, serve: Serve) -> None:
    with serve(listen) as server:
        async with connect(server.url, {}, QUIET) as transport:
            await transport.aclose(1000)
            await transport.aclose(1000)
            with pytest.raises(TransportClosed):
                await transport.receive()
            with pytest.raises(TransportClosed):
                await transport.send("too late")
        assert await ended(server) == 1000


async def test_aclose_does_not_wait_for_a_peer_that_never_answers(connect: Connect) -> None:
    with deaf_server() as server:
        async with connect(server.url, {}, QUIET) as transport:
            with anyio.fail_after(20):
                await transport.aclose(1000)
            with pytest.raises(TransportClosed):
                await transport.receive()


async def test_a_missing_pong_ends_the_socket(connect: Connect) -> None:
    with deaf_server() as server:
        async with connect(server.url, {}, Keepalive(interval=0.01, timeout=0.01)) as transport:
            with pytest.raises(TransportClosed) as caught:
                await transport.receive()
            assert caught.value.code == NO_CLOSE_FRAME


async def test_pongs_keep_a_silent_socket_open(connect: Connect, serve: Serve) -> None:
    release = threading.Event()

    def script(peer: Peer) -> None:
        release.wait()
        peer.send("still here")

    with serve(script) as server:
        async with connect(server.url, {}, Keepalive(interval=0.01, timeout=10)) as transport:
            with anyio.move_on_after(0.2):
                await transport.receive()
                pytest.fail("nothing was sent yet")
            release.set()
            assert await transport.receive() == "still here"


async def test_cancelling_drops_the_socket_without_a_goodbye(connect: Connect, serve: Serve) -> None:
    with serve(listen) as server:
        async with anyio.create_task_group() as tasks:

            async def session() -> None:
                async with connect(server.url, {}, QUIET) as transport:
                    await transport.send("hello")
                    tasks.cancel_scope.cancel()
                    await transport.receive()

            tasks.start_soon(session)
        assert await ended(server) == NO_CLOSE_FRAME


async def test_cancelling_the_close_handshake_drops_the_socket(connect: Connect) -> None:
    with deaf_server() as server:
        async with connect(server.url, {}, QUIET) as transport:
            with anyio.CancelScope() as scope:
                scope.cancel()
                await transport.aclose(1000)
            with pytest.raises(TransportClosed):
                await transport.receive()


async def test_a_cancelled_send_leaves_the_transport_closed(connect: Connect) -> None:
    with deaf_server() as server:
        async with connect(server.url, {}, QUIET) as transport:
            with anyio.move_on_after(0.5) as scope:
                while True:
                    await transport.send("x" * MAX_MESSAGE_BYTES)
            assert scope.cancelled_caught, "the peer reads nothing, so a send must have blocked"
            with pytest.raises(TransportClosed):
                await transport.send("appended to half a frame")
            with pytest.raises(TransportClosed):
                await transport.receive()


async def test_an_error_in_the_block_comes_out_bare(connect: Connect, serve: Serve) -> None:
    with serve(listen) as server:
        with pytest.raises(ZeroDivisionError) as caught:
            async with connect(server.url, {}, QUIET):
                _ = 1 / 0
        assert not isinstance(caught.value, BaseExceptionGroup)
        assert await ended(server) == NO_CLOSE_FRAME


async def test_a_deadline_on_the_upgrade_is_the_callers(connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"ws://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(TimeoutError):
            with anyio.fail_after(0.1):
                async with connect(url, {}, QUIET):
                    pytest.fail("nobody accepted")


async def test_neither_key_nor_text_reaches_a_log(
    connect: Connect, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with serve(listen) as server:
        async with connect(server.url, {"Authorization": "Bearer sk-secret"}, QUIET) as transport:
            await transport.send("a private text")
            await transport.aclose()
        await ended(server)
    client_side = [record for record in caplog.records if not record.name.startswith("websockets.server")]
    written = "\n".join(record.getMessage() for record in client_side)
    assert "sk-secret" not in written
    assert "a private text" not in written
