"""What goes wrong in a Qwen session, and what is made of it: fault, retry, deadline."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.providers.attempts import RetryPolicy
from gateway.providers.dialing import QwenAccount
from gateway.providers.qwen_realtime import QwenOptions, open_qwen_realtime
from gateway.tracing import Trace
from gateway.transports import Connect
from protocol.errors import Fault, ProviderFailure
from protocol.events import MAX_MESSAGE_BYTES
from tests.gateway.providers.conftest import PATIENT, QUIET, Serve
from tests.support import qwen_dialogue as vendor
from tests.support.qwen_dialogue import (
    AUDIO,
    cuts_at_once,
    responds,
    speaks,
)
from tests.support.qwen_take import Take, failure_of
from tests.support.websocket_servers import (
    Peer,
    Refusal,
    Script,
)

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


# ------------------------------------------------------------------------------------------------- what goes wrong


def says_error(code: str, message: str) -> Script:
    def script(peer: Peer) -> None:
        vendor.greet(peer)
        vendor.read_flight(peer)
        peer.send(vendor.event("error", error={"code": code, "message": message}))
        vendor.wait_for_goodbye(peer)

    return script


def closes(code: int, reason: str) -> Script:
    def script(peer: Peer) -> None:
        vendor.begin(peer)
        peer.close(code, reason)

    return script


def sends(*messages: str | bytes) -> Script:
    def script(peer: Peer) -> None:
        vendor.begin(peer)
        for message in messages:
            peer.send(message)
        vendor.wait_for_goodbye(peer)

    return script


def cuts_before_audio(peer: Peer) -> None:
    vendor.begin(peer)
    vendor.open_response(peer, "resp_1")
    peer.cut()


BAD_VOICE = "The requested voice 'v' is not supported."

FINAL: list[Any] = [
    pytest.param(says_error("invalid_value", BAD_VOICE), Fault.VOICE_MISMATCH, id="bad-voice"),
    pytest.param(says_error("Arrearage", "Access denied."), Fault.ACCOUNT_ARREARS, id="arrears-event"),
    pytest.param(says_error("Model.NotExist", "gone"), Fault.MODEL_GONE, id="model-gone"),
    pytest.param(says_error("what_is_this", "?"), Fault.UNKNOWN, id="unknown-code"),
    pytest.param(
        closes(1007, "Access denied, please make sure your account is in good standing."),
        Fault.ACCOUNT_ARREARS,
        id="arrears-close",
    ),
    pytest.param(responds(), Fault.NO_AUDIO, id="no-audio"),
    pytest.param(responds(b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(5000)), Fault.WRONG_AUDIO, id="wav"),
    pytest.param(sends("}{"), Fault.PROTOCOL_BROKEN, id="garbage"),
    pytest.param(sends(b"\x00\xff" * 100), Fault.PROTOCOL_BROKEN, id="binary"),
    pytest.param(sends("x" * (MAX_MESSAGE_BYTES + 1)), Fault.PROTOCOL_BROKEN, id="oversize"),
]  # fmt: skip

RETRIED: list[Any] = [
    pytest.param(says_error("Throttling.RateQuota", "slow down"), Fault.RATE_LIMITED, id="throttled"),
    pytest.param(says_error("InternalError", "oops"), Fault.OVERLOADED, id="internal-error"),
    pytest.param(closes(1011, "internal"), Fault.OVERLOADED, id="close-1011"),
    pytest.param(closes(1000, ""), Fault.CONNECTION_LOST, id="early-goodbye"),
    pytest.param(cuts_before_audio, Fault.CONNECTION_LOST, id="cut"),
    pytest.param(cuts_at_once, Fault.CONNECTION_LOST, id="cut-at-once"),
    pytest.param(responds(status="failed"), Fault.RESPONSE_FAILED, id="response-failed"),
]


@pytest.mark.parametrize(("script", "fault"), FINAL)
async def test_a_final_fault_is_told_at_the_first_attempt(
    provider: Any, serve: Serve, script: Script, fault: Fault
) -> None:
    take = Take()
    with serve(script) as server:
        failure = await failure_of(provider, server, take)
        assert server.upgrades == 1
    assert failure.fault is fault
    assert failure.session_id == vendor.SESSION_ID
    assert take.audio == b""


@pytest.mark.parametrize(("script", "fault"), RETRIED)
async def test_a_passing_fault_before_audio_is_tried_three_times(
    provider: Any, serve: Serve, script: Script, fault: Fault
) -> None:
    with serve(script) as server:
        failure = await failure_of(provider, server, Take())
        assert server.upgrades == 3
    assert failure.fault is fault


REFUSALS: list[Any] = [
    pytest.param(401, "InvalidApiKey", "Invalid API-key provided.", Fault.KEY_REFUSED, 1, id="wrong-key"),
    pytest.param(403, "Workspace.AccessDenied", "Workspace access denied.", Fault.ACCESS_DENIED, 1, id="workspace"),
    pytest.param(429, "Throttling", "Requests throttling triggered.", Fault.RATE_LIMITED, 3, id="throttled"),
    pytest.param(429, "PostpaidBillOverdue", "pay", Fault.ACCOUNT_ARREARS, 1, id="billing-dressed-as-429"),
    pytest.param(404, "ModelNotFound", "no such model", Fault.MODEL_GONE, 1, id="model-gone"),
    pytest.param(503, "ModelUnavailable", "later", Fault.OVERLOADED, 3, id="overloaded"),
]


@pytest.mark.parametrize(("status", "code", "message", "fault", "upgrades"), REFUSALS)
async def test_a_refused_upgrade_is_classified_by_its_envelope(
    provider: Any, serve: Serve, status: int, code: str, message: str, fault: Fault, upgrades: int
) -> None:
    body = json.dumps({"code": code, "message": message, "request_id": "r-1"}).encode()
    with serve(speaks, Refusal(status, body)) as server:
        failure = await failure_of(provider, server, Take())
        assert server.upgrades == upgrades
    assert failure.fault is fault
    assert (failure.vendor.code, failure.vendor.http_status, failure.vendor.request_id) == (code, status, "r-1")


NESTED = b'{"a":' + b"[" * 4000


@pytest.mark.parametrize("body", [b"", b"<html>\xff</html>", b'{"code":5}', b"[]", NESTED], ids=lambda body: body[:8])
async def test_a_refused_upgrade_with_any_other_body_goes_by_its_status(
    provider: Any, serve: Serve, body: bytes
) -> None:
    with serve(speaks, Refusal(401, body)) as server:
        failure = await failure_of(provider, server, Take())
    assert failure.fault is Fault.KEY_REFUSED
    assert failure.vendor.http_status == 401


async def test_a_refusal_is_understood_when_a_field_of_it_is_null(provider: Any, serve: Serve) -> None:
    body = b'{"code":"Arrearage","message":null,"request_id":null}'
    with serve(speaks, Refusal(403, body)) as server:
        failure = await failure_of(provider, server, Take())
    assert failure.fault is Fault.ACCOUNT_ARREARS


async def test_a_retry_that_works_leaves_no_trace_in_the_audio(provider: Any, serve: Serve) -> None:
    attempts: list[int] = []

    def script(peer: Peer) -> None:
        attempts.append(1)
        (cuts_before_audio if len(attempts) == 1 else speaks)(peer)

    take = Take()
    with serve(script, Refusal(429, b'{"code":"Throttling"}', times=1)) as server:
        async with provider(server.url) as opened:
            outcome = await take.speak(opened)
        assert server.upgrades == 3
    assert outcome.attempts == 3
    assert bytes(take.audio) == AUDIO


async def test_every_attempt_waits_for_a_turn_of_its_own_before_it_connects(connect: Connect, serve: Serve) -> None:
    upgrades_at_turn: list[int] = []
    with serve(speaks, Refusal(429, b'{"code":"Throttling"}', times=1)) as server:

        async def turn(_trace: Trace, longest_wait: float) -> None:
            assert 0 < longest_wait <= PATIENT.first_audio
            upgrades_at_turn.append(server.upgrades)

        options = QwenOptions(
            QwenAccount(server.url, "sk-test", ""), PATIENT, QUIET, retries=RetryPolicy(first_pause=0.001)
        )
        async with open_qwen_realtime(options, connect, turn) as opened:
            await Take().speak(opened)
    assert upgrades_at_turn == [0, 1]


async def test_without_a_turn_nothing_is_opened(connect: Connect, serve: Serve) -> None:
    async def turn(_trace: Trace, _longest_wait: float) -> None:
        raise ProviderFailure(Fault.ACCESS_DENIED)

    with serve(speaks) as server:
        options = QwenOptions(QwenAccount(server.url, "sk-test", ""), PATIENT, QUIET)
        async with open_qwen_realtime(options, connect, turn) as q:
            with pytest.raises(ProviderFailure) as refused:
                await Take().speak(q)
        assert server.upgrades == 0
    assert refused.value.fault is Fault.ACCESS_DENIED


async def test_a_cut_in_the_middle_is_not_retried_and_keeps_what_came(provider: Any, serve: Serve) -> None:
    def script(peer: Peer) -> None:
        vendor.begin(peer)
        vendor.open_response(peer, "resp_1")
        vendor.send_delta(peer, "resp_1", AUDIO[: vendor.DELTA_BYTES])
        peer.cut()

    take = Take()
    with serve(script) as server:
        failure = await failure_of(provider, server, take)
        assert server.upgrades == 1
    assert failure.fault is Fault.CONNECTION_LOST
    assert failure.last_event_id == "event_response.audio.delta"
    assert 0 < len(take.audio) <= vendor.DELTA_BYTES
    assert AUDIO.startswith(take.audio)


# ------------------------------------------------------------------------------------------------- pcm upstream


async def test_a_wav_header_is_not_taken_for_pcm(provider: Any, serve: Serve) -> None:
    with serve(responds(b"RI", b"FF\x24\x00\x00\x00WAVEfmt " + bytes(5000))) as server:
        failure = await failure_of(provider, server, Take(), upstream_format="pcm")
    assert failure.fault is Fault.WRONG_AUDIO


async def test_less_than_a_sample_of_pcm_is_no_audio(provider: Any, serve: Serve) -> None:
    with serve(responds(b"\x01")) as server:
        failure = await failure_of(provider, server, Take(), upstream_format="pcm")
    assert failure.fault is Fault.NO_AUDIO


async def test_work_of_an_earlier_mode_says_that_the_key_is_gone(connect: Connect, serve: Serve) -> None:
    with serve(speaks) as server:
        async with open_qwen_realtime(QwenOptions(QwenAccount(server.url, ""), PATIENT, QUIET), connect) as q:
            with pytest.raises(ProviderFailure) as refused:
                await Take().speak(q)
        assert server.upgrades == 0
    assert refused.value.fault is Fault.NOT_CONFIGURED
