"""Whoever listens, whenever and however: the same bytes, and they are good MP3."""

from __future__ import annotations

import base64
import hashlib
import threading
import time
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from bench.stack import Stack, running_stack
from bench.texts import english, japanese
from tests.acceptance.client import (
    READ_SECONDS,
    Client,
    seconds_by_dr_mp3,
    seconds_by_ffmpeg,
    seconds_by_mpg123,
    until,
)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

TEXT = english(400)

TOLERANCE = 0.03
TOLERANCE_PER_RESPONSE_SECONDS = 0.060
"""An MP3 encoder pads each response at both ends: some 50 ms at 24 kHz."""


class Listener(threading.Thread):
    """One reader of `GET /generations/:id/stream`, from `offset` on."""

    def __init__(self, stack: Stack, generation_id: str, offset: int = 0) -> None:
        super().__init__()
        self.audio = b""
        self._stack = stack
        self._path = f"/api/generations/{generation_id}/stream" + (f"?offset={offset}" if offset else "")
        self.start()

    def run(self) -> None:
        response = httpx.get(self._stack.base_url + self._path, headers=self._stack.headers, timeout=READ_SECONDS)
        response.raise_for_status()
        self.audio = response.content

    def heard(self) -> bytes:
        self.join(READ_SECONDS)
        return self.audio


@pytest.mark.parametrize("faults", [(), ("several_responses", "id3_xing")], ids=["plain", "ID3 and Xing at joins"])
def test_streamed_joined_resumed_and_stored_are_the_same_bytes(
    client: Client, tmp_path: Path, mpg123: None, faults: tuple[str, ...]
) -> None:
    if faults:
        client.order_faults(*faults)
    began = time.monotonic_ns()
    listeners: list[Listener] = []
    pieces: list[bytes] = []
    with client.streaming(TEXT, "English") as response:
        assert response.status_code == 200, response.read()
        generation_id = response.headers["X-Utter-Generation-Id"]
        for piece in response.iter_raw():
            if not pieces:
                listeners.append(Listener(client.stack, generation_id))
                listeners.append(Listener(client.stack, generation_id, offset=1001))
            pieces.append(piece)
            if len(pieces) == 5:
                assert client.task(response.headers["X-Utter-Task-Id"])["status"] == "processing"
                listeners.append(Listener(client.stack, generation_id))
                listeners.append(Listener(client.stack, generation_id, offset=len(b"".join(pieces))))
    streamed = b"".join(pieces)
    first, resumed, late, at_live_end = (listener.heard() for listener in listeners)
    assert first == streamed
    assert resumed == streamed[1001:]
    assert late == streamed
    assert at_live_end == streamed[len(b"".join(pieces[:5])) :]

    task = client.ended(response.headers["X-Utter-Task-Id"])
    digest = hashlib.sha256(streamed).hexdigest()
    assert task["status"] == "completed"
    assert task["result"]["audio_bytes"] == len(streamed)
    assert task["result"]["audio_sha256"] == digest

    stored = client.http.get(f"/api/generations/{generation_id}/audio", follow_redirects=True)
    replayed = client.http.get(f"/api/generations/{generation_id}/stream")
    assert stored.content == streamed
    assert replayed.content == streamed
    assert replayed.headers["Repr-Digest"] == f"sha-256=:{base64.b64encode(bytes.fromhex(digest)).decode()}:"
    on_disk = client.stack.data_dir / "objects" / "generations" / client.stack.demo_user / f"{generation_id}.mp3"
    assert on_disk.read_bytes() == streamed

    session = client.session_of(began)
    spoken = session["audio_seconds"]
    allowed = spoken * TOLERANCE + session["responses"] * TOLERANCE_PER_RESPONSE_SECONDS
    assert session["responses"] > 1 if faults else session["responses"] == 1
    for decode in (seconds_by_dr_mp3, seconds_by_ffmpeg, lambda audio: seconds_by_mpg123(audio, tmp_path)):
        assert abs(decode(streamed) - spoken) <= allowed
    row = next(row for row in client.http.get("/api/generations").json()["generations"] if row["id"] == generation_id)
    assert abs(row["duration_seconds"] - spoken) <= allowed


def test_the_first_byte_comes_while_the_rest_is_being_made(client: Client) -> None:
    began = time.monotonic_ns()
    arrivals: list[int] = []
    with client.streaming(TEXT, "English") as response:
        arrivals.extend(time.monotonic_ns() for _ in response.iter_raw())
    session = client.session_of(began)
    # The provider takes most of the session to speak; the listener's first byte comes in its first quarter.
    speaking = session["last_delta_monotonic_ns"] - session["first_delta_monotonic_ns"]
    assert arrivals[0] < session["first_delta_monotonic_ns"] + speaking / 4
    assert arrivals[0] < session["last_delta_monotonic_ns"] <= arrivals[-1]


def test_v1_polls_the_same_pipeline(client: Client) -> None:
    answer = client.http.post("/api/generate", json=client.body("A task, as ever.", "English"))
    assert answer.status_code == 200
    accepted = answer.json()
    assert accepted["status"] == "processing"
    assert accepted["is_long_running"] is True
    assert accepted["estimated_duration_minutes"] == 0.1
    joined = client.http.get(f"/api/generations/{accepted['generation_id']}/stream")
    task = client.ended(accepted["task_id"])
    assert task["status"] == "completed"
    assert task["result"]["audio_url"] == f"/api/generations/{accepted['generation_id']}/audio"
    probe = client.http.get(task["result"]["audio_url"])
    assert probe.status_code == 302
    fetched = [httpx.get(probe.headers["location"]).content for _ in range(2)]
    assert fetched[0] == fetched[1] == joined.content
    assert hashlib.sha256(joined.content).hexdigest() == task["result"]["audio_sha256"]


def test_a_second_v1_task_is_refused_while_one_runs_and_a_stream_is_not(client: Client) -> None:
    first = client.http.post("/api/generate", json=client.body(english(300))).json()
    second = client.http.post("/api/generate", json=client.body("Me too."))
    assert second.status_code == 409
    assert client.stream("A stream beside it.").audio
    cancelled = client.http.post(f"/api/tasks/{first['task_id']}/cancel")
    assert cancelled.json() == {"cancelled": True, "task_id": first["task_id"]}
    third = client.http.post("/api/generate", json=client.body("Now it is free."))
    assert third.status_code == 200
    assert client.ended(third.json()["task_id"])["status"] == "completed"


def test_the_signed_stream_url_plays_without_a_token_header(client: Client) -> None:
    with client.streaming(english(200)) as response:
        url = response.headers["X-Utter-Stream-Url"]
        joined = httpx.get(url, timeout=READ_SECONDS)
        own = b"".join(response.iter_raw())
    assert joined.status_code == 200
    assert joined.content == own
    other = client.stream("Another one.")
    assert httpx.get(url.replace(url.split("/generations/")[1][:36], other.generation_id)).status_code == 401


def test_ranges_of_a_running_and_of_a_stored_generation(client: Client) -> None:
    with client.streaming(english(300)) as response:
        pieces = response.iter_raw()
        start = next(pieces)
        path = f"/api/generations/{response.headers['X-Utter-Generation-Id']}/stream"
        part = client.http.get(path, headers={"Range": "bytes=10-49"})
        beyond = client.http.get(path, headers={"Range": "bytes=90000000-90000001"})
        whole = start + b"".join(pieces)
    assert (part.status_code, part.content) == (206, whole[10:50])
    assert part.headers["Content-Range"] == "bytes 10-49/*"
    assert beyond.status_code == 416
    client.ended(response.headers["X-Utter-Task-Id"])
    stored = client.http.get(path, headers={"Range": "bytes=-100"})
    assert (stored.status_code, stored.content) == (206, whole[-100:])
    assert stored.headers["Content-Range"] == f"bytes {len(whole) - 100}-{len(whole) - 1}/{len(whole)}"
    assert client.http.get(path, params={"offset": len(whole)}).content == b""
    assert client.http.get(path, params={"offset": len(whole) + 1}).status_code == 416


def test_cancel_ends_the_provider_session_the_stream_and_the_rows(client: Client) -> None:
    received = 0
    began = time.monotonic_ns()
    with client.streaming(english(1500)) as response, pytest.raises(httpx.RemoteProtocolError):
        for piece in response.iter_raw():
            if not received:
                client.http.post(f"/api/tasks/{response.headers['X-Utter-Task-Id']}/cancel").raise_for_status()
            received += len(piece)
    task = client.task(response.headers["X-Utter-Task-Id"])
    assert task["status"] == task["provider_status"] == "cancelled"
    stream = client.http.get(f"/api/generations/{response.headers['X-Utter-Generation-Id']}/stream")
    assert stream.status_code == 410
    assert stream.headers["X-Utter-Error-Category"] == "cancelled"
    # The vendor's side of it: a session that its client left, with most of the text unspoken.
    left = until(lambda: client.session_of(began) if client.session_of(began)["outcome"] else None)
    assert left["outcome"] == "client_closed"
    assert left["audio_seconds"] < 20


def test_deleting_a_running_generation_cancels_it_first(client: Client) -> None:
    accepted = client.http.post("/api/generate", json=client.body(english(600))).json()
    client.http.get(f"/api/generations/{accepted['generation_id']}/stream", headers={"Range": "bytes=0-0"})
    assert client.http.delete(f"/api/generations/{accepted['generation_id']}").json() == {"ok": True}
    assert client.task(accepted["task_id"])["status"] == "cancelled"
    assert client.http.delete(f"/api/generations/{accepted['generation_id']}").status_code == 404


@pytest.mark.slow
def test_a_quarter_of_an_hour_of_japanese(tmp_path: Path, mpg123: None) -> None:
    with running_stack(speed=60.0) as stack, closing(Client(stack)) as client:
        heard = client.stream(japanese(2000), "Japanese")
        spoken = sum(session["audio_seconds"] for session in stack.sessions())  # those opened in advance say nothing
    assert spoken > 10 * 60
    assert abs(seconds_by_mpg123(heard.audio, tmp_path) - spoken) <= spoken * TOLERANCE
