"""What a client sees when something fails: JSON before the first byte, a broken connection after it, never a lie."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from bench.stack import Stack
from bench.texts import english
from tests.acceptance.client import Client

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

CURL_PARTIAL_FILE = 18
"""curl's exit status for a transfer that ended before its announced end."""

BEFORE_AUDIO = [
    # fault, for any voice (decided before the vendor knows the voice), status, category
    ("wrong_key", "*", 502, "provider_rejected"),
    ("model_gone", "*", 502, "provider_rejected"),
    ("arrears", "voice", 502, "provider_rejected"),
    ("bad_voice", "voice", 409, None),
    ("zero_audio", "voice", 503, "provider_unavailable"),
    ("throttled_upgrade", "*", 503, "provider_unavailable"),
    ("error_event", "voice", 503, "provider_unavailable"),
]


def order(client: Client, voice: str, fault: str) -> None:
    chosen = client.voice["provider_voice_id"] if voice == "voice" else voice
    body = {"voice": chosen, "faults": [fault], "times": None}
    httpx.put(f"{client.stack.emulator_rest_url}/_emulator/faults", json=body).raise_for_status()


@pytest.mark.parametrize(("fault", "voice", "status", "category"), BEFORE_AUDIO, ids=[row[0] for row in BEFORE_AUDIO])
def test_a_failure_before_audio_is_a_json_error_with_a_category(
    client: Client, fault: str, voice: str, status: int, category: str | None
) -> None:
    order(client, voice, fault)
    answer = client.http.post("/api/generate/stream", json=client.body("This will not be heard."))
    assert (answer.status_code, answer.headers.get("X-Utter-Error-Category")) == (status, category)
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json()) == {"detail"}
    assert ("Retry-After" in answer.headers) == (status == 503)
    newest = client.http.get("/api/generations", params={"per_page": 1}).json()["generations"][0]
    assert (newest["status"], newest["error_message"]) == ("failed", answer.json()["detail"])


def test_a_v1_task_fails_with_the_same_words(client: Client) -> None:
    order(client, "voice", "arrears")
    accepted = client.http.post("/api/generate", json=client.body("This will not be heard.")).json()
    task = client.ended(accepted["task_id"])
    assert (task["status"], task["provider_status"]) == ("failed", "failed")
    assert "good standing" not in task["error"]
    assert task["error"].startswith("The speech service refused")


@pytest.mark.parametrize("fault", ["cut", "error_after_audio", "garbage"])
def test_a_failure_after_audio_breaks_the_connection_and_fails_the_rows(
    client: Client, curl: str, tmp_path: Path, fault: str
) -> None:
    order(client, "voice", fault)
    heard, headers = tmp_path / "heard.mp3", tmp_path / "headers"
    finished = subprocess.run(
        [
            *[curl, "-sS", "-N", "-o", str(heard), "-D", str(headers), "-X", "POST"],
            *["-H", f"Authorization: Bearer {client.stack.token}", "-d", json_body(client, english(300))],
            f"{client.stack.base_url}/api/generate/stream",
        ],
        check=False,
        capture_output=True,
    )
    assert finished.returncode == CURL_PARTIAL_FILE, finished.stderr
    assert heard.stat().st_size > 0
    sent = dict(line.lower().split(": ", 1) for line in headers.read_text().splitlines() if ": " in line)
    assert sent["transfer-encoding"] == "chunked"
    task = client.ended(sent["x-utter-task-id"])
    assert task["status"] == "failed"
    assert "result" not in task
    late = client.http.get(f"/api/generations/{sent['x-utter-generation-id']}/stream")
    assert (late.status_code, set(late.json())) == (410, {"detail"})


def test_a_listener_that_leaves_costs_nobody_the_audio(client: Client) -> None:
    with client.streaming(english(200)) as response:
        next(response.iter_raw())
    task = client.ended(response.headers["X-Utter-Task-Id"])
    assert task["status"] == "completed"
    replay = client.http.get(f"/api/generations/{response.headers['X-Utter-Generation-Id']}/stream")
    assert len(replay.content) == task["result"]["audio_bytes"]


@pytest.fixture
def connection(stack: Stack) -> Iterator[socket.socket]:
    address = urlsplit(stack.base_url)
    with closing(socket.create_connection((address.hostname, address.port), timeout=10)) as connected:
        yield connected


def exchange(connection: socket.socket, request: bytes) -> bytes:
    """Everything the server says until it closes or falls silent."""
    connection.sendall(request)
    answer = b""
    try:
        while piece := connection.recv(65536):
            answer += piece
    except (TimeoutError, ConnectionResetError):
        pass
    return answer


STREAM_ROUTES = ["POST /api/generate/stream", "GET /api/generations/5a17e000-0000-4000-8000-000000000001/stream"]


@pytest.mark.parametrize("route", STREAM_ROUTES)
@pytest.mark.parametrize("mount", ["/api", "/functions/v1/api"])
def test_http_1_0_on_a_stream_route_is_refused(connection: socket.socket, route: str, mount: str) -> None:
    head, _, body = exchange(connection, f"{route.replace('/api', mount)} HTTP/1.0\r\n\r\n".encode()).partition(
        b"\r\n\r\n"
    )
    assert b" 426 " in head.splitlines()[0]
    assert b"application/json" in head.lower()
    assert b'"detail"' in body


def test_http_1_0_elsewhere_is_served(connection: socket.socket) -> None:
    assert b" 200 " in exchange(connection, b"GET /api/health HTTP/1.0\r\n\r\n").splitlines()[0]


def test_http_2_by_prior_knowledge_is_refused(connection: socket.socket, stack: Stack, curl: str) -> None:
    answer = exchange(connection, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
    assert answer.startswith(b"HTTP/1.1 505 ")
    finished = subprocess.run(
        [curl, "-sS", "--http2-prior-knowledge", f"{stack.base_url}/api/health"], check=False, capture_output=True
    )
    assert finished.returncode != 0
    assert finished.stdout == b""


def test_an_upgrade_to_http_2_is_ignored(stack: Stack, curl: str) -> None:
    finished = subprocess.run(
        [
            curl,
            "-sS",
            "--http2",
            "-o",
            "/dev/null",
            "-w",
            "%{http_version} %{http_code}",
            f"{stack.base_url}/api/health",
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    assert finished.stdout == "1.1 200"


def json_body(client: Client, text: str) -> str:
    return httpx.Request("POST", "http://utter", json=client.body(text)).content.decode()
