"""Every odd text has a defined answer, on both generate routes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.acceptance.client import Client

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

REFUSED: dict[str, Any] = {
    "no character": "",
    "only whitespace": " \t\r\n\u00a0\u2003\ufeff",
    "only punctuation": "... !? -- ,;:",
    "only emoji": "😀🎉👩‍👩‍👧",
    "2001 characters": "a" * 2001,
    "2001 UTF-16 units in 1001 code points": "a" + "😀" * 1000,
    "a NUL inside": "before\0after",
    "a lone high surrogate": "before \ud800 after",
    "a lone low surrogate": "before \udc00 after",
    "a number": 17,
    "a list": ["hello"],
    "null": None,
}

SPOKEN = {
    "one letter": "a",
    "one digit": "7",
    "one Han character": "好",
    "emoji in a sentence": "Happy birthday 🎂, dear 👩‍👩‍👧!",
    "right to left beside left to right": "The word שלום means peace.",
    "whitespace around it": "  \n Hello there. \t",
    "combining marks": "Cre\u0300me bru\u0302le\u0301e, s'il vous plai\u0302t.",
    "a line separator": "First line.\u2028Second line.",
}


def post(client: Client, route: str, text: Any) -> Any:
    """As raw JSON: a lone surrogate has no UTF-8, only an escape."""
    body = {"voice_id": client.voice["id"], "text": text, "language": "Auto"}
    return client.http.post(route, content=json.dumps(body).encode("ascii"))


@pytest.mark.parametrize("route", ["/api/generate", "/api/generate/stream"])
@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_spoken_is_a_400_in_words(client: Client, route: str, text: Any) -> None:
    answer = post(client, route, text)
    assert answer.status_code == 400, answer.text
    assert answer.headers["X-Utter-Error-Category"] == "validation"
    assert isinstance(answer.json()["detail"], str)


def test_the_cap_is_named(client: Client) -> None:
    assert post(client, "/api/generate", "a" * 2001).json() == {"detail": "Text cannot exceed 2000 characters"}


@pytest.mark.parametrize("text", SPOKEN.values(), ids=SPOKEN)
def test_what_can_be_spoken_is(client: Client, text: str) -> None:
    heard = client.stream(text)
    task = client.ended(heard.task_id)
    assert task["status"] == "completed"
    assert task["result"]["audio_sha256"] == heard.sha256


def test_2000_characters_are_taken(client: Client) -> None:
    accepted = post(client, "/api/generate", "a " * 999 + "a.")
    assert accepted.status_code == 200
    assert client.http.post(f"/api/tasks/{accepted.json()['task_id']}/cancel").status_code == 200


def test_trimming_comes_before_counting(client: Client) -> None:
    accepted = post(client, "/api/generate", " " * 500 + "a" * 1999 + "." + " " * 500)
    assert accepted.status_code == 200
    assert client.http.post(f"/api/tasks/{accepted.json()['task_id']}/cancel").status_code == 200


def test_the_history_keeps_the_text_as_it_was_spoken(client: Client) -> None:
    client.stream(SPOKEN["emoji in a sentence"])
    newest = client.http.get("/api/generations", params={"per_page": 1}).json()["generations"][0]
    assert newest["text"] == SPOKEN["emoji in a sentence"]
