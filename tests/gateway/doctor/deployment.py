"""A deployment in which everything is right, and what can be made wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from gateway.doctor import Diagnosis, Report, examine, unusable
from gateway.findings import Verdict
from gateway.settings import SettingsError, load_settings
from storage.embedded import LOGIN
from tests.support.emulator import Emulator
from tests.support.postgres import TestDatabase

SECRET = "jwt-secret-of-at-least-thirty-two-bytes"


@dataclass
class Deployment:
    """`environment` is what a test changes before it calls the doctor."""

    database: TestDatabase
    emulator: Emulator
    folder: Path
    environment: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.environment = {
            "UTTER_ENV": "staging",
            "TTS_PROVIDER_MODE": "qwen",
            "DATABASE_URL": self.database.gateway_url,
            "OBJECTS_URL": str(self.folder / "objects"),
            "UTTER_DATA_DIR": str(self.folder),
            "SUPABASE_JWT_SECRET": SECRET,
            "UTTER_SIGNING_SECRET": SECRET,
            "DASHSCOPE_API_KEY": self.emulator.api_key,
            "DASHSCOPE_BASE_URL": self.emulator.rest_url,
            "DASHSCOPE_REALTIME_URL": self.emulator.realtime_url,
            **self.emulator.modal_endpoints(),
        }

    def set(self, **changes: str) -> None:
        self.environment |= changes

    def login(self, name: str) -> str:
        """The URL of another login of the same database."""
        return self.database.gateway_url.replace(f"//{LOGIN}@", f"//{name}@")

    async def examined(self, *, probe_other_region: bool = False) -> Report:
        """What the doctor finds."""
        try:
            settings = load_settings(self.environment)
        except SettingsError as error:
            return unusable(error)
        return await examine(settings, probe_other_region=probe_other_region)


def complaints(report: Report) -> dict[str, Diagnosis]:
    """What is not in order, by check; what was not looked at is no complaint."""
    fine = {Verdict.OK, Verdict.NOT_RUN}
    return {finding.check: finding for finding in report.findings if finding.verdict not in fine}


@contextmanager
def answering(status: int, body: bytes = b"", **headers: str) -> Iterator[str]:
    """A server that answers everything alike, for the body; its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_POST = do_GET  # noqa: N815 - the names of the base class

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
