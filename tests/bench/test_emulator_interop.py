"""Our own client code against the emulator: the machine, the customization messages, the MP3 reader."""

from __future__ import annotations

from uuid import UUID

import pytest
from websockets.exceptions import ConnectionClosed

from protocol import customization as asking
from protocol import customization_answers as answers
from protocol.errors import Fault, ProviderFailure, RemoteProtocolError
from protocol.mp3 import Mp3FrameReader
from protocol.session import (
    AudioReceived,
    ClientSession,
    SessionConfig,
    SessionFailed,
    SessionFinished,
    SessionOpened,
)
from tests.bench.realtime_client import RECEIVE_SECONDS, dial, speak
from tests.support.emulator import VC_MODEL, VD_MODEL, Emulator, wav_recording

pytestmark = pytest.mark.integration

TEXT = "A sentence of some length, so that there are several deltas to go wrong. And another one after it."

OWNER = UUID("6f1c6b1e-3f0a-4a53-9f0d-2a1f0b8e7c11")


@pytest.fixture(scope="module")
def voice(emulator: Emulator) -> str:
    return emulator.clone("interop")


def drive(emulator: Emulator, voice: str, faults: str) -> tuple[SessionFinished | ProviderFailure, bytes]:
    """One session by our client machine, everything in one flight: how it ended and what was heard."""
    session, audio = ClientSession(), b""
    with dial(emulator, faults=faults) as client:
        while True:
            try:
                outputs = session.receive(client.socket.recv(RECEIVE_SECONDS))
            except ConnectionClosed as closed:
                frame = closed.rcvd
                failure = session.closed(frame.code, frame.reason) if frame else session.closed(1006)
                assert failure is not None
                return failure, audio
            for output in outputs:
                match output:
                    case SessionOpened():
                        config = SessionConfig(voice, "mp3", 24000, "Auto")
                        client.socket.send(session.configure(config, "event_1"))
                        client.socket.send(session.append(TEXT, "event_2"))
                        client.socket.send(session.finish("event_3"))
                    case AudioReceived(data=data):
                        audio += data
                    case SessionFinished():
                        return output, audio
                    case SessionFailed(failure=failure):
                        return failure, audio


@pytest.mark.parametrize(
    "faults",
    [
        "",
        "several_responses",
        "late_deltas",
        "several_responses,late_deltas",
        "several_responses,id3_xing",
        "unknown_events",
        "duplicated_ids",
        "duplicated_ids,several_responses",
        "close_after_finished",
    ],
)
def test_what_must_not_hurt_does_not(emulator: Emulator, voice: str, faults: str) -> None:
    ended, audio = drive(emulator, voice, faults)
    assert isinstance(ended, SessionFinished)
    record = emulator.sessions()[-1]
    assert ended.characters == record["characters"] == len(TEXT)
    assert ended.responses == record["responses"]
    reader = Mp3FrameReader()
    frames = reader.feed(audio)
    reader.finish()
    assert b"ID3\x04" not in frames  # three bytes alone are in one of a hundred speeches by chance
    assert b"Info" not in frames
    tolerance = 0.03 * record["audio_seconds"] + 0.06 * record["responses"]
    assert reader.duration_seconds == pytest.approx(record["audio_seconds"], abs=tolerance)


@pytest.mark.parametrize(
    ("faults", "fault"),
    [
        ("bad_voice", Fault.VOICE_MISMATCH),
        ("bad_voice_late", Fault.VOICE_MISMATCH),
        ("voice_mismatch", Fault.VOICE_MISMATCH),
        ("voice_gone", Fault.VOICE_UNKNOWN),
        ("throttled_event", Fault.RATE_LIMITED),
        ("throttled_close", Fault.RATE_LIMITED),
        ("arrears", Fault.ACCOUNT_ARREARS),
        ("error_event", Fault.OVERLOADED),
        ("error_then_close", Fault.OVERLOADED),
        ("error_after_audio", Fault.OVERLOADED),
        ("cut", Fault.CONNECTION_LOST),
        ("zero_audio", Fault.NO_AUDIO),
        ("response_failed", Fault.RESPONSE_FAILED),
    ],
)
def test_every_failure_is_recognized(emulator: Emulator, voice: str, faults: str, fault: Fault) -> None:
    ended, _ = drive(emulator, voice, faults)
    assert isinstance(ended, ProviderFailure)
    assert ended.fault is fault


@pytest.mark.parametrize("faults", ["garbage", "oversized_frame"])
def test_a_broken_protocol_is_an_error_of_the_machine(emulator: Emulator, voice: str, faults: str) -> None:
    with pytest.raises(RemoteProtocolError):
        drive(emulator, voice, faults)


def ask(emulator: Emulator, model: str, action: asking.EnrollmentInput | asking.DesignInput) -> tuple[int, bytes]:
    answer = emulator.post(asking.encode_request(model, action))
    return answer.status_code, answer.content


def test_our_customization_messages_are_understood(emulator: Emulator) -> None:
    name, enrollment, design = asking.preferred_name(OWNER), "qwen-voice-enrollment", "qwen-voice-design"
    source = asking.AudioSource(asking.data_url("audio/wav", wav_recording()))
    clone = asking.CreateClone(target_model=VC_MODEL, preferred_name=name, audio=source, text="A tone.", language="en")
    created = answers.parse_created(*ask(emulator, enrollment, clone))
    assert (created.target_model, created.billed, created.fallback_reason) == (VC_MODEL, 1, "")
    listed = answers.parse_page(*ask(emulator, enrollment, asking.ListVoices()))
    assert [one.voice for one in answers.match_created(listed, name, VC_MODEL)] == [created.voice]
    assert speak(emulator, created.voice, "Hello.").deltas
    assert answers.parse_deleted(*ask(emulator, enrollment, asking.DeleteVoice(voice=created.voice))) is True
    assert answers.parse_deleted(*ask(emulator, enrollment, asking.DeleteVoice(voice=created.voice))) is False

    wanted = asking.CreateDesign(
        target_model=VD_MODEL, voice_prompt="Calm.", preview_text="Hello.", preferred_name=name, language="en"
    )
    designed = answers.parse_created(*ask(emulator, design, wanted))
    assert designed.preview[:4] == b"RIFF"
    found = answers.parse_voice(*ask(emulator, design, asking.QueryVoice(voice=designed.voice)))
    assert found is not None
    assert found.language == "en"
    assert answers.parse_voice(*ask(emulator, design, asking.QueryVoice(voice="nobody"))) is None


def test_a_degraded_clone_is_a_warning(emulator: Emulator) -> None:
    source = asking.AudioSource(asking.data_url("audio/wav", wav_recording()))
    clone = asking.CreateClone(target_model=VC_MODEL, preferred_name="degraded", audio=source)
    emulator.order_faults("customization", "fallback_mode", times=1)
    created = answers.parse_created(*ask(emulator, "qwen-voice-enrollment", clone))
    assert created.fallback_reason == "no_merged_segments"


def test_a_lost_answer_is_found_again_by_its_name(emulator: Emulator) -> None:
    source = asking.AudioSource(asking.data_url("audio/wav", wav_recording()))
    name = asking.preferred_name(UUID(int=7))
    clone = asking.CreateClone(target_model=VC_MODEL, preferred_name=name, audio=source)
    emulator.order_faults("customization", "lost_answer", times=1)
    with pytest.raises(ProviderFailure):
        answers.parse_created(*ask(emulator, "qwen-voice-enrollment", clone))
    listed = answers.parse_page(*ask(emulator, "qwen-voice-enrollment", asking.ListVoices()))
    assert len(answers.match_created(listed, name, VC_MODEL)) == 1
