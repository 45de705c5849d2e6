"""Connections opened in advance, in the whole product: what a listener gains, and what the vendor does to them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.stack import Stack, running_stack
from tests.acceptance.client import Client, until
from tests.support.stack import LIMITS, SPEED

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    environment = {**LIMITS, "QWEN_WARM_CONNECTIONS": "2", "QWEN_WARM_IDLE_SECONDS": "2"}
    with running_stack(speed=SPEED, environment=environment) as running:
        yield running


def unspoken(client: Client) -> list[str]:
    """Ids of the sessions that are open at the vendor and were told nothing yet."""
    return [row["session_id"] for row in client.stack.sessions() if row["outcome"] == "running" and not row["voice"]]


def test_the_second_of_two_listeners_speaks_on_a_session_that_was_open(client: Client) -> None:
    client.stream("The first one opens its own connection.")
    waiting = until(lambda: unspoken(client) or None)
    heard = client.stream("The second one finds one.")
    finished = [row["session_id"] for row in client.stack.sessions() if row["outcome"] == "finished"]
    assert finished[-1] in waiting
    assert client.ended(heard.task_id)["result"]["audio_sha256"] == heard.sha256


def test_none_grows_older_than_its_limit(client: Client) -> None:
    client.stream("Somebody asks.")
    first = until(lambda: unspoken(client) or None)
    until(lambda: not set(first) & set(unspoken(client)) or None)
    ends = {row["session_id"]: row["outcome"] for row in client.stack.sessions()}
    assert {ends[session] for session in first} == {"client_closed"}


def test_a_key_that_was_withdrawn_meanwhile_fails_in_words_and_warms_nothing(client: Client) -> None:
    client.order_faults("wrong_key", times=None, voice="*")
    until(lambda: unspoken(client) == [] or None)
    answer = client.http.post("/api/generate/stream", json=client.body("This will not be heard."))
    assert (answer.status_code, answer.headers["X-Utter-Error-Category"]) == (502, "provider_rejected")
    client.clear_faults()
    client.stream("It was given back.")
