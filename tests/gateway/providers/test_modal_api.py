"""The Modal driver against a real socket that does what each test says (v1 contract 4)."""

from __future__ import annotations

import base64
import gzip
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import anyio.to_thread
import pytest

from gateway.providers.attempts import RetryPolicy
from gateway.providers.modal_api import ModalApi, ModalDeadlines, ModalEndpoints, open_modal_api
from protocol import modal
from protocol.errors import Fault, ProviderFailure
from protocol.modal import DesignVoice, JobState, ResultNotReady, SubmitJob
from tests.support.backends import BACKENDS
from tests.support.modal_server import JOB, RUNNING, WAV, ModalServer, Reply, modal_server

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

FAST = RetryPolicy(first_pause=0.001)
PATIENT = ModalDeadlines()
HURRIED = ModalDeadlines(submit=0.3, status=0.3, result=0.3, cancel=0.3, design=0.6)
HANGS = Reply(held=True)
SPEAK = SubmitJob("Good morning.", "English", b"RIFF....", "The quick brown fox.")
VOICE = DesignVoice("Hello.", "English", "A calm narrator.")
ELSEWHERE = Reply(status=303, raw=b"", location="/design?call=fc-7")
NOT_YET = Reply(status=202, raw=b"")


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """The driver is anyio's, as all of `protocol`'s drivers are (product decision 13)."""
    return request.param


@pytest.fixture
def server() -> Iterator[ModalServer]:
    with modal_server() as running:
        yield running


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two looks at a design; how long they are is `tests/protocol/test_modal.py`'s."""
    monkeypatch.setattr(modal, "DESIGN_FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(modal, "DESIGN_LONGEST_PAUSE_SECONDS", 0.01)


@pytest.fixture
async def api(anyio_backend: Any, server: ModalServer) -> AsyncIterator[ModalApi]:
    async with open_modal_api(endpoints(server), PATIENT, FAST) as opened:
        yield opened


@pytest.fixture
async def hurried(anyio_backend: Any, server: ModalServer) -> AsyncIterator[ModalApi]:
    async with open_modal_api(endpoints(server), HURRIED, FAST) as opened:
        yield opened


def endpoints(server: ModalServer) -> ModalEndpoints:
    return ModalEndpoints(*(server.url(name) for name in ("submit", "status", "result", "cancel", "design")))


async def fetch(api: ModalApi) -> bytes:
    async def store(pieces: AsyncIterator[bytes]) -> bytes:
        return b"".join([piece async for piece in pieces])

    return await api.fetch_result(JOB, store)


async def call(api: ModalApi, name: str) -> Any:
    match name:
        case "submit":
            return await api.submit(SPEAK)
        case "status":
            return await api.status(JOB)
        case "result":
            return await fetch(api)
        case "cancel":
            return await api.cancel(JOB)
        case _:
            return await api.design(VOICE)


async def fault_of(api: ModalApi, name: str) -> Fault:
    with pytest.raises(ProviderFailure) as caught:
        await call(api, name)
    return caught.value.fault


CALLS = ["submit", "status", "result", "cancel", "design"]
ASKING = ["status", "result", "cancel"]
COSTING = ["submit", "design"]


async def test_a_submit(api: ModalApi, server: ModalServer) -> None:
    assert await api.submit(SPEAK, {"traceparent": "00-1-2-01"}) == JOB
    asked = server.asked("submit")[0]
    assert (asked.method, asked.headers["content-type"]) == ("POST", "application/json")
    assert base64.b64decode(asked.json()["ref_audio_base64"]) == b"RIFF...."
    assert asked.headers["traceparent"] == "00-1-2-01"
    assert "authorization" not in asked.headers


async def test_status_result_and_cancel(api: ModalApi, server: ModalServer) -> None:
    server.order("status", RUNNING)
    assert (await api.status(JOB)).state is JobState.RUNNING
    assert (await api.status(JOB)).state is JobState.READY
    assert await fetch(api) == WAV
    assert await api.cancel(JOB)
    assert server.asked("status")[0].query == server.asked("result")[0].query == {"job_id": [JOB]}
    assert server.asked("cancel")[0].json() == {"job_id": JOB}


async def test_a_design_at_once(api: ModalApi, server: ModalServer) -> None:
    assert await api.design(VOICE) == WAV
    assert server.asked("design")[0].json()["instruct"] == "A calm narrator."


async def test_a_design_that_outlives_its_request(api: ModalApi, server: ModalServer) -> None:
    again = Reply(status=302, raw=b"", location="?call=fc-8")
    server.order("design", ELSEWHERE, NOT_YET, NOT_YET, again, NOT_YET, Reply(raw=WAV))
    assert await api.design(VOICE) == WAV
    asked = server.asked("design")
    assert [request.method for request in asked] == ["POST", "GET", "GET", "GET", "GET", "GET"]
    assert [request.query.get("call") for request in asked] == [None, ["fc-7"], ["fc-7"], ["fc-7"], ["fc-8"], ["fc-8"]]


async def test_a_look_at_a_design_that_gets_no_answer_is_repeated(api: ModalApi, server: ModalServer) -> None:
    server.order("design", ELSEWHERE, Reply(cut=True), Reply(raw=WAV, short=True), Reply(raw=WAV))
    assert await api.design(VOICE) == WAV
    assert [request.method for request in server.asked("design")] == ["POST", "GET", "GET", "GET"]


async def test_a_look_at_a_design_that_is_refused_is_not(api: ModalApi, server: ModalServer) -> None:
    server.order("design", ELSEWHERE, Reply({"detail": "CUDA"}, status=500))
    assert await fault_of(api, "design") is Fault.OVERLOADED
    assert len(server.asked("design")) == 2


async def test_no_redirect_leads_to_another_host(api: ModalApi, server: ModalServer) -> None:
    with modal_server() as inner:
        for location in (inner.url("design"), "http://169.254.169.254/latest/meta-data/"):
            server.order("design", Reply(status=303, raw=b"", location=location))
            assert await fault_of(api, "design") is Fault.PROTOCOL_BROKEN
        server.order("design", ELSEWHERE, Reply(status=303, raw=b"", location=inner.url("design")))
        assert await fault_of(api, "design") is Fault.PROTOCOL_BROKEN
        assert inner.asked("design") == []


@pytest.mark.parametrize("name", ["submit", "status", "result", "cancel"])
async def test_only_a_design_is_ever_redirected(api: ModalApi, server: ModalServer, name: str) -> None:
    server.order(name, Reply(status=307, raw=b"", location=server.url("design")))
    assert await fault_of(api, name) is Fault.NOT_CONFIGURED
    assert server.asked("design") == []


@pytest.mark.parametrize("name", ASKING)
@pytest.mark.parametrize("trouble", [Reply(cut=True), Reply({"detail": "x"}, status=503), Reply({}, status=429)])
async def test_what_only_asks_is_tried_again(api: ModalApi, server: ModalServer, name: str, trouble: Reply) -> None:
    server.order(name, trouble, trouble)
    await call(api, name)
    assert len(server.asked(name)) == 3


@pytest.mark.parametrize("name", ASKING)
async def test_but_not_for_ever(api: ModalApi, server: ModalServer, name: str) -> None:
    server.usual[name] = Reply({"detail": "x"}, status=500)
    assert await fault_of(api, name) is Fault.OVERLOADED
    assert len(server.asked(name)) == 3


@pytest.mark.parametrize("name", COSTING)
@pytest.mark.parametrize(
    ("trouble", "fault"),
    [
        (Reply(cut=True), Fault.CONNECTION_LOST),
        (Reply({"detail": "x"}, status=500), Fault.OVERLOADED),
        (Reply({"detail": "x"}, status=429), Fault.RATE_LIMITED),
        (Reply({"detail": "x"}, status=400), Fault.BAD_INPUT),
    ],
)
async def test_what_costs_is_sent_once(
    api: ModalApi, server: ModalServer, name: str, trouble: Reply, fault: Fault
) -> None:
    server.order(name, trouble)
    assert await fault_of(api, name) is fault
    assert len(server.asked(name)) == 1


@pytest.mark.parametrize("name", CALLS)
async def test_a_server_that_is_away(api: ModalApi, name: str) -> None:
    with modal_server() as gone:
        addresses = endpoints(gone)
    async with open_modal_api(addresses, PATIENT, FAST) as nowhere:
        assert await fault_of(nowhere, name) is Fault.UNREACHABLE


@pytest.mark.parametrize("name", CALLS)
async def test_a_server_that_hangs(hurried: ModalApi, server: ModalServer, name: str) -> None:
    server.usual[name] = HANGS
    assert await fault_of(hurried, name) is Fault.ANSWER_TIMEOUT
    assert len(server.asked(name)) == 1


async def test_a_design_that_is_never_done(hurried: ModalApi, server: ModalServer) -> None:
    server.order("design", ELSEWHERE)
    server.usual["design"] = NOT_YET
    assert await fault_of(hurried, "design") is Fault.ANSWER_TIMEOUT
    assert len(server.asked("design")) > 3


async def test_a_design_that_is_not_done_and_nowhere(api: ModalApi, server: ModalServer) -> None:
    server.order("design", NOT_YET)
    assert await fault_of(api, "design") is Fault.PROTOCOL_BROKEN


async def test_a_result_that_is_not_ready(api: ModalApi, server: ModalServer) -> None:
    server.order("result", NOT_YET)
    with pytest.raises(ResultNotReady):
        await fetch(api)
    assert len(server.asked("result")) == 1


async def test_a_result_that_is_cut_off_is_a_failure_and_not_audio(api: ModalApi, server: ModalServer) -> None:
    server.order("result", Reply(raw=WAV, short=True))
    assert await fault_of(api, "result") is Fault.CONNECTION_LOST


async def test_what_the_store_raises_passes_through(api: ModalApi, server: ModalServer) -> None:
    async def refuse(_pieces: AsyncIterator[bytes]) -> None:
        raise LookupError("no room")

    with pytest.raises(LookupError, match="no room"):
        await api.fetch_result(JOB, refuse)
    assert await fetch(api) == WAV, "the connection was not left in order"
    assert len(server.asked("result")) == 2


@pytest.mark.parametrize("name", ["submit", "status"])
@pytest.mark.parametrize("answer", [b"", b"<html>busy</html>", b"[]", b'{"job_id": 7, "status'])
async def test_answers_that_cannot_be_read(api: ModalApi, server: ModalServer, name: str, answer: bytes) -> None:
    server.usual[name] = Reply(raw=answer)
    assert await fault_of(api, name) is Fault.PROTOCOL_BROKEN
    assert len(server.asked(name)) == 1


@pytest.mark.parametrize(("name", "limit"), [("submit", "MAX_JSON_BYTES"), ("status", "MAX_JSON_BYTES")])
async def test_json_has_a_limit(api: ModalApi, server: ModalServer, name: str, limit: str) -> None:
    padding = "x" * getattr(modal, limit)
    server.usual[name] = Reply({"job_id": JOB, "status": "running", "padding": padding})
    assert await fault_of(api, name) is Fault.PROTOCOL_BROKEN


@pytest.mark.parametrize(("name", "limit"), [("result", "MAX_AUDIO_BYTES"), ("design", "MAX_PREVIEW_BYTES")])
async def test_audio_has_a_limit(
    api: ModalApi, server: ModalServer, monkeypatch: pytest.MonkeyPatch, name: str, limit: str
) -> None:
    monkeypatch.setattr(modal, limit, len(WAV))
    assert await call(api, name) == WAV
    monkeypatch.setattr(modal, limit, len(WAV) - 1)
    assert await fault_of(api, name) is Fault.PROTOCOL_BROKEN


@pytest.mark.parametrize("name", ["result", "design"])
async def test_what_calls_itself_a_document_is_no_audio(api: ModalApi, server: ModalServer, name: str) -> None:
    for kind in ("application/json", "text/html; charset=utf-8"):
        server.order(name, Reply(raw=b'{"job_id": "fc-', content_type=kind))
        assert await fault_of(api, name) is Fault.PROTOCOL_BROKEN
    for kind in ("audio/wav", "application/octet-stream", ""):
        server.order(name, Reply(raw=WAV, content_type=kind))
        assert await call(api, name) == WAV


@pytest.mark.parametrize("name", CALLS)
async def test_a_compressed_answer_is_refused_unread(api: ModalApi, server: ModalServer, name: str) -> None:
    """It would be kept as audio that nothing plays, or unpack to a thousand times its size."""
    bomb = gzip.compress(bytes(10_000_000))
    server.usual[name] = Reply(raw=bomb, content_type="", encoding="gzip")
    assert await fault_of(api, name) is Fault.PROTOCOL_BROKEN


async def test_a_submit_never_meets_a_stale_connection(api: ModalApi, server: ModalServer) -> None:
    """The server ends every connection after its answer without a word, as an idle one ends."""
    server.usual["submit"] = Reply({"job_id": JOB}, stale=True)
    for _ in range(5):
        assert await api.submit(SPEAK) == JOB
    connections = [asked.connection for asked in server.asked("submit")]
    assert len(set(connections)) == 5


async def test_polls_share_a_connection_and_survive_its_end(api: ModalApi, server: ModalServer) -> None:
    server.order("status", RUNNING, Reply(RUNNING.content, stale=True))
    for _ in range(4):
        await api.status(JOB)
    connections = [asked.connection for asked in server.asked("status")]
    assert connections[0] == connections[1] != connections[2] == connections[3]


@pytest.mark.parametrize("name", ["submit", "status", "result", "design"])
async def test_an_address_that_is_not_set(anyio_backend: Any, name: str) -> None:
    async with open_modal_api(ModalEndpoints()) as nothing:
        assert await fault_of(nothing, name) is Fault.NOT_CONFIGURED
        assert not nothing.knows_jobs


async def test_the_deployed_app_has_no_cancel(server: ModalServer, anyio_backend: Any) -> None:
    async with open_modal_api(ModalEndpoints(status=server.url("status"))) as deployed:
        assert not await deployed.cancel(JOB)
        assert deployed.knows_jobs
    assert server.asked("cancel") == []


async def test_an_endpoint_may_have_a_query_of_its_own(server: ModalServer, anyio_backend: Any) -> None:
    async with open_modal_api(ModalEndpoints(status=f"{server.url('status')}?app=tts")) as api:
        await api.status(JOB)
    assert server.asked("status")[0].query == {"app": ["tts"], "job_id": [JOB]}


async def test_a_cancelled_call_gives_its_connection_back(
    api: ModalApi, server: ModalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.order("status", HANGS)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(api.status, JOB)
        await anyio.to_thread.run_sync(server.wait_for, "status")
        tasks.cancel_scope.cancel()
    server.release()
    assert (await api.status(JOB)).state is JobState.READY
