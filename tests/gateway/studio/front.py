"""The provider's front door: passes each request on whole, to the emulator behind it, and knows what is under way.

A request that has reached it is carried out, as at the vendor, also when whoever asked has died meanwhile.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import httpx

WAIT_SECONDS = 10.0
"""Longest wait for something that is to happen by itself; only a failing test ever waits so long."""


class Front(ThreadingHTTPServer):
    """Loopback only. `asked` has the JSON bodies that came, oldest first."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Passage)
        self.target = target
        self.asked: list[dict[str, Any]] = []
        self._done: list[str] = []
        self._held: threading.Event | None = None
        self._under_way = 0
        self._changed = threading.Condition()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def actions(self) -> list[str]:
        """What was asked for: create, list, ..."""
        return [body["input"]["action"] for body in self.asked]

    @contextmanager
    def held(self) -> Iterator[None]:
        """What is asked for in the body is done, and answered only after it."""
        self._held = threading.Event()
        try:
            yield
        finally:
            self.release()

    def release(self) -> None:
        """Answer what is held."""
        if self._held is not None:
            self._held.set()
            self._held = None

    def wait_until_done(self, action: str, times: int = 1) -> None:
        """Until so many of this action were carried out."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._done.count(action) >= times, WAIT_SECONDS), self._done

    def wait_until_quiet(self) -> None:
        """Until everything that had been sent by now is done: connections are taken in the order they come."""
        httpx.get(self.base_url, trust_env=False)
        with self._changed:
            assert self._changed.wait_for(lambda: self._under_way == 0, WAIT_SECONDS), "still under way"

    def process_request(self, request: Any, client_address: Any) -> None:
        """In the accepting thread, one after the other."""
        with self._changed:
            self._under_way += 1
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def perform(self, path: str, body: bytes, key: str) -> httpx.Response:
        """Pass it on, and keep the answer back for as long as that is `held`."""
        asked = json.loads(body)
        self.asked.append(asked)
        headers = {"Authorization": key, "Content-Type": "application/json"}
        answer = httpx.post(f"{self.target}{path}", content=body, headers=headers, timeout=30, trust_env=False)
        with self._changed:
            self._done.append(asked["input"]["action"])
            self._changed.notify_all()
        held = self._held
        if held is not None:
            held.wait(WAIT_SECONDS)
        return answer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that died has no use for its answer."""


class _Passage(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer(204, b"")

    def do_POST(self) -> None:
        size = int(self.headers["content-length"])
        body = self.rfile.read(size)
        if len(body) < size:  # its sender died in the middle: nobody acts on half a request
            return
        front = cast("Front", self.server)
        try:
            answer = front.perform(self.path, body, self.headers["authorization"])
        except httpx.RequestError:  # the emulator cut its answer: so is this one
            self.close_connection = True
            return
        self._answer(answer.status_code, answer.content)

    def _answer(self, status: int, content: bytes) -> None:
        with suppress(OSError):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Quietly."""


@contextmanager
def front_of(target: str) -> Iterator[Front]:
    """A running front of `target`, a base URL."""
    with Front(target) as front:
        thread = threading.Thread(target=front.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield front
        finally:
            front.shutdown()
            thread.join()
