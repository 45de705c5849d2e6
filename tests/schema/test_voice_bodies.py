"""Bodies of the routes that make voices (v1 contract 1.4 and 1.5)."""

from __future__ import annotations

from uuid import UUID

import msgspec
import pytest

from schema.body import BodyError
from schema.voice_bodies import read_clone_request, read_finalize_request, read_preview_request

VOICE = "6f1d2b3c-0000-4000-8000-000000000001"

CLONE = {"name": "Ada", "language": "English", "transcript": "Good morning."}
FINALIZE = {"voice_id": VOICE, **CLONE}
PREVIEW = {"text": "Hello.", "instruct": "Calm.", "language": "English"}


def body(good: dict[str, str], **changes: object) -> bytes:
    """`good` with these fields, None for none."""
    return msgspec.json.encode({name: value for name, value in {**good, **changes}.items() if value is not None})


def test_a_clone() -> None:
    wanted = read_clone_request(body(CLONE, name=" \ufeffAda\u2003", description=" Mine. ", model="0.6B"))
    assert (wanted.name, wanted.language, wanted.transcript) == ("Ada", "English", "Good morning.")
    assert wanted.description == "Mine."
    assert read_clone_request(body(CLONE, description=17)).description is None


def test_a_finalize() -> None:
    wanted = read_finalize_request(body(FINALIZE, voice_id=f" {VOICE.upper()}\ufeff"))
    assert (wanted.voice_id, wanted.name, wanted.description) == (UUID(VOICE), "Ada", None)


@pytest.mark.parametrize("voice_id", [None, 5, "", "my voice", "../x", VOICE[:-1], VOICE.replace("-", "")])
def test_what_names_no_upload(voice_id: object) -> None:
    with pytest.raises(BodyError, match="voice_id"):
        read_finalize_request(body(FINALIZE, voice_id=voice_id))


@pytest.mark.parametrize("field", CLONE)
@pytest.mark.parametrize("value", [None, "", " \ufeff ", 5, [], "A\0da"])
def test_each_field_of_a_clone_is_required(field: str, value: object) -> None:
    for read, good in ((read_clone_request, CLONE), (read_finalize_request, FINALIZE)):
        with pytest.raises(BodyError, match=field):
            read(body(good, **{field: value}))


def test_a_missing_transcript_is_explained() -> None:
    """v1's page stops asking for it in Modal mode (product section 4)."""
    with pytest.raises(BodyError, match=r"transcript is required\. Please type the words"):
        read_clone_request(body(CLONE, transcript=None))


def test_a_name_is_counted_as_javascript_counts() -> None:
    assert read_clone_request(body(CLONE, name=f" {'😀' * 50} ")).name == "😀" * 50
    with pytest.raises(BodyError, match="100 characters"):
        read_clone_request(body(CLONE, name="😀" * 50 + "a"))


def test_a_preview() -> None:
    wanted = read_preview_request(body(PREVIEW, text=f" {'a' * 500} ", instruct="😀" * 250))
    assert (len(wanted.text), len(wanted.instruct), wanted.language) == (500, 250, "English")


@pytest.mark.parametrize("field", ["text", "instruct"])
def test_a_preview_is_short(field: str) -> None:
    with pytest.raises(BodyError, match=f"{field} cannot exceed 500 characters"):
        read_preview_request(body(PREVIEW, **{field: "a" * 501}))


def test_a_preview_is_checked_in_the_contracts_order() -> None:
    for missing, first in ((PREVIEW, "text"), (("instruct", "language"), "instruct"), (("language",), "language")):
        with pytest.raises(BodyError, match=f"^{first} is required"):
            read_preview_request(body(PREVIEW, **dict.fromkeys(missing)))
