"""Modal's five endpoints on a real socket, doing exactly what a test says: for what the emulator cannot be told.

Without orders it is an app that is done at once. An order is used up by one request.
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

JOB = "fc-01"
WAV = b"RIFF" + bytes(40)
"""44 bytes, a WAV file without a sample: v1 takes it (v1 contract 1.4)."""

WAIT_SECONDS = 10.0
"""Longest wait for a request, or of a held answer; only a failing test ever waits so long."""


@dataclass(frozen=True)
class Reply:
    """What one request gets. `held`: not before `release`; `cut`: the connection ends instead; `short`: it ends in
    the middle of the body; `stale`: it ends, unannounced, after the whole answer."""

    content: Any = None
    status: int = 200
    raw: bytes | None = None
    location: str | None = None
    content_type: str | None = None
    encoding: str | None = None
    held: bool = False
    cut: bool = False
    short: bool = False
    stale: bool = False

    @property
    def body(self) -> bytes:
        return json.dumps(self.content).encode() if self.raw is None else self.raw

    @property
    def headers(self) -> dict[str, str]:
        named = {"Content-Type": self.content_type, "Content-Encoding": self.encoding, "Location": self.location}
        given = {name: value for name, value in named.items() if value is not None}
        return {"Content-Length": str(len(self.body)), **given}


@dataclass(frozen=True)
class Asked:
    """A request that came, over the connection with this number."""

    method: str
    query: dict[str, list[str]]
    body: bytes
    connection: int
    headers: dict[str, str]

    def json(self) -> Any:
        return json.loads(self.body)


_DONE = {
    "submit": Reply({"job_id": JOB, "status": "submitted", "text_length": 1}),
    "status": Reply({"job_id": JOB, "status": "completed", "result_ready": True}),
    "result": Reply(raw=WAV),
    "cancel": Reply({"job_id": JOB, "status": "cancelled"}),
    "design": Reply(raw=WAV),
}
RUNNING = Reply({"job_id": JOB, "status": "running", "result_ready": False})


@dataclass
class ModalServer:
    """`orders` by endpoint, first in first out; `usual` is what comes when there is none."""

    base: str = ""
    usual: dict[str, Reply] = field(default_factory=lambda: dict(_DONE))
    _orders: dict[str, deque[Reply]] = field(default_factory=lambda: defaultdict(deque))
    _asked: dict[str, list[Asked]] = field(default_factory=lambda: defaultdict(list))
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _released: threading.Event = field(default_factory=threading.Event)

    def url(self, endpoint: str) -> str:
        return f"{self.base}/{endpoint}"

    def environment(self) -> dict[str, str]:
        """The gateway's settings for this server."""
        return {
            "MODAL_JOB_SUBMIT": self.url("submit"),
            "MODAL_JOB_STATUS": self.url("status"),
            "MODAL_JOB_RESULT": self.url("result"),
            "MODAL_JOB_CANCEL": self.url("cancel"),
            "MODAL_ENDPOINT_VOICE_DESIGN": self.url("design"),
        }

    def order(self, endpoint: str, *replies: Reply) -> None:
        """The next answers of an endpoint."""
        with self._changed:
            self._orders[endpoint].extend(replies)

    def asked(self, endpoint: str) -> list[Asked]:
        """The requests an endpoint got so far."""
        with self._changed:
            return list(self._asked[endpoint])

    def wait_for(self, endpoint: str, count: int = 1) -> None:
        """Return when the endpoint got so many requests. Blocks: call it in a thread."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._asked[endpoint]) >= count, WAIT_SECONDS), endpoint

    def release(self) -> None:
        """Answer what is held, and hold nothing from now on."""
        self._released.set()

    def take(self, endpoint: str, asked: Asked) -> Reply:
        """For the server's threads: note the request, and say what it gets."""
        with self._changed:
            self._asked[endpoint].append(asked)
            self._changed.notify_all()
            orders = self._orders[endpoint]
            reply = orders.popleft() if orders else self.usual.get(endpoint, Reply({}, status=404))
        if reply.held:
            self._released.wait(WAIT_SECONDS)
        return reply


@contextmanager
def modal_server() -> Iterator[ModalServer]:
    """A server for the body; nothing held outlives it."""
    modal = ModalServer()
    connections = iter(range(1_000_000))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            self.number = next(connections)

        def do_GET(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def _serve(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.command, parse_qs(parts.query), body, self.number, headers)
            reply = modal.take(parts.path.strip("/"), asked)
            if reply.cut:
                self.close_connection = True
                return
            self._send(reply)
            self.close_connection = self.close_connection or reply.stale or reply.short

        def _send(self, reply: Reply) -> None:
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body[: len(reply.body) // 2] if reply.short else reply.body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
            """Quiet."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that left in the middle is part of many tests."""

    with Server(("127.0.0.1", 0), Handler) as server:
        modal.base = f"http://127.0.0.1:{server.server_address[1]}"
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        serving.start()
        try:
            yield modal
        finally:
            modal.release()
            server.shutdown()
            serving.join()
