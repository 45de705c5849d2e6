"""The Qwen drivers against the emulator: another process, another event loop, another WebSocket library."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import anyio
import miniaudio
import pytest

from gateway.providers import VoiceKind
from gateway.providers.attempts import RetryPolicy
from gateway.providers.base import Outcome
from gateway.providers.deadlines import Deadlines
from gateway.providers.qwen_customization import (
    CustomizationOptions,
    QwenCustomization,
    open_qwen_customization,
)
from gateway.providers.qwen_realtime import QwenRealtime
from gateway.transports import Keepalive
from protocol.customization import AudioSource, preferred_name
from protocol.errors import Fault, ProviderFailure
from protocol.events import MAX_MESSAGE_BYTES
from tests.support.emulator import VC_MODEL, VD_MODEL, Emulator, data_url, start_emulator, wav_recording
from tests.support.qwen_take import Take

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

TEXT = "The quick brown fox jumps over the lazy dog, twice. Then it sleeps in the warm sun for the rest of the day!"
MAX_QUESTIONS = 5000
"""Round trips to the emulator while waiting for it to notice something: several seconds' worth."""


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with start_emulator(tmp_path_factory.mktemp("vendor")) as running:
        yield running


@pytest.fixture(scope="module")
def voice(vendor: Emulator) -> str:
    return vendor.clone("fixture")


@pytest.fixture(autouse=True)
def well_behaved(vendor: Emulator) -> Iterator[None]:
    yield
    vendor.clear_faults()
    vendor.clear_script()


async def speak(provider: QwenRealtime, take: Take, voice: str, model: str = VC_MODEL) -> Outcome:
    return await take.speak(provider, text=TEXT, voice=voice, model=model)


def played_seconds(audio: bytes) -> float:
    decoded = miniaudio.decode(audio)
    return float(decoded.num_frames / decoded.sample_rate)


@pytest.mark.parametrize("upstream_format", ["mp3", "pcm"])
@pytest.mark.parametrize(
    "faults", [[], ["several_responses"], ["late_deltas"], ["id3_xing", "several_responses"], ["unknown_events"]]
)
async def test_everything_the_vendor_spoke_arrives(
    provider: Any, vendor: Emulator, voice: str, faults: list[str], upstream_format: str
) -> None:
    vendor.order_faults(voice, *faults)
    take = Take()
    async with provider(vendor.realtime_url, key=vendor.api_key, upstream_format=upstream_format) as opened:
        outcome = await speak(opened, take, voice)
    (session,) = [entry for entry in vendor.sessions() if entry["session_id"] == outcome.session_id]
    assert session["outcome"] == "finished"
    assert outcome.characters == session["characters"]
    assert outcome.responses == session["responses"]
    if "several_responses" in faults:
        assert outcome.responses > 1
    tolerance = 0.03 * session["audio_seconds"] + 0.06 * outcome.responses
    assert outcome.audio_seconds == pytest.approx(session["audio_seconds"], abs=tolerance)
    assert played_seconds(bytes(take.audio)) == pytest.approx(outcome.audio_seconds, abs=0.06)
    assert b"ID3\x04" not in take.audio  # three bytes alone are in one of a hundred speeches by chance
    assert b"Info" not in take.audio


BEFORE_AUDIO: list[Any] = [
    ("bad_voice", Fault.VOICE_MISMATCH),
    ("bad_voice_late", Fault.VOICE_MISMATCH),
    ("voice_mismatch", Fault.VOICE_MISMATCH),
    ("voice_gone", Fault.VOICE_UNKNOWN),
    ("error_event", Fault.OVERLOADED),
    ("error_then_close", Fault.OVERLOADED),
    ("arrears", Fault.ACCOUNT_ARREARS),
    ("throttled_event", Fault.RATE_LIMITED),
    ("throttled_close", Fault.RATE_LIMITED),
    ("zero_audio", Fault.NO_AUDIO),
]


@pytest.mark.parametrize(("name", "fault"), BEFORE_AUDIO)
async def test_a_fault_before_audio_has_its_name(
    provider: Any, vendor: Emulator, voice: str, name: str, fault: Fault
) -> None:
    vendor.order_faults(voice, name)
    take = Take()
    async with provider(vendor.realtime_url, key=vendor.api_key) as opened:
        with pytest.raises(ProviderFailure) as caught:
            await speak(opened, take, voice)
    assert caught.value.fault is fault
    assert take.audio == b""


AFTER_AUDIO: list[Any] = [
    ("cut", Fault.CONNECTION_LOST),
    ("garbage", Fault.PROTOCOL_BROKEN),
    ("oversized_frame", Fault.PROTOCOL_BROKEN),
    ("error_after_audio", Fault.OVERLOADED),
    ("response_failed", Fault.RESPONSE_FAILED),
]


@pytest.mark.parametrize(("name", "fault"), AFTER_AUDIO)
async def test_a_fault_after_audio_is_not_retried(
    provider: Any, vendor: Emulator, voice: str, name: str, fault: Fault
) -> None:
    vendor.order_faults(voice, name)
    take, before = Take(), len(vendor.sessions())
    async with provider(vendor.realtime_url, key=vendor.api_key) as opened:
        with pytest.raises(ProviderFailure) as caught:
            await speak(opened, take, voice)
    assert caught.value.fault is fault
    assert played_seconds(bytes(take.audio)) > 0
    assert len(vendor.sessions()) == before + 1


async def test_a_stall_ends_by_the_delta_gap(provider: Any, vendor: Emulator, voice: str) -> None:
    vendor.order_faults(voice, "stall")
    deadlines = Deadlines(connect=20, first_audio=40, delta_gap=0.5, session=60)
    async with provider(vendor.realtime_url, key=vendor.api_key, deadlines=deadlines) as opened:
        with pytest.raises(ProviderFailure) as caught:
            await speak(opened, Take(), voice)
    assert caught.value.fault is Fault.AUDIO_STALLED


async def test_a_missing_pong_ends_a_stalled_session(provider: Any, vendor: Emulator, voice: str) -> None:
    vendor.order_faults("*", "stall", "no_pong")  # pings begin before the server knows the voice
    async with provider(
        vendor.realtime_url, key=vendor.api_key, keepalive=Keepalive(interval=0.1, timeout=0.1)
    ) as opened:
        with pytest.raises(ProviderFailure) as caught:
            await speak(opened, Take(), voice)
    assert caught.value.fault is Fault.CONNECTION_LOST


async def test_a_throttled_upgrade_passes_at_the_third_attempt(provider: Any, vendor: Emulator, voice: str) -> None:
    vendor.order_faults("*", "throttled_upgrade", times=2)
    take = Take()
    async with provider(vendor.realtime_url, key=vendor.api_key) as opened:
        outcome = await speak(opened, take, voice)
    assert outcome.attempts == 3
    assert played_seconds(bytes(take.audio)) > 0


HUGE_BYTES = 20_000_000

GARBAGE: dict[str, dict[str, Any]] = {
    "a frame of 20 MB": {"do": "send_text", "text": "x" * HUGE_BYTES},
    "an event of 20 MB": {"do": "send", "event": {"type": "response.audio.delta", "delta": "A" * HUGE_BYTES}},
    "a binary frame": {"do": "send_bytes", "data": "AAEC"},
    "a binary frame of 20 MB": {"do": "send_bytes", "data": "A" * HUGE_BYTES},
    "json that goes too deep": {"do": "send_text", "text": "[" * 1_000_000},
    "half an event": {"do": "send_text", "text": '{"type":"response.audio.del'},
    "audio that is no base64": {
        "do": "send",
        "event": {"type": "response.audio.delta", "response_id": "r", "delta": "?"},
    },
    "a response of another shape": {"do": "send", "event": {"type": "response.created", "response": 7}},
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
async def test_garbage_is_the_vendors_fault_and_takes_little_memory(
    provider: Any, vendor: Emulator, voice: str, garbage: dict[str, Any]
) -> None:
    greeting = {"type": "session.created", "session": {"id": "sess_1", "model": VC_MODEL}}
    vendor.play_script({"do": "send", "event": greeting}, {"do": "wait", "for": "session.finish"}, garbage)
    async with provider(vendor.realtime_url, key=vendor.api_key) as opened:
        tracemalloc.start()
        try:
            with pytest.raises(ProviderFailure) as caught:
                await speak(opened, Take(), voice)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert caught.value.fault is Fault.PROTOCOL_BROKEN
    assert peak < 3 * MAX_MESSAGE_BYTES


async def test_a_wrong_key_and_a_foreign_voice_are_told_apart(provider: Any, vendor: Emulator, voice: str) -> None:
    async with provider(vendor.realtime_url, key="sk-wrong") as opened:
        with pytest.raises(ProviderFailure) as caught:
            await speak(opened, Take(), voice)
    assert caught.value.fault is Fault.KEY_REFUSED
    async with provider(vendor.realtime_url, key=vendor.api_key) as opened:
        with pytest.raises(ProviderFailure) as caught:
            await speak(opened, Take(), voice, model=VD_MODEL)
    assert caught.value.fault is Fault.VOICE_MISMATCH


async def test_cancelling_is_seen_by_the_vendor(provider: Any, vendor: Emulator, voice: str) -> None:
    vendor.order_faults(voice, "stall")
    take = Take()
    async with provider(vendor.realtime_url, key=vendor.api_key) as opened:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(speak, opened, take, voice)
            await take.began.wait()
            tasks.cancel_scope.cancel()
        outcome = await anyio.to_thread.run_sync(last_outcome, vendor)
    assert outcome not in {"running", "finished"}


def last_outcome(vendor: Emulator) -> str:
    """How the last session ended, by the vendor's own record, which is asked until it says."""
    for _ in range(MAX_QUESTIONS):
        outcome: str = vendor.sessions()[-1]["outcome"]
        if outcome != "running":
            return outcome
    return "running"


@asynccontextmanager
async def customization(vendor: Emulator) -> AsyncIterator[QwenCustomization]:
    options = CustomizationOptions(
        base_url=vendor.rest_url,
        api_key=vendor.api_key,
        workspace="",
        customization_models={VoiceKind.CLONED: "qwen-voice-enrollment", VoiceKind.DESIGNED: "qwen-voice-design"},
        target_models={VoiceKind.CLONED: VC_MODEL, VoiceKind.DESIGNED: VD_MODEL},
        retries=RetryPolicy(first_pause=0.001),
    )
    async with open_qwen_customization(options) as opened:
        yield opened


async def clone(driver: QwenCustomization, owner: Any) -> Any:
    recording = AudioSource(data_url(wav_recording()))
    return await driver.clone(owner, recording, transcript="Hello there.", language="English")


async def test_a_voice_is_cloned_spoken_listed_and_deleted(provider: Any, vendor: Emulator) -> None:
    owner, take = uuid4(), Take()
    async with customization(vendor) as driver:
        created = await clone(driver, owner)
        assert preferred_name(owner) in created.voice
        async with provider(vendor.realtime_url, key=vendor.api_key) as opened:
            await speak(opened, take, created.voice)
        assert played_seconds(bytes(take.audio)) > 0
        found = await driver.find_created(VoiceKind.CLONED, owner)
        assert found is not None
        assert found.voice == created.voice
        assert await driver.delete(VoiceKind.CLONED, created.voice) is True
        assert await driver.delete(VoiceKind.CLONED, created.voice) is False
        assert await driver.find_created(VoiceKind.CLONED, owner) is None


async def test_a_voice_is_designed_with_a_preview_and_queried(vendor: Emulator, anyio_backend: Any) -> None:
    async with customization(vendor) as driver:
        created = await driver.design(
            uuid4(), description="A calm narrator", preview_text="This is how I sound.", language="English"
        )
        assert created.preview.startswith(b"RIFF")
        found = await driver.query_designed(created.voice)
        assert found is not None
        assert found.target_model == VD_MODEL
        assert await driver.query_designed("qwen-tts-vd-nobody") is None


async def test_a_create_whose_answer_was_lost_is_found_and_billed_once(vendor: Emulator, anyio_backend: Any) -> None:
    vendor.order_faults("customization", "lost_answer", times=1)
    billed = vendor.billing()["clones"]
    async with customization(vendor) as driver:
        owner = uuid4()
        created = await clone(driver, owner)
    assert preferred_name(owner) in created.voice
    assert vendor.billing()["clones"] == billed + 1
