"""Several workers, one service: listeners hear the same wherever they land, and cancels reach who makes the audio."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from bench.stack import Stack
from tests.acceptance.client import until
from tests.support.served import Served, serving

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(180)]

LONG = "The harbour lay quiet in the morning light, and nobody on the pier had yet begun to speak. " * 6

LISTENERS = 12

SPREAD = 6
"""Connections of which both workers surely have some."""


@pytest.fixture
def served(stack: Stack, tmp_path: Path) -> Iterator[Served]:
    with serving(stack, tmp_path, "--workers", 2) as running:
        yield running


def listen(url: str, offset: int) -> bytes:
    """On a connection of its own, which any worker may take."""
    answer = httpx.get(f"{url}&offset={offset}", timeout=60, trust_env=False)
    assert answer.status_code == 200, answer.text
    return answer.content


def open_stream(stack: ExitStack, url: str) -> Iterator[bytes]:
    """The same, piece by piece, until `stack` closes it."""
    http = stack.enter_context(httpx.Client(timeout=60, trust_env=False))
    return stack.enter_context(http.stream("GET", url)).iter_raw()


def workers_that_answered(served: Served, generation_id: str) -> set[int]:
    lines = served.lines("http.request")
    return {line["worker"] for line in lines if generation_id in line["path"] and line["method"] == "GET"}


def test_everybody_hears_the_same_wherever_they_land(served: Served) -> None:
    with served.client() as client, client.streaming(LONG) as stream:
        url, generation_id = stream.headers["X-Utter-Stream-Url"], stream.headers["X-Utter-Generation-Id"]
        with ThreadPoolExecutor(LISTENERS) as threads:
            joined = [threads.submit(listen, url, offset) for offset in range(LISTENERS)]
            whole = b"".join(stream.iter_raw())
            for offset, heard in enumerate(joined):
                assert hashlib.sha256(heard.result()).digest() == hashlib.sha256(whole[offset:]).digest(), offset
    until(lambda: workers_that_answered(served, generation_id) == {1, 2} or None)


def test_a_cancel_at_any_worker_reaches_the_one_that_speaks(served: Served) -> None:
    for _ in range(4):
        with served.client() as client, client.streaming(LONG) as stream:
            task = stream.headers["X-Utter-Task-Id"]
            answer = httpx.post(
                f"{served.stack.base_url}/api/tasks/{task}/cancel", headers=served.stack.headers, trust_env=False
            )
            assert answer.status_code == 200
            with pytest.raises(httpx.RemoteProtocolError):
                for _ in stream.iter_raw():
                    pass
            assert client.task(task)["status"] == "cancelled"


def test_the_last_listener_may_be_a_relayed_one(served: Served) -> None:
    """`on_disconnect: cancel`, with the listeners spread over both."""
    with served.client() as client, ExitStack() as others:
        body = {**client.body(LONG), "on_disconnect": "cancel"}
        with client.http.stream("POST", "/api/generate/stream", json=body) as first:
            url, task = first.headers["X-Utter-Stream-Url"], first.headers["X-Utter-Task-Id"]
            heard = [open_stream(others, url) for _ in range(SPREAD)]
            for pieces in heard:
                next(pieces)
        assert client.task(task)["status"] == "processing", "others still listen"
        others.close()
        until(lambda: client.task(task)["status"] == "cancelled" or None)


def test_who_is_relayed_is_cut_when_the_one_that_speaks_dies(served: Served) -> None:
    """And never told that half of it is all."""
    with served.client() as client, client.streaming(LONG) as stream, ExitStack() as others:
        url, generation_id = stream.headers["X-Utter-Stream-Url"], stream.headers["X-Utter-Generation-Id"]
        begun = served.lines("database.begin.completed")
        (owner,) = {line["worker"] for line in begun if line["generation_id"] == generation_id}
        heard = [open_stream(others, url) for _ in range(SPREAD)]
        for pieces in heard:
            next(pieces)
        served.workers()[owner].kill()
        for pieces in heard:
            with pytest.raises(httpx.TransportError):
                list(pieces)
