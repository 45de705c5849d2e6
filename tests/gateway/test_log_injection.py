"""Nobody outside writes a log line: neither a second one, nor one that moves the cursor of who reads it."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator

import pytest
import structlog

from gateway.logs import configure_logging
from gateway.settings import load_settings
from protocol.errors import Fault, VendorError
from tests.support.gateway import Caller, Gateway, speech

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

FORGED = "forged.event"
ESCAPE = "\x1b[2J\x1b]0;title\x07\x9b31m"
LINE = f'\r\n{{"event": "{FORGED}", "level": "info"}}\n\u2028\x85'
EVIL = f"{ESCAPE}{LINE}"

SECRET = "k" * 32

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
"""Anything that a terminal obeys, or that some reader takes for the end of a line."""


@pytest.fixture
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def log_of(environment: str) -> io.StringIO:
    stream = io.StringIO()
    base = {"DATABASE_URL": "postgresql:///utter", "SUPABASE_JWT_SECRET": SECRET, "UTTER_SIGNING_SECRET": SECRET}
    configure_logging(
        load_settings({"UTTER_ENV": environment, "TTS_PROVIDER_MODE": "modal", "UTTER_LOG_LEVEL": "debug", **base}),
        stream,
    )
    return stream


async def try_everything(gateway: Gateway, ada: Caller) -> None:
    """Every place where somebody else's words may come near a log."""
    voice = await ada.add_voice(name=EVIL.replace("\0", ""))
    headers = {
        **ada.headers,
        "x-request-id": EVIL,
        "traceparent": f"00-{'a' * 32}-{'b' * 16}-01{EVIL}",
        "user-agent": EVIL,
        "x-forwarded-for": EVIL,
        "forwarded": f"for={EVIL}",
        "origin": f"https://{EVIL}",
        "referer": EVIL,
        "idempotency-key": EVIL,
    }
    # As the server hands them on: header values in Latin-1.
    sent = {name: value.encode("latin-1", "replace").decode("latin-1") for name, value in headers.items()}
    for method, path in (
        ("GET", f"/api/tasks/{EVIL}"),
        ("GET", f"/{EVIL}"),
        ("GET", f"/api/generations?search={EVIL}&status={EVIL}"),
        ("PUT", f"/api/objects/{EVIL}/{EVIL}?token={EVIL}"),
        ("POST", "/api/generate"),
        ("POST", "/api/generate/stream"),
        ("PATCH", "/api/profile"),
        ("POST", "/api/clone/upload-url"),
    ):
        for body in (b"", EVIL.encode(), speech(EVIL, EVIL), json.dumps({"name": EVIL, "handle": EVIL}).encode()):
            answer = await gateway.ask(method, path, sent, body)
            assert answer.status in range(400, 500) or path.startswith("/api/generations"), (path, answer.body)
    exchange = await ada.generate(voice.id, text=EVIL)
    assert exchange.status == 200, exchange.body
    await gateway.stage.began()
    gateway.stage.fail(Fault.UNKNOWN, VendorError(code=EVIL, message=EVIL, request_id=EVIL))
    await gateway.services.supervisor.wait_idle()


@pytest.mark.usefixtures("_logging_as_it_was")
async def test_each_json_line_is_one_of_ours(gateway: Gateway, ada: Caller) -> None:
    log = log_of("production")
    await try_everything(gateway, ada)
    text = log.getvalue()
    assert not CONTROL.search(text.replace("\n", ""))
    events = [json.loads(line)["event"] for line in text.removesuffix("\n").split("\n")]
    assert "generation.failed" in events
    assert r"\u001b[2J" in text, "they were not even tried"
    assert FORGED not in events


@pytest.mark.usefixtures("_logging_as_it_was")
async def test_a_terminal_shows_lines_of_ours_only(gateway: Gateway, ada: Caller) -> None:
    log = log_of("local")
    await try_everything(gateway, ada)
    text = log.getvalue()
    assert not CONTROL.search(text.replace("\n", ""))
    lines = text.removesuffix("\n").split("\n")
    assert r"\x1b[2J" in text
    assert all(re.match(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d", line) for line in lines), lines
