"""Billed creates at the emulator's customization endpoint: what exactly-once billing is tested with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.emulator import API_KEY, VC_MODEL, VD_MODEL, Emulator, data_url, start_emulator, wav_recording

pytestmark = pytest.mark.integration

URL = "{}/api/v1/services/audio/tts/customization"

CLONE = {
    "model": "qwen-voice-enrollment",
    "input": {
        "action": "create",
        "target_model": VC_MODEL,
        "preferred_name": "mine",
        "audio": {"data": data_url(wav_recording())},
        "text": "A tone.",
    },
}
DESIGN = {
    "model": "qwen-voice-design",
    "input": {
        "action": "create",
        "target_model": VD_MODEL,
        "preferred_name": "mine",
        "voice_prompt": "A calm narrator.",
        "preview_text": "Hello, this is how I sound.",
        "language": "en",
    },
}
CREATES = {"vc": CLONE, "vd": DESIGN}

IMPATIENT_SECONDS = 0.3


@pytest.fixture(autouse=True)
def well_again(emulator: Emulator) -> Iterator[None]:
    yield
    emulator.clear_faults()


def listed(emulator: Emulator, kind: str) -> list[str]:
    """The ids of all voices of a kind."""
    body = {"model": CREATES[kind]["model"], "input": {"action": "list", "page_size": 1000}}
    answer = emulator.customize(body).raise_for_status()
    return [row["voice"] for row in answer.json()["output"]["voice_list"]]


def lose(emulator: Emulator, body: dict[str, Any], fault: str) -> None:
    """A call whose answer does not come, in one of the three ways."""
    emulator.order_faults("customization:create", fault, times=1)
    headers = {"Authorization": f"Bearer {API_KEY}"}
    with httpx.Client(timeout=IMPATIENT_SECONDS if fault.endswith("hang") else 30, trust_env=False) as http:
        if fault.endswith("hang"):
            with pytest.raises(httpx.ReadTimeout):
                http.post(URL.format(emulator.rest_url), json=body, headers=headers)
        elif fault.endswith("cut"):
            with pytest.raises(httpx.RemoteProtocolError):
                http.post(URL.format(emulator.rest_url), json=body, headers=headers)
        else:
            answer = http.post(URL.format(emulator.rest_url), json=body, headers=headers)
            assert answer.status_code == 500
            assert answer.json()["code"].startswith("InternalError")


@pytest.mark.parametrize("kind", CREATES)
@pytest.mark.parametrize("fault", ["lost_answer", "lost_answer_hang", "lost_answer_cut"])
def test_the_voice_was_made_and_billed_but_nobody_was_told(emulator: Emulator, kind: str, fault: str) -> None:
    before, voices = emulator.creates(), listed(emulator, kind)
    lose(emulator, CREATES[kind], fault)
    (created,) = emulator.creates()[len(before) :]
    assert (created["preferred_name"], created["kind"]) == ("mine", kind)
    assert set(listed(emulator, kind)) - set(voices) == {created["voice"]}, "it can be listed and matched"


@pytest.mark.parametrize("kind", CREATES)
@pytest.mark.parametrize("fault", ["rest_500", "rest_hang", "rest_cut"])
def test_nothing_was_made_and_nobody_was_told(emulator: Emulator, kind: str, fault: str) -> None:
    before, voices = emulator.creates(), listed(emulator, kind)
    lose(emulator, CREATES[kind], fault)
    assert (emulator.creates(), listed(emulator, kind)) == (before, voices)


@pytest.mark.parametrize(
    ("fault", "code", "message"),
    [
        ("recording_too_short", "Audio.PreprocessError", "No segments meet minimum duration requirement"),
        ("recording_silent", "Audio.PreprocessError", "Audio preprocess error."),
        ("transcript_mismatch", "Audio.PreprocessError", "Audio preprocess error."),
        ("recording_low_rate", "Audio.AudioRateError", "File sample rate unsupported."),
        ("recording_too_long", "Audio.DurationLimitError", "Audio duration exceeds the limit."),
        ("content_blocked", "DataInspectionFailed", "Input data may contain inappropriate content."),
        (
            "voice_quota",
            "Throttling.AllocationQuota",
            "Maximum voice storage limit exceeded, please delete existing voices.",
        ),
    ],
)
def test_a_clone_is_refused_and_not_billed(emulator: Emulator, fault: str, code: str, message: str) -> None:
    before = emulator.creates()
    emulator.order_faults("customization:create", fault, times=1)
    answer = emulator.customize(CLONE)
    assert (answer.status_code, answer.json()["code"], answer.json()["message"]) == (400, code, message)
    assert emulator.creates() == before
    assert emulator.customize(CLONE).status_code == 200


@pytest.mark.parametrize("fault", ["content_blocked", "voice_quota"])
def test_a_design_is_refused_and_not_billed(emulator: Emulator, fault: str) -> None:
    before = emulator.creates()
    emulator.order_faults("customization:create", fault, times=1)
    assert emulator.customize(DESIGN).status_code == 400
    assert emulator.creates() == before


def test_an_order_for_one_action_leaves_the_others_alone(emulator: Emulator) -> None:
    emulator.order_faults("customization:list", "rest_500", times=1)
    assert emulator.customize(CLONE).status_code == 200
    listing = {"model": "qwen-voice-enrollment", "input": {"action": "list"}}
    assert [emulator.customize(listing).status_code for _ in range(2)] == [500, 200]


def test_a_degraded_voice_says_why(emulator: Emulator) -> None:
    emulator.order_faults("customization:create", "fallback_mode", times=1)
    output = emulator.customize(CLONE).json()["output"]
    assert (output["fallback_mode"], output["fallback_reason"]) == (True, "no_merged_segments")


def test_a_deleted_voice_stays_billed(emulator: Emulator) -> None:
    voice = emulator.clone("gone")
    bill = emulator.billing()
    emulator.customize({"model": "qwen-voice-enrollment", "input": {"action": "delete", "voice": voice}})
    assert voice not in listed(emulator, "vc")
    assert emulator.creates()[-1] == {"preferred_name": "gone", "kind": "vc", "voice": voice}
    assert emulator.billing() == bill


def test_creates_are_remembered_and_the_quota_holds(tmp_path: Path) -> None:
    with start_emulator(tmp_path) as first:
        voice = first.clone("kept")
        created = first.creates()
        first.process.kill()
        first.process.wait()
    assert json.loads((tmp_path / "creates.json").read_bytes()) == created
    with start_emulator(tmp_path, ("--max-voices", "2")) as second:
        assert second.creates() == created == [{"preferred_name": "kept", "kind": "vc", "voice": voice}]
        second.design()
        assert second.customize(CLONE).json()["code"] == "Throttling.AllocationQuota"
