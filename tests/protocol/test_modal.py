"""Modal's messages, in both flavours (v1 contract 4)."""

from __future__ import annotations

import base64
import json
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import modal
from protocol.errors import Fault, ProviderFailure, RemoteProtocolError
from protocol.languages import LANGUAGES
from protocol.modal import (
    CancelJob,
    DesignElsewhere,
    DesignPending,
    DesignVoice,
    JobState,
    ResultNotReady,
    SubmitJob,
)

ENDPOINT = "https://acme--design.modal.run/"
WAV = b"RIFF\x24\x00\x00\x00WAVE"


def body(value: Any) -> bytes:
    return json.dumps(value).encode()


def designed(status: int, answer: bytes = b"", location: str | None = None, asked: str = ENDPOINT) -> Any:
    return modal.parse_designed(status, answer, location, asked=asked, endpoint=ENDPOINT)


def test_a_submit_carries_the_recording_as_plain_base64() -> None:
    recording = bytes(range(256))
    sent = json.loads(modal.encode(SubmitJob("Hi.", "Auto", recording, "The quick fox.")))
    assert sent == {
        "text": "Hi.",
        "language": "Auto",
        "ref_audio_base64": base64.b64encode(recording).decode(),
        "ref_text": "The quick fox.",
        "max_new_tokens": 4096,
    }


def test_cancel_and_design_bodies() -> None:
    assert json.loads(modal.encode(CancelJob("fc-1"))) == {"job_id": "fc-1"}
    voice = DesignVoice(text="Hi.", language="English", instruct="A calm narrator.")
    assert json.loads(modal.encode(voice)) == {"text": "Hi.", "language": "English", "instruct": "A calm narrator."}


@pytest.mark.parametrize(
    ("url", "job_id", "expected"),
    [
        ("https://a--status.modal.run", "fc-1", "https://a--status.modal.run?job_id=fc-1"),
        ("https://a.example/status?app=x", "fc-1", "https://a.example/status?app=x&job_id=fc-1"),
        ("https://a.example/status#part", "a&b=c/d", "https://a.example/status?job_id=a%26b%3Dc%2Fd"),
    ],
)
def test_the_job_id_is_added_to_the_query(url: str, job_id: str, expected: str) -> None:
    assert modal.with_job_id(url, job_id) == expected


@pytest.mark.parametrize(
    "answer",
    [{"job_id": "fc-01", "status": "submitted", "text_length": 3}, {"job_id": "fc-01"}],
)
def test_a_submitted_job(answer: dict[str, Any]) -> None:
    assert modal.parse_submitted(200, body(answer)) == "fc-01"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"OK",
        b"[]",
        b"{",
        b"{}",
        body({"job_id": ""}),
        body({"job_id": 7}),
        body({"job_id": "a\0b"}),
        b"[" * 90_000,
    ],
)
def test_a_submit_whose_answer_names_no_job(answer: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        modal.parse_submitted(200, answer)


def test_what_is_no_success_is_refused_whatever_it_carries() -> None:
    """An answer that would be good under 200."""
    with pytest.raises(ProviderFailure) as caught:
        modal.parse_submitted(500, body({"job_id": "fc-01"}))
    assert caught.value.fault is Fault.OVERLOADED
    with pytest.raises(ProviderFailure):
        modal.parse_status(300, body({"status": "running"}))
    with pytest.raises(ProviderFailure):
        designed(500, WAV)
    with pytest.raises(RemoteProtocolError, match="calls itself a document"):
        modal.parse_designed(200, b"{}", None, asked=ENDPOINT, endpoint=ENDPOINT, content_type="application/json")


@pytest.mark.parametrize(
    ("answer", "state", "word"),
    [
        ({"job_id": "fc-1", "status": "running", "result_ready": False}, JobState.RUNNING, "running"),
        ({"job_id": "fc-1", "status": "completed", "result_ready": True}, JobState.READY, "completed"),
        ({"job_id": "fc-1", "status": "completed", "result_ready": False}, JobState.RUNNING, "completed"),
        ({"status": "completed"}, JobState.RUNNING, "completed"),
        ({"status": "failed", "result_ready": False, "error": "CUDA"}, JobState.FAILED, "failed"),
        ({"status": "processing", "elapsed_seconds": 1}, JobState.RUNNING, "processing"),
        ({"status": "queued"}, JobState.RUNNING, "queued"),
        ({"status": "cancelled", "elapsed_seconds": 2}, JobState.CANCELLED, "cancelled"),
        ({}, JobState.RUNNING, "processing"),
        ({"status": None}, JobState.RUNNING, "processing"),
        ({"status": "<b>Hello</b>"}, JobState.RUNNING, "processing"),
    ],
)
def test_states_of_both_flavours(answer: dict[str, Any], state: JobState, word: str) -> None:
    status = modal.parse_status(200, body(answer))
    assert (status.state, status.word) == (state, word)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("3", 3.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("-1", None),
        ("true", None),
        ('"3"', None),
        ("9" * 400, None),
        ("null", None),
    ],
)
def test_elapsed_seconds_are_a_number_or_none(value: str, expected: float | None) -> None:
    status = modal.parse_status(200, f'{{"status":"running","elapsed_seconds":{value}}}'.encode())
    assert status.elapsed_seconds == expected
    assert type(status.elapsed_seconds) is type(expected)


def test_a_job_that_the_lenient_flavour_does_not_know() -> None:
    status = modal.parse_status(404, body({"error": "Job not found"}))
    assert (status.state, status.error) == (JobState.UNKNOWN, "Job not found")


def test_a_404_of_a_stopped_app_is_no_answer_about_the_job() -> None:
    with pytest.raises(ProviderFailure) as caught:
        modal.parse_status(404, b"modal-http: app for invoked web endpoint is stopped")
    assert caught.value.fault is Fault.NOT_CONFIGURED


@pytest.mark.parametrize("answer", [b"", b"<html>", b"[]", b'"running"', b"\xff"])
def test_a_status_that_cannot_be_read(answer: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        modal.parse_status(200, answer)


@given(st.binary(max_size=200), st.integers(100, 599))
def test_whatever_comes_is_an_answer_or_one_of_two_errors(answer: bytes, status: int) -> None:
    for read in (modal.parse_status, modal.parse_submitted, designed):
        try:
            read(status, answer)
        except (ProviderFailure, RemoteProtocolError):
            continue


def test_a_result() -> None:
    modal.check_result(200, b"")
    with pytest.raises(ResultNotReady):
        modal.check_result(202, b'{"detail": "not ready"}')
    with pytest.raises(ProviderFailure) as caught:
        modal.check_result(500, b'{"detail": "expired"}')
    assert caught.value.fault is Fault.OVERLOADED


@pytest.mark.parametrize("content_type", ["application/json", "Text/HTML; charset=utf-8", "application/problem+json "])
def test_a_document_is_no_audio(content_type: str) -> None:
    with pytest.raises(RemoteProtocolError, match="calls itself a document"):
        modal.check_result(200, b"", content_type)
    modal.check_result(200, b"", "application/octet-stream")


@pytest.mark.parametrize(
    ("status", "fault"),
    [
        (303, Fault.NOT_CONFIGURED),
        (400, Fault.BAD_INPUT),
        (401, Fault.ACCESS_DENIED),
        (402, Fault.ACCESS_DENIED),
        (403, Fault.ACCESS_DENIED),
        (404, Fault.NOT_CONFIGURED),
        (405, Fault.NOT_CONFIGURED),
        (408, Fault.ANSWER_TIMEOUT),
        (413, Fault.BAD_INPUT),
        (422, Fault.BAD_INPUT),
        (429, Fault.RATE_LIMITED),
        (500, Fault.OVERLOADED),
        (502, Fault.OVERLOADED),
        (504, Fault.ANSWER_TIMEOUT),
    ],
)
def test_refusals(status: int, fault: Fault) -> None:
    failure = modal.refusal(status, b"x" * 5000)
    assert (failure.fault, failure.vendor.http_status) == (fault, status)
    assert len(failure.vendor.message) == modal.MAX_ERROR_CHARS
    assert failure.vendor.message not in str(failure), "an exception's text is logged"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b'{"detail": "out of GPUs for \'x\'"}', "out of GPUs for 'x'"),
        (b'{"error": "gone"}', "gone"),
        (b'{"detail": [{"type": "json", "input": "It\'s what the user wrote"}]}', ""),
        (b'["what the user wrote"]', ""),
        (b"<html>Bad gateway</html>", "<html>Bad gateway</html>"),
        (b"\xff\xfe", "\ufffd\ufffd"),
    ],
)
def test_what_is_kept_of_a_refusal(answer: bytes, message: str) -> None:
    """FastAPI's 422 repeats the whole request: the text and the recording."""
    assert modal.refusal(500, answer).vendor.message == message


def test_a_design_at_once() -> None:
    assert designed(200, WAV) == WAV
    with pytest.raises(ProviderFailure) as caught:
        designed(200, b"")
    assert caught.value.fault is Fault.NO_AUDIO


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_design_that_outlives_its_request(status: int) -> None:
    step = designed(status, location="/?__modal_function_call_id=fc-7")
    assert step == DesignElsewhere("https://acme--design.modal.run/?__modal_function_call_id=fc-7")
    assert isinstance(designed(202, asked=step.url), DesignPending)


@pytest.mark.parametrize(
    "location",
    [
        "https://acme--design.modal.run/x?call=1",
        "HTTPS://ACME--design.modal.run/x",
        "https://acme--design.modal.run:443/x",
        "//acme--design.modal.run/x",
        "?call=1",
    ],
)
def test_locations_on_the_configured_host_are_followed(location: str) -> None:
    followed = modal.follow(location, asked=ENDPOINT, endpoint=ENDPOINT)
    assert "acme--design.modal.run" in followed.lower()


@pytest.mark.parametrize(
    "location",
    [
        None,
        "",
        "http://acme--design.modal.run/x",
        "https://acme--design.modal.run:8443/x",
        "https://evil.example/x",
        "//169.254.169.254/latest/meta-data",
        "https://acme--design.modal.run@evil.example/x",
        "https://user:pass@acme--design.modal.run/x",
        "file:///etc/passwd",
        "https://[::1/x",
        "https://acme--design.modal.run:99999/x",
    ],
)
def test_any_other_location_is_refused(location: str | None) -> None:
    with pytest.raises(RemoteProtocolError):
        modal.follow(location, asked=ENDPOINT, endpoint=ENDPOINT)


def test_the_second_redirect_is_held_to_the_configured_host_too() -> None:
    with pytest.raises(RemoteProtocolError, match="another host"):
        modal.follow("https://evil.example/", asked="https://evil.example/x", endpoint=ENDPOINT)


def test_the_credentials_in_an_address_are_part_of_its_origin() -> None:
    endpoint = "https://user:pass@acme--design.modal.run/"
    for location in ("?call=1", "https://user:pass@acme--design.modal.run/?call=1"):
        assert modal.follow(location, asked=endpoint, endpoint=endpoint) == f"{endpoint}?call=1"
    for location in (f"{ENDPOINT}?call=1", "https://other:word@acme--design.modal.run/?call=1"):
        with pytest.raises(RemoteProtocolError, match="another host"):
            modal.follow(location, asked=endpoint, endpoint=endpoint)


def test_pauses_between_looks_at_a_design() -> None:
    pauses = list(islice(modal.design_pauses(), 9))
    assert pauses[:3] == [1.0, 1.5, 2.25]
    assert pauses[-1] == 10.0
    assert pauses == sorted(pauses)


def test_the_languages_are_eleven_of_the_list_in_its_order() -> None:
    assert len(modal.LANGUAGES) == 11
    assert [name for name in LANGUAGES if name in modal.LANGUAGES] == list(modal.LANGUAGES)
