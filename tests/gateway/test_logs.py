"""What ends up in a log, and what never does."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from gateway.logs import MAX_VALUE_CHARS, REDACTED, configure_logging, describe_exception, redact_text
from gateway.settings import Settings, load_settings
from protocol.errors import Fault, ProviderFailure

SECRET = "k" * 32
BASE = {"DATABASE_URL": "postgresql:///utter", "SUPABASE_JWT_SECRET": SECRET, "UTTER_SIGNING_SECRET": SECRET}
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"


def settings(env: str, **more: str) -> Settings:
    return load_settings({"UTTER_ENV": env, "TTS_PROVIDER_MODE": "modal", **BASE, **more})


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []  # configure_logging replaces handlers and closes the old ones: pytest's must not be there
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


@pytest.fixture
def production_log() -> io.StringIO:
    stream = io.StringIO()
    configure_logging(settings("production"), stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize("env", ["staging", "production"])
def test_machines_read_json_with_level_time_and_context(env: str) -> None:
    stream = io.StringIO()
    configure_logging(settings(env), stream)
    with structlog.contextvars.bound_contextvars(trace_id="t1", request_id="r1"):
        structlog.get_logger("utter").info("provider.connect", duration_ms=12.5)
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "provider.connect",
        "level": "info",
        "duration_ms": 12.5,
        "trace_id": "t1",
        "request_id": "r1",
    }


def test_a_process_among_several_names_itself_on_every_line() -> None:
    stream = io.StringIO()
    configure_logging(settings("production"), stream, {"worker": 2, "pid": 7})
    structlog.get_logger("utter").info("server.listening")
    logging.getLogger("asyncio").warning("slow")
    structlog.get_logger("utter").info("worker.died", worker=3)
    assert [(line["worker"], line["pid"]) for line in lines(stream)] == [(2, 7), (2, 7), (3, 7)]


def test_people_read_columns() -> None:
    stream = io.StringIO()
    configure_logging(settings("local"), stream)
    structlog.get_logger("utter").info("server.listening", url="http://127.0.0.1:1")
    line = stream.getvalue()
    assert "server.listening" in line
    assert "url=http://127.0.0.1:1" in line
    assert not line.startswith("{")


def test_the_level_is_a_setting() -> None:
    stream = io.StringIO()
    configure_logging(settings("production", UTTER_LOG_LEVEL="info"), stream)
    log = structlog.get_logger("utter")
    log.debug("persist.started")
    log.info("persist.completed")
    assert [line["event"] for line in lines(stream)] == ["persist.completed"]


def test_the_standard_library_s_log_takes_the_same_form_and_the_same_care(production_log: io.StringIO) -> None:
    logging.getLogger("hypercorn.error").error("cannot serve %s", "/a?token=abc.def&x=1")
    (line,) = lines(production_log)
    assert line["event"] == f"cannot serve /a?token={REDACTED}&x=1"
    assert (line["level"], line["logger"]) == ("error", "hypercorn.error")


def test_libraries_that_log_every_request_are_quiet(production_log: io.StringIO) -> None:
    for name in ("httpx", "httpcore.http11", "websockets.client"):
        logging.getLogger(name).info("GET https://host/?token=x")
    assert lines(production_log) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/api/generations/1/stream?token=abc.DEF-_1", f"/api/generations/1/stream?token={REDACTED}"),
        ("/x?offset=5&token=abc&y=1", f"/x?offset=5&token={REDACTED}&y=1"),
        ("Authorization: Bearer abc.def", f"Authorization: Bearer {REDACTED}"),
        (f"got {JWT} from it", f"got {REDACTED} from it"),
        ("key sk-0123456789abcdef", f"key {REDACTED}"),
        ("postgresql://utter:hunter2@db/utter", f"postgresql://utter:{REDACTED}@db/utter"),
        ("nothing to hide: tokens used 5", "nothing to hide: tokens used 5"),
    ],
)
def test_credentials_are_cut_out_of_any_text(text: str, expected: str) -> None:
    assert redact_text(text) == expected


def test_secrets_and_user_text_are_removed_wherever_they_are(production_log: io.StringIO) -> None:
    structlog.get_logger().info(
        "careless",
        authorization="Bearer abc",
        DASHSCOPE_API_KEY="plain-key",
        text="my diary",
        nested={"token": "abc", "url": "https://h/?token=abc", "list": ["Bearer abc", ("sk-123456789",)]},
        body=b"my diary",
        audio=b"12345",
        tokens=7,
    )
    (line,) = lines(production_log)
    raw = production_log.getvalue()
    assert not any(secret in raw for secret in ("abc", "plain-key", "diary", "123456789"))
    assert line["audio"] == "5 bytes"
    assert line["tokens"] == 7


def test_a_long_value_is_cut(production_log: io.StringIO) -> None:
    structlog.get_logger().info("long", reason="x" * 100_000)
    (line,) = lines(production_log)
    assert len(line["reason"]) == MAX_VALUE_CHARS + 3


def test_an_exception_is_a_place_and_a_type_without_what_it_quotes(production_log: io.StringIO) -> None:
    try:
        structlog.get_config()["what the user wrote"]
    except KeyError:
        structlog.get_logger().exception("http.failed")
    (line,) = lines(production_log)
    assert "what the user wrote" not in production_log.getvalue()
    assert line["exception"].endswith("builtins.KeyError")
    assert f"{__file__}:" in line["exception"]
    assert "in test_an_exception_is_a_place_and_a_type" in line["exception"]


def test_the_standard_library_s_exceptions_are_treated_alike(production_log: io.StringIO) -> None:
    try:
        int("what the user wrote")
    except ValueError:
        logging.getLogger("asyncio").exception("Task exception was never retrieved")
    assert "what the user wrote" not in production_log.getvalue()
    assert "builtins.ValueError" in lines(production_log)[0]["exception"]


def test_our_own_exceptions_keep_their_message_and_causes_are_followed() -> None:
    def described(error: BaseException) -> str:
        return describe_exception((type(error), error, error.__traceback__))

    failure = ProviderFailure(Fault.UNREACHABLE)
    failure.__cause__ = ConnectionError("vendor words")
    text = described(failure)
    assert "vendor words" not in text
    assert text.index("builtins.ConnectionError") < text.index("protocol.errors.ProviderFailure: unreachable")
    group = described(ExceptionGroup("both", [ValueError("a"), ProviderFailure(Fault.CANCELLED)]))
    assert "builtins.ValueError" in group
    assert "protocol.errors.ProviderFailure: cancelled" in group


def test_an_exception_that_is_its_own_cause_ends() -> None:
    error = ValueError("x")
    error.__context__ = error
    assert describe_exception((ValueError, error, None)) == "builtins.ValueError"
