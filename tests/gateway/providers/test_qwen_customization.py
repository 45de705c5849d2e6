"""The customization driver against a scripted HTTP server; `test_qwen_emulator` asks the emulator."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

import pytest

from gateway.providers import qwen_customization
from gateway.providers.attempts import RetryPolicy
from gateway.providers.qwen_customization import (
    PATH,
    AmbiguousCreate,
    CustomizationOptions,
    QwenCustomization,
    VoiceKind,
    open_qwen_customization,
)
from protocol.customization import PAGE_SIZE, AudioSource, data_url, preferred_name
from protocol.customization_answers import MAX_ANSWER_BYTES
from protocol.errors import Fault, ProviderFailure

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

OWNER = UUID("6f1c1d5e-0f3b-4b57-9a8d-0e7a51c0ffee")
NAME = preferred_name(OWNER)
VC_MODEL, VD_MODEL = "vc-target", "vd-target"
RECORDING = AudioSource(data_url("audio/wav", b"RIFF...."))


@dataclass
class Answer:
    """What the server does with one request."""

    body: Any = None
    status: int = 200
    raw: bytes | None = None
    cut: bool = False
    hang: bool = False
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class VendorRest:
    """A server that gives its answers in order and keeps the requests."""

    url: str = ""
    answers: list[Answer] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def actions(self) -> list[str]:
        return [request["input"]["action"] for request in self.requests]


@contextmanager
def rest(*answers: Answer) -> Iterator[VendorRest]:
    vendor = VendorRest(answers=list(answers))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            vendor.requests.append(json.loads(body) | {"path": self.path})
            vendor.headers.append({name.lower(): value for name, value in self.headers.items()})
            answer = vendor.answers.pop(0)
            if answer.hang:
                vendor.over.wait()
            if answer.hang or answer.cut:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            content = json.dumps(answer.body).encode() if answer.raw is None else answer.raw
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(len(content)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                self.wfile.write(content)
            except OSError:
                self.close_connection = True  # the client had enough of an oversized answer

        def log_message(self, *_: object) -> None:
            return  # the default writes to stderr

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    vendor.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield vendor
    finally:
        vendor.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


@asynccontextmanager
async def driver(url: str, **changes: Any) -> AsyncIterator[QwenCustomization]:
    options = CustomizationOptions(
        base_url=url,
        api_key="sk-test",
        workspace="ws-1",
        customization_models={VoiceKind.CLONED: "enroll", VoiceKind.DESIGNED: "design"},
        target_models={VoiceKind.CLONED: VC_MODEL, VoiceKind.DESIGNED: VD_MODEL},
        retries=RetryPolicy(first_pause=0.001),
        **{"settle_seconds": 0.0, **changes},
    )
    async with open_qwen_customization(options) as opened:
        yield opened


def voice_id(name: str = NAME, kind: str = "vc") -> str:
    return f"qwen-tts-{kind}-{name}-voice-20250812105009984-838b"


def created(voice: str, target_model: str = VC_MODEL, **output: Any) -> Answer:
    body = {"output": {"voice": voice, "target_model": target_model, **output}, "usage": {"count": 1}}
    return Answer(body | {"request_id": "r-1"})


def listed(*voices: str, target_model: str = VC_MODEL) -> Answer:
    entries = [
        {"voice": voice, "target_model": target_model, "gmt_create": f"2026-01-01 00:00:{index:02}"}
        for index, voice in enumerate(voices)
    ]
    return Answer({"output": {"voice_list": entries}, "usage": {"count": 0}, "request_id": "r-2"})


def refused(status: int, code: str, message: str = "") -> Answer:
    return Answer({"code": code, "message": message, "request_id": "r-3"}, status=status)


async def clone(customization: QwenCustomization) -> Any:
    return await customization.clone(OWNER, RECORDING, transcript="Guten Tag, wie geht es Ihnen?", language="Auto")


# ------------------------------------------------------------------------------------------------- creating


async def test_a_code_nobody_knows_is_counted(anyio_backend: Any) -> None:
    with rest(refused(418, "Brand.New"), refused(418, "Brand.New")) as vendor:
        async with driver(vendor.url) as customization:
            with pytest.raises(ProviderFailure):
                await clone(customization)
            with pytest.raises(ProviderFailure):
                await customization.list_voices(VoiceKind.CLONED)
    assert customization.unknown_codes.seen == {"Brand.New": 2}


async def test_a_clone_is_one_create_with_our_own_name(anyio_backend: Any) -> None:
    with rest(created(voice_id())) as vendor:
        async with driver(vendor.url) as customization:
            voice = await clone(customization)
    assert (voice.voice, voice.target_model, voice.request_id, voice.billed) == (voice_id(), VC_MODEL, "r-1", 1)
    assert vendor.requests == [
        {
            "path": PATH,
            "model": "enroll",
            "input": {
                "action": "create",
                "target_model": VC_MODEL,
                "preferred_name": NAME,
                "audio": {"data": RECORDING.data},
                "text": "Guten Tag, wie geht es Ihnen?",
                "language": "de",
            },
        }
    ]
    assert vendor.headers[0]["authorization"] == "Bearer sk-test"
    assert vendor.headers[0]["x-dashscope-workspace"] == "ws-1"


async def test_a_degraded_clone_says_why(anyio_backend: Any) -> None:
    with rest(created(voice_id(), fallback_mode=True, fallback_reason="no_merged_segments")) as vendor:
        async with driver(vendor.url) as customization:
            assert (await clone(customization)).fallback_reason == "no_merged_segments"


async def test_a_design_brings_its_preview(anyio_backend: Any) -> None:
    preview = {"data": base64.b64encode(b"RIFFpreview").decode(), "sample_rate": 24000, "response_format": "wav"}
    with rest(created(voice_id(kind="vd"), VD_MODEL, preview_audio=preview)) as vendor:
        async with driver(vendor.url) as customization:
            voice = await customization.design(
                OWNER, description="A calm narrator", preview_text="Hello there.", language="English"
            )
    assert voice.preview == b"RIFFpreview"
    (request,) = vendor.requests
    assert request["model"] == "design"
    assert request["input"]["language"] == "en"
    assert request["parameters"] == {"sample_rate": 24000, "response_format": "wav"}


REFUSED: list[Any] = [
    pytest.param(refused(400, "Audio.AudioShortError"), Fault.RECORDING_UNUSABLE, id="short"),
    pytest.param(refused(401, "InvalidApiKey"), Fault.KEY_REFUSED, id="key"),
    pytest.param(refused(200, "Arrearage"), Fault.ACCOUNT_ARREARS, id="refused-inside-a-200"),
    pytest.param(
        refused(429, "Throttling.AllocationQuota", "Maximum voice-clone voice limit exceeded."),
        Fault.VOICE_QUOTA,
        id="quota",
    ),
    pytest.param(refused(429, "Throttling"), Fault.RATE_LIMITED, id="throttled"),
    pytest.param(Answer(status=302, raw=b"", headers={"Location": "/elsewhere"}), Fault.UNKNOWN, id="redirect"),
]


@pytest.mark.parametrize(("answer", "fault"), REFUSED)
async def test_a_refused_create_is_told_and_neither_repeated_nor_searched_for(
    anyio_backend: Any, answer: Answer, fault: Fault
) -> None:
    with rest(answer) as vendor:
        async with driver(vendor.url) as customization:
            with pytest.raises(ProviderFailure) as caught:
                await clone(customization)
    assert caught.value.fault is fault
    assert not isinstance(caught.value, AmbiguousCreate)
    assert vendor.actions == ["create"]


AMBIGUOUS: list[Any] = [
    pytest.param(Answer(cut=True), Fault.CONNECTION_LOST, id="cut"),
    pytest.param(Answer(hang=True), Fault.ANSWER_TIMEOUT, id="too-slow"),
    pytest.param(refused(500, "InternalError.Timeout"), Fault.OVERLOADED, id="server-error"),
    pytest.param(refused(408, "RequestTimeOut", "Request timeout, try again."), Fault.SESSION_EXPIRED, id="timed-out"),
    pytest.param(Answer(status=502, raw=b"<html>"), Fault.OVERLOADED, id="proxy-error"),
    pytest.param(Answer(raw=b"}{"), Fault.PROTOCOL_BROKEN, id="garbage"),
    pytest.param(Answer({"output": {}}), Fault.PROTOCOL_BROKEN, id="no-voice-in-it"),
    pytest.param(Answer(raw=b" " * (MAX_ANSWER_BYTES + 1)), Fault.PROTOCOL_BROKEN, id="oversized"),
    pytest.param(Answer(raw=b"short", headers={"Content-Encoding": "gzip"}), Fault.PROTOCOL_BROKEN, id="unasked-gzip"),
]


@pytest.mark.parametrize(("answer", "fault"), AMBIGUOUS)
async def test_an_unknown_outcome_is_looked_up_and_found(anyio_backend: Any, answer: Answer, fault: Fault) -> None:
    with rest(answer, listed("other", voice_id("somebodyelsesvo"), voice_id())) as vendor:
        async with driver(vendor.url, create_seconds=0.5 if answer.hang else 90) as customization:
            voice = await clone(customization)
            vendor.over.set()
    assert (voice.voice, voice.target_model, voice.billed) == (voice_id(), VC_MODEL, None)
    assert vendor.actions == ["create", "list"]


@pytest.mark.parametrize(("answer", "fault"), AMBIGUOUS)
async def test_an_unknown_outcome_without_a_trace_stays_ambiguous(
    anyio_backend: Any, answer: Answer, fault: Fault
) -> None:
    with rest(answer, listed("other", voice_id("somebodyelsesvo"))) as vendor:
        async with driver(vendor.url, create_seconds=0.5 if answer.hang else 90) as customization:
            with pytest.raises(AmbiguousCreate) as caught:
                await clone(customization)
            vendor.over.set()
    assert caught.value.fault is fault
    assert vendor.actions == ["create", "list"], "never a second create"


async def test_it_stays_ambiguous_when_the_list_cannot_be_had(anyio_backend: Any) -> None:
    with rest(Answer(cut=True), *[Answer(cut=True)] * 3) as vendor:
        async with driver(vendor.url) as customization:
            with pytest.raises(AmbiguousCreate):
                await clone(customization)
    assert vendor.actions == ["create", "list", "list", "list"]


@pytest.fixture
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qwen_customization, "FIRST_LOOK_AGAIN_SECONDS", 0.01)


@pytest.mark.usefixtures("_soon")
async def test_a_create_that_nobody_answered_may_still_be_under_way(anyio_backend: Any) -> None:
    with rest(Answer(cut=True), listed(), refused(401, "InvalidApiKey"), listed(voice_id())) as vendor:
        async with driver(vendor.url, settle_seconds=30.0) as customization:
            voice = await clone(customization)
    assert voice.voice == voice_id()
    assert vendor.actions == ["create", "list", "list", "list"]


@pytest.mark.usefixtures("_soon")
async def test_but_it_is_not_looked_for_for_ever(anyio_backend: Any) -> None:
    with rest(Answer(cut=True), *[listed()] * 20) as vendor:
        async with driver(vendor.url, settle_seconds=0.1) as customization:
            with pytest.raises(AmbiguousCreate):
                await clone(customization)
    assert 2 <= vendor.actions.count("list") <= 4, "pauses of 10, 20, 40 ms"
    assert vendor.actions.count("create") == 1


@pytest.mark.usefixtures("_soon")
async def test_a_server_that_answered_has_ended_its_work(anyio_backend: Any) -> None:
    with rest(refused(500, "InternalError"), listed(), listed(voice_id())) as vendor:
        async with driver(vendor.url, settle_seconds=30.0) as customization:
            with pytest.raises(AmbiguousCreate):
                await clone(customization)
    assert vendor.actions == ["create", "list"]


async def test_a_voice_is_found_though_the_pinned_model_changed(anyio_backend: Any) -> None:
    with rest(listed(voice_id(), target_model="the-pin-before")) as vendor:
        async with driver(vendor.url) as customization:
            found = await customization.find_created(VoiceKind.CLONED, OWNER)
    assert found is not None
    assert found.target_model == "the-pin-before"


async def test_a_create_that_was_never_sent_is_not_ambiguous(anyio_backend: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    async with driver(f"http://127.0.0.1:{port}") as customization:
        with pytest.raises(ProviderFailure) as caught:
            await clone(customization)
    assert caught.value.fault is Fault.UNREACHABLE
    assert not isinstance(caught.value, AmbiguousCreate)


async def test_of_several_the_newest_is_ours(anyio_backend: Any) -> None:
    older, newer = voice_id(), voice_id() + "2"
    with rest(listed(older, newer)) as vendor:
        async with driver(vendor.url) as customization:
            found = await customization.find_created(VoiceKind.CLONED, OWNER)
    assert found is not None
    assert found.voice == newer


# ------------------------------------------------------------------------------------------------- looking up


async def test_a_list_goes_on_until_a_short_page(anyio_backend: Any) -> None:
    pages = [listed(*(f"voice-{number}" for number in range(PAGE_SIZE))), listed("the-last")]
    with rest(*pages) as vendor:
        async with driver(vendor.url) as customization:
            voices = await customization.list_voices(VoiceKind.DESIGNED)
    assert len(voices) == PAGE_SIZE + 1
    assert [request["input"]["page_index"] for request in vendor.requests] == [0, 1]
    assert {request["model"] for request in vendor.requests} == {"design"}


@pytest.mark.parametrize("first", [Answer(cut=True), refused(500, "InternalError"), refused(429, "Throttling")])
async def test_a_list_is_repeated_after_a_passing_failure(anyio_backend: Any, first: Answer) -> None:
    with rest(first, listed("a")) as vendor:
        async with driver(vendor.url) as customization:
            voices = await customization.list_voices(VoiceKind.CLONED)
    assert [voice.voice for voice in voices] == ["a"]


async def test_a_list_is_not_repeated_after_a_refusal(anyio_backend: Any) -> None:
    with rest(refused(401, "InvalidApiKey")) as vendor:
        async with driver(vendor.url) as customization:
            with pytest.raises(ProviderFailure) as caught:
                await customization.list_voices(VoiceKind.CLONED)
    assert caught.value.fault is Fault.KEY_REFUSED
    assert len(vendor.requests) == 1


async def test_a_lookup_that_hangs_is_asked_again_and_ends_by_its_deadline(anyio_backend: Any) -> None:
    with rest(*[Answer(hang=True)] * 3) as vendor:
        async with driver(vendor.url, lookup_seconds=0.2) as customization:
            with pytest.raises(ProviderFailure) as caught:
                await customization.list_voices(VoiceKind.CLONED)
    assert caught.value.fault is Fault.ANSWER_TIMEOUT
    assert len(vendor.requests) == 3


Look = Callable[[QwenCustomization], Any]
MISSING: list[Any] = [
    pytest.param(lambda c: c.query_designed("v"), refused(400, "VoiceNotFound"), None, id="query"),
    pytest.param(lambda c: c.query_designed("v"), refused(200, "VoiceNotFound"), None, id="query-in-a-200"),
    pytest.param(
        lambda c: c.delete(VoiceKind.CLONED, "v"), refused(400, "BadRequest.VoiceNotFound"), False, id="delete"
    ),
]


@pytest.mark.parametrize(("look", "answer", "expected"), MISSING)
async def test_a_voice_that_is_not_there_is_an_answer(
    anyio_backend: Any, look: Look, answer: Answer, expected: object
) -> None:
    with rest(answer) as vendor:
        async with driver(vendor.url) as customization:
            assert await look(customization) is expected


async def test_query_and_delete_of_a_voice_that_is_there(anyio_backend: Any) -> None:
    there = Answer({"output": {"voice": "v", "target_model": VD_MODEL}, "request_id": "r"})
    gone = Answer({"usage": {"count": 0}, "request_id": "r"})
    with rest(there, gone) as vendor:
        async with driver(vendor.url) as customization:
            found = await customization.query_designed("v")
            assert found is not None
            assert (found.voice, found.target_model) == ("v", VD_MODEL)
            assert await customization.delete(VoiceKind.DESIGNED, "v") is True
    assert vendor.actions == ["query", "delete"]
