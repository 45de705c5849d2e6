"""`utter dev` with TTS_PROVIDER_MODE=modal, and one data directory in both modes."""

from __future__ import annotations

import io
import wave
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import httpx
import numpy as np
import pytest

from bench.stack import Stack, started
from tests.acceptance.client import Client, until
from tests.support.cli import utter
from tests.support.stack import LIMITS

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(180)]

TEXT = "Make yourself comfortable. The story is not a long one, but it wants to be told from its beginning."
SPEECH_SECONDS = 2.0
"""TEXT takes longer than that in every voice."""


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Not pytest's own folder, which root's database account may not pass through."""
    with TemporaryDirectory(prefix="utter-modal-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def modal_stack() -> Iterator[Stack]:
    with TemporaryDirectory(prefix="utter-modal-") as folder, started(Path(folder), environment=mode("modal")) as stack:
        yield stack


@pytest.fixture
def client(modal_stack: Stack) -> Iterator[Client]:
    with closing(Client(modal_stack)) as client:
        yield client


def mode(name: str) -> dict[str, str]:
    return {**LIMITS, "TTS_PROVIDER_MODE": name}


def generate(client: Client, voice_id: str, text: str = TEXT) -> dict[str, Any]:
    """An order for speech, as accepted."""
    body = {"voice_id": voice_id, "text": text, "language": "English"}
    order: dict[str, Any] = client.http.post("/api/generate", json=body).raise_for_status().json()
    return order


def stored_audio(client: Client, generation_id: str) -> bytes:
    answer = client.http.get(f"/api/generations/{generation_id}/audio", follow_redirects=True)
    assert answer.raise_for_status().headers["content-type"] == "audio/wav"
    return answer.content


def assert_speech(wav: bytes) -> None:
    """By two decoders: it is long enough, loud enough, and in the format that was promised."""
    with wave.open(io.BytesIO(wav)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24000, 1, 2)
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
    assert len(samples) / 24000 > SPEECH_SECONDS
    assert np.abs(samples.astype(int)).max() > 3000
    with av.open(io.BytesIO(wav), "r") as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) == len(samples)


def sources(voices: Sequence[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(row["tts_provider"], row["source"]) for row in voices}


def billing(stack: Stack) -> dict[str, int]:
    bill: dict[str, int] = httpx.get(f"{stack.emulator_rest_url}/_emulator/billing").json()
    return bill


def test_it_says_what_it_can_do(client: Client) -> None:
    assert client.http.get("/api/ready").status_code == 200
    languages = client.http.get("/api/languages").json()
    assert languages["provider"] == "modal"
    assert languages["capabilities"]["supports_generate_stream"] is False
    stream = client.http.post("/api/generate/stream", json=client.body("Good morning."))
    assert (stream.status_code, set(stream.json())) == (409, {"detail"})
    assert "poll its task" in stream.json()["detail"]


def test_its_demo_voices_cost_nothing(modal_stack: Stack) -> None:
    voices = modal_stack.voices()
    assert sources(voices) == {("modal", "uploaded"), ("modal", "designed")}
    assert all(row["reference_transcript"] for row in voices)
    assert billing(modal_stack)["clones"] == billing(modal_stack)["designs"] == 0


@pytest.mark.parametrize("source", ["uploaded", "designed"])
def test_a_demo_voice_speaks_by_the_task_flow(client: Client, source: str) -> None:
    voice = next(row for row in client.stack.voices() if row["source"] == source)
    order = generate(client, voice["id"])
    ended = client.ended(order["task_id"])
    assert (ended["status"], ended["provider"]) == ("completed", "modal")
    assert_speech(stored_audio(client, order["generation_id"]))


def test_the_two_demo_voices_sound_different(client: Client) -> None:
    orders = []
    for row in client.stack.voices():
        orders.append(generate(client, row["id"]))
        client.ended(orders[-1]["task_id"])
    first, second = (stored_audio(client, order["generation_id"]) for order in orders)
    assert first != second


def test_a_job_outlives_kill_9_and_a_change_of_mode(data_dir: Path) -> None:
    """Work already begun belongs to the provider on its row (product decision 1); Modal remembers its job."""
    with started(data_dir, environment=mode("modal")) as stack, closing(Client(stack)) as client:
        order = generate(client, client.voice["id"])
        stack.process.kill()
        stack.process.wait()
    with started(data_dir, environment=mode("qwen")) as stack, closing(Client(stack)) as client:
        assert client.ended(order["task_id"])["status"] == "completed"
        assert_speech(stored_audio(client, order["generation_id"]))
        assert billing(stack)["modal_jobs"] == 1


def test_a_data_directory_has_voices_of_the_modes_it_was_started_in(data_dir: Path) -> None:
    with started(data_dir, environment=mode("qwen")) as stack:
        qwen, bill = stack.voices(), billing(stack)
    with started(data_dir, environment=mode("modal")) as stack, closing(Client(stack)) as client:
        both = stack.voices()
        assert [row for row in both if row["tts_provider"] == "qwen"] == qwen
        assert sources(both) == {(name, made) for name in ("qwen", "modal") for made in ("uploaded", "designed")}
        foreign = client.http.post("/api/generate", json={"voice_id": qwen[0]["id"], "text": TEXT})
        assert foreign.status_code == 409
        deleted = client.voice["id"]
        assert client.http.delete(f"/api/voices/{deleted}").status_code == 200
    with started(data_dir, environment=mode("qwen")) as stack, closing(Client(stack)) as client:
        assert stack.voices() == [row for row in both if row["id"] != deleted]
        assert billing(stack) == bill
        assert client.stream("And speak again.").audio
        assert stack.voices()[0]["tts_provider"] == "modal", "the newest is not one that can speak now"
        said = utter("say", "Good evening.", "-o", data_dir / "said.mp3", "--data-dir", data_dir)
        assert said.exit_code == 0, said.stderr
        assert (data_dir / "said.mp3").stat().st_size > 5000
    with started(data_dir, environment=mode("modal")) as stack:
        assert deleted not in {row["id"] for row in stack.voices()}
        assert billing(stack)["modal_designs"] == 0


def test_a_job_that_nobody_polls_is_finished(data_dir: Path) -> None:
    environment = {**mode("modal"), "UTTER_SWEEP_SECONDS": "0.2"}
    with started(data_dir, environment=environment) as stack, closing(Client(stack)) as client:
        order = generate(client, client.voice["id"])
        until(lambda: True if finished(client, order["generation_id"]) else None)
        assert client.task(order["task_id"])["modal_poll_count"] == 0
        assert_speech(stored_audio(client, order["generation_id"]))


def finished(client: Client, generation_id: str) -> bool:
    rows = client.http.get("/api/generations").raise_for_status().json()["generations"]
    return any(row["id"] == generation_id and row["status"] == "completed" for row in rows)
