"""What the v1 web client does, step by step, with nothing a browser would not know (v1 contract 5)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import httpx

from tests.contract.shapes import TASK, Shape, absolute_url, complaint
from tests.contract.things import TRANSCRIPT
from tests.contract.world import RECORDING, User, World

POLL_SECONDS = 0.1
"""The SPA polls once a second; the emulator is that much faster than life."""

POLLS = 300
"""More than any work of these tests needs."""

TASK_FIELDS = set(TASK)
OPTIONAL_FIELDS = {"result", "stream_url"}


@dataclass(frozen=True, slots=True)
class Spa:
    """A signed-in browser tab, at the world's own server unless `http` leads to another one."""

    world: World
    user: User
    http: httpx.Client | None = None

    def ask(self, method: str, path: str, **how: Any) -> httpx.Response:
        return self._send(self.user, method, f"/api{path}", **how)

    def json(self, method: str, path: str, **how: Any) -> Any:
        """A success, which must be 200 and JSON: the SPA refuses everything else."""
        answer = self.ask(method, path, **how)
        assert answer.status_code == 200, answer.text
        assert "application/json" in answer.headers["Content-Type"]
        return answer.json()

    def poll(self, task: str) -> dict[str, Any]:
        """One look at a task, with exactly the fields it may have."""
        found: dict[str, Any] = self.json("GET", f"/tasks/{task}")
        assert found.keys() - OPTIONAL_FIELDS == TASK_FIELDS
        wrong = complaint({name: value for name, value in found.items() if name not in OPTIONAL_FIELDS}, TASK)
        assert wrong is None, wrong
        assert ("result" in found) == (found["status"] == "completed")
        return found

    def watch(self, task: str) -> list[dict[str, Any]]:
        """Every look at a task until it has ended; never backwards."""
        order = ("pending", "processing", "completed", "failed", "cancelled")
        seen: list[dict[str, Any]] = []
        for _ in range(POLLS):
            seen.append(self.poll(task))
            if len(seen) > 1:
                assert order.index(seen[-1]["status"]) >= order.index(seen[-2]["status"])
            if seen[-1]["status"] not in {"pending", "processing"}:
                return seen
            time.sleep(POLL_SECONDS)
        raise AssertionError(f"the task never ended: {seen[-1]}")

    def play(self, path: str) -> bytes:
        """Fetch an audio route as the player does: follow it with the bearer, then read the final address without."""
        answer = self._send(self.user, "GET", path)
        assert answer.status_code == 302
        return self.fetch_twice(answer.headers["Location"])

    def fetch_twice(self, url: str) -> bytes:
        """The same bytes twice, without credentials, from an address a page of another origin may read."""
        assert absolute_url(url)
        first, second = (self._send(None, "GET", url, headers={"Origin": "https://app.example"}) for _ in range(2))
        assert (first.status_code, second.status_code) == (200, 200), first.text
        assert first.headers["Access-Control-Allow-Origin"] == "*"
        assert first.content == second.content
        return first.content

    def clone(self, recording: bytes = RECORDING, **fields: str) -> dict[str, Any]:
        """Both steps of the Clone page, and the upload between them. The answer of the second."""
        wanted = {"name": "Ada", "language": "English", "transcript": TRANSCRIPT, **fields}
        place = self.json("POST", "/clone/upload-url", json=wanted)
        stored = self._send(None, "PUT", place["upload_url"], content=recording, headers={"Content-Type": "audio/wav"})
        assert stored.status_code == 200, stored.text
        made: dict[str, Any] = self.json("POST", "/clone/finalize", json={**wanted, "voice_id": place["voice_id"]})
        return made

    def start_preview(self, **fields: str) -> str:
        """The Design page's first step. The id of the task."""
        wanted = {"text": "Good evening.", "instruct": "A calm narrator.", "language": "English", **fields}
        started = self.json("POST", "/voices/design/preview", json=wanted)
        assert started["status"] == "pending"
        return str(started["task_id"])

    def save_design(self, audio: bytes, **fields: str) -> httpx.Response:
        """The Design page's second step, as v1 sends it: the preview's own bytes again, and no task id."""
        form = {"name": "Narrator", "text": "Good evening.", "language": "English", "instruct": "A calm narrator."}
        return self.ask(
            "POST",
            "/voices/design",
            data={**form, **fields},
            files={"audio": ("preview.wav", audio, "audio/wav")},
        )

    def generate(self, voice: str, text: str = "Good morning, dear listeners, wherever you are.") -> dict[str, Any]:
        """The Generate page's button."""
        accepted: dict[str, Any] = self.json(
            "POST", "/generate", json={"voice_id": voice, "text": text, "language": "Auto", "model": "0.6B"}
        )
        return accepted

    def listed(self, kind: str, query: str = "") -> list[dict[str, Any]]:
        """What a list route gives."""
        found: list[dict[str, Any]] = self.json("GET", f"/{kind}{query}")[kind]
        return found

    def _send(self, user: User | None, method: str, path: str, **how: Any) -> httpx.Response:
        return self.world.ask(user, method, path, through=self.http, **how)


def assert_shape(value: object, shape: Shape) -> None:
    """Raises AssertionError that says what differs."""
    found = complaint(value, shape)
    assert found is None, found
