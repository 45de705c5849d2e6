"""What the customization REST is asked: bodies, names, Data URLs and their limits."""

from __future__ import annotations

import base64
import json
import re
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.customization import (
    MAX_DATA_URL_BYTES,
    MEDIA_TYPES,
    AudioSource,
    CreateClone,
    CreateDesign,
    DeleteVoice,
    DesignInput,
    EnrollmentInput,
    ListVoices,
    PreviewFormat,
    QueryVoice,
    RecordingTooLarge,
    data_url,
    encode_request,
    max_recording_bytes,
    preferred_name,
)


@pytest.mark.parametrize(
    ("action", "parameters", "body"),
    [
        (
            CreateClone(
                target_model="t",
                preferred_name="n",
                audio=AudioSource("data:audio/wav;base64,AAAA"),
                text="Hello.",
                language="en",
            ),
            None,
            {
                "input": {
                    "action": "create",
                    "target_model": "t",
                    "preferred_name": "n",
                    "audio": {"data": "data:audio/wav;base64,AAAA"},
                    "text": "Hello.",
                    "language": "en",
                }
            },
        ),
        (
            CreateClone(target_model="t", preferred_name="n", audio=AudioSource("https://a/b")),
            None,
            {
                "input": {
                    "action": "create",
                    "target_model": "t",
                    "preferred_name": "n",
                    "audio": {"data": "https://a/b"},
                }
            },
        ),
        (
            CreateDesign(target_model="t", voice_prompt="warm", preview_text="Hi.", preferred_name="n", language="en"),
            PreviewFormat(),
            {
                "input": {
                    "action": "create",
                    "target_model": "t",
                    "voice_prompt": "warm",
                    "preview_text": "Hi.",
                    "preferred_name": "n",
                    "language": "en",
                },
                "parameters": {"sample_rate": 24000, "response_format": "wav"},
            },
        ),
        (ListVoices(), None, {"input": {"action": "list", "page_index": 0, "page_size": 100}}),
        (ListVoices(page_index=3, page_size=5), None, {"input": {"action": "list", "page_index": 3, "page_size": 5}}),
        (QueryVoice(voice="v"), None, {"input": {"action": "query", "voice": "v"}}),
        (DeleteVoice(voice="v"), None, {"input": {"action": "delete", "voice": "v"}}),
    ],
)
def test_the_body_of_a_request(
    action: EnrollmentInput | DesignInput, parameters: PreviewFormat | None, body: dict[str, object]
) -> None:
    assert json.loads(encode_request("the-model", action, parameters)) == {"model": "the-model", **body}


@given(st.uuids(), st.uuids())
def test_a_preferred_name_is_legal_stable_and_our_own(one: UUID, other: UUID) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_]{16}", preferred_name(one))
    assert preferred_name(one) == preferred_name(UUID(str(one)))
    assert (preferred_name(one) == preferred_name(other)) == (one == other)


@pytest.mark.parametrize(("media_type", "sent_as"), MEDIA_TYPES.items())
def test_a_recording_as_a_data_url(media_type: str, sent_as: str) -> None:
    head, _, body = data_url(media_type, b"RIFF sound").partition(",")
    assert head == f"data:{sent_as};base64"
    assert base64.b64decode(body) == b"RIFF sound"


def test_the_largest_recording_fits_and_one_byte_more_does_not() -> None:
    limit = max_recording_bytes("audio/mpeg")
    assert 7_400_000 < limit < 7_500_000
    longest = data_url("audio/mpeg", bytes(limit))
    assert MAX_DATA_URL_BYTES - 4 < len(longest) <= MAX_DATA_URL_BYTES
    with pytest.raises(RecordingTooLarge, match=f"of {limit + 1} bytes; at most {limit} fit") as caught:
        data_url("audio/mpeg", bytes(limit + 1))
    assert (caught.value.size, caught.value.limit) == (limit + 1, limit)


def test_a_recording_of_another_kind() -> None:
    with pytest.raises(ValueError, match="audio/ogg"):
        data_url("audio/ogg", b"OggS")
