"""What the customization REST answers: success, refusal in each envelope, and what nobody can read."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.customization_answers import (
    MAX_ANSWER_BYTES,
    CreatedVoice,
    ListedVoice,
    match_created,
    parse_created,
    parse_deleted,
    parse_page,
    parse_voice,
)
from protocol.errors import Fault, ProviderFailure, RemoteProtocolError

PARSERS = [parse_created, parse_page, parse_voice, parse_deleted]


def body(**fields: object) -> bytes:
    return json.dumps({"request_id": "req_1", **fields}).encode()


def refusal(code: str, message: str = "") -> bytes:
    return body(code=code, message=message)


# ---------------------------------------------------------------------------------------- success


def test_a_cloned_voice() -> None:
    answer = body(output={"voice": "qwen-tts-vc-x-voice-1-a", "target_model": "t"}, usage={"count": 1})
    assert parse_created(200, answer) == CreatedVoice("qwen-tts-vc-x-voice-1-a", "t", "req_1", billed=1)


def test_a_designed_voice_brings_its_preview() -> None:
    preview = {"data": base64.b64encode(b"RIFF").decode(), "sample_rate": 24000, "response_format": "wav"}
    voice = parse_created(200, body(output={"voice": "v", "target_model": "t", "preview_audio": preview}))
    assert (voice.preview, voice.preview_format, voice.preview_sample_rate) == (b"RIFF", "wav", 24000)
    assert voice.billed is None


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, ""),
        ({"fallback_mode": False, "fallback_reason": "x"}, ""),
        ({"fallback_mode": None}, ""),
        ({"fallback_mode": True, "fallback_reason": "no_merged_segments"}, "no_merged_segments"),
        ({"fallback_mode": True}, "unspecified"),
    ],
)
def test_a_degraded_voice_is_a_warning(fields: dict[str, object], reason: str) -> None:
    assert parse_created(200, body(output={"voice": "v", **fields})).fallback_reason == reason


def test_the_request_id_may_be_in_the_header() -> None:
    answer = json.dumps({"output": {"voice": "v"}}).encode()
    assert parse_created(200, answer, "from_header").request_id == "from_header"
    with pytest.raises(ProviderFailure) as caught:
        parse_created(400, b'{"code":"InvalidParameter"}', "from_header")
    assert caught.value.vendor.request_id == "from_header"


def test_a_page_in_both_editions() -> None:
    older = {"voice_list": [{"voice": "a", "gmt_create": "2025-08-12 10:50:09", "target_model": "t"}]}
    newer = {"page_index": 0, "page_size": 10, "total_count": 1, "voice_list": [{"voice": "b", "language": None}]}
    assert parse_page(200, body(output=older)) == [ListedVoice("a", "t", "2025-08-12 10:50:09")]
    assert parse_page(200, body(output=newer)) == [ListedVoice("b")]
    assert parse_page(200, body(output={"voice_list": []})) == []


def test_a_query() -> None:
    assert parse_voice(200, body(output={"voice": "v", "target_model": "t", "voice_prompt": "warm"})) == ListedVoice(
        "v", "t"
    )


@pytest.mark.parametrize("fields", [{}, {"output": {}}, {"output": None}, {"output": {"voice": "v"}, "usage": {}}])
def test_a_delete_succeeds_with_any_output(fields: dict[str, object]) -> None:
    assert parse_deleted(200, body(**fields)) is True


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (400, refusal("BadRequest.VoiceNotFound", "Voice 'x' not found.")),
        (400, refusal("VoiceNotFound", "Voice not found: x")),
        (200, refusal("VoiceNotFound", "Voice not found: x")),
    ],
)
def test_what_is_already_gone(status: int, answer: bytes) -> None:
    assert parse_deleted(status, answer) is False
    assert parse_voice(status, answer) is None


# ---------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("parse", PARSERS)
@pytest.mark.parametrize(
    ("status", "answer", "fault"),
    [
        (401, refusal("InvalidApiKey", "Invalid API-key provided."), Fault.KEY_REFUSED),
        (400, refusal("Arrearage"), Fault.ACCOUNT_ARREARS),
        (429, refusal("Throttling.RateQuota"), Fault.RATE_LIMITED),
        (429, refusal("Throttling.AllocationQuota", "Maximum voice-clone voice limit exceeded."), Fault.VOICE_QUOTA),
        (404, refusal("ModelNotFound"), Fault.MODEL_GONE),
        (400, refusal("Audio.AudioShortError"), Fault.RECORDING_UNUSABLE),
        (200, refusal("InternalError"), Fault.OVERLOADED),
        (502, b"<html>Bad Gateway</html>", Fault.OVERLOADED),
        (403, b"", Fault.KEY_REFUSED),
        (300, body(output={"voice": "v", "voice_list": []}), Fault.UNKNOWN),
        (302, b"", Fault.UNKNOWN),
        (500, b"\xff", Fault.OVERLOADED),
    ],
)
def test_a_refusal_is_a_classified_failure(
    parse: Callable[[int, bytes], object], status: int, answer: bytes, fault: Fault
) -> None:
    with pytest.raises(ProviderFailure) as caught:
        parse(status, answer)
    assert caught.value.fault is fault
    assert caught.value.vendor.http_status == status


def test_the_code_of_a_refusal_outranks_an_output_beside_it() -> None:
    with pytest.raises(ProviderFailure):
        parse_created(200, body(code="InternalError", output={"voice": "v"}))


# ---------------------------------------------------------------------------------------- what nobody can read


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"null",
        b"[]",
        b"\xff",
        b'{"output":',
        b'{"output":{}}',
        b'{"output":{"voice":5}}',
        b'{"output":{"voice":"v","preview_audio":{"data":"!"}}}',
        b'{"output":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"output":{"voice":"v"},"padding":"' + b"x" * MAX_ANSWER_BYTES + b'"}',
    ],
    ids=lambda answer: answer[:40].decode(errors="replace"),
)
def test_an_unreadable_success_is_ambiguous(answer: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_created(200, answer)


def test_the_longest_answer_is_read() -> None:
    head, tail = b'{"output":{"voice":"v"},"padding":"', b'"}'
    assert parse_created(200, head + b"x" * (MAX_ANSWER_BYTES - len(head + tail)) + tail).voice == "v"


@given(st.sampled_from([200, 201, 400, 404, 500]), st.binary() | st.text().map(str.encode))
def test_garbage_is_a_failure_or_unreadable_and_nothing_else(status: int, answer: bytes) -> None:
    for parse in PARSERS:
        with pytest.raises((ProviderFailure, RemoteProtocolError)):
            parse(status, answer)


# ---------------------------------------------------------------------------------------- list and match


def test_only_our_own_voice_of_the_right_model_matches_newest_first() -> None:
    name = "m2ftzqtiqlibmy52"
    first = ListedVoice(f"qwen-tts-vc-{name}-voice-20250812105009984-838b", "t", "2025-08-12 10:50:09")
    second = ListedVoice(f"qwen-tts-vc-{name}-voice-20250813105009984-0000", "t", "2025-08-13 10:50:09")
    undated = ListedVoice(f"qwen-tts-vc-{name}-voice-3", "t")
    others = [
        ListedVoice(f"qwen-tts-vc-{name}-voice-4", "another model"),
        ListedVoice(f"qwen-tts-vc-{name}x-voice-5", "t"),
        ListedVoice(f"qwen-tts-vc-x{name}-voice-6", "t"),
    ]
    assert match_created([first, *others, second, undated], name, "t") == [second, first, undated]
    assert match_created(others, name, "t") == []
    assert match_created(others, name) == others[:1], "of any model"
