"""Logging: one event per line, JSON where machines read it and columns where people do.

Nothing that a user wrote and no secret may get into a log. The first guard is that nobody passes them; the second is
here: every event, also those of libraries, goes through `redact`, and exceptions are written as a place and a type,
since their messages quote what could not be handled.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TextIO

import structlog
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

from gateway.settings import Environment, Settings

REDACTED = "[redacted]"

MAX_VALUE_CHARS = 2000
"""Longest string in an event. Log shippers cut lines at 16 kB or so, and a cut JSON line is a lost one."""

MAX_FRAMES = 30
"""Innermost stack frames kept of an exception."""

_SECRET_KEY = re.compile(r"(^|[_-])(authorization|api[_-]?key|token|secret|password|cookie)$", re.IGNORECASE)
_USER_TEXT_KEYS = frozenset({"text", "transcript", "voice_prompt", "preview_text", "body"})
_SECRETS_IN_TEXT: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"([?&](?:token|api_?key|apikey)=)[^&\s\"'#]+", re.IGNORECASE), rf"\1{REDACTED}"),
    (re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]+", re.IGNORECASE), rf"\1 {REDACTED}"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"), REDACTED),
    (re.compile(r"\bsk-[A-Za-z0-9_-]{6,}"), REDACTED),
    (re.compile(r"(://[^/\s:@]*):[^/\s@]+@"), rf"\1:{REDACTED}@"),
)

_OUR_PACKAGES = frozenset({"gateway", "protocol", "storage", "schema"})
_CHATTY_LIBRARIES = ("httpx", "httpcore", "websockets", "asyncio", "hypercorn")
"""Libraries that log requests or whole frames below WARNING."""


def configure_logging(
    settings: Settings, stream: TextIO | None = None, on_every_line: Mapping[str, object] = MappingProxyType({})
) -> None:
    """Set up structlog and the standard library's logging for this process. `stream` defaults to standard error."""
    target = stream or sys.stderr
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    shared = _processors(on_every_line)
    renderer = _renderer(settings.env, target)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=target),
        cache_logger_on_first_use=False,  # so that a later configuration, a test's for one, reaches every logger
    )
    _route_standard_logging(shared, renderer, target)


def _processors(on_every_line: Mapping[str, object]) -> list[Processor]:
    def add_to_line(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {**on_every_line, **event}

    return [
        add_to_line,
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
        structlog.processors.ExceptionRenderer(describe_exception),
        redact,
    ]


def _renderer(env: Environment, target: TextIO) -> Processor:
    if env is Environment.LOCAL:
        return structlog.dev.ConsoleRenderer(colors=target.isatty())
    return structlog.processors.JSONRenderer()


def _route_standard_logging(shared: Sequence[Processor], renderer: Processor, target: TextIO) -> None:
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    for name in _CHATTY_LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A structlog processor: the event without secrets and user text, strings cut to `MAX_VALUE_CHARS`."""
    return {key: _clean(key, value) for key, value in event.items()}


def _clean(key: str, value: object) -> object:
    if _SECRET_KEY.search(key) or key in _USER_TEXT_KEYS:
        return REDACTED
    match value:
        case str():
            return redact_text(value)
        case bytes():
            return f"{len(value)} bytes"
        case Mapping():
            return {str(inner): _clean(str(inner), item) for inner, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_clean("", item) for item in value]
        case BaseException():
            return type(value).__name__
        case _:
            return value


def redact_text(text: str) -> str:
    """`text` without what looks like a credential: signed tokens, bearer headers, JWTs, keys, URL passwords."""
    for pattern, replacement in _SECRETS_IN_TEXT:
        text = pattern.sub(replacement, text)
    return text if len(text) <= MAX_VALUE_CHARS else f"{text[:MAX_VALUE_CHARS]}..."


def describe_exception(exc_info: ExcInfo) -> str:
    """An exception and its causes, one line for each type and each place.

    The message is kept only where the class is ours: others quote the values they choked on.
    """
    return "\n".join(_exception_lines(exc_info[1], set()))


def _exception_lines(error: BaseException | None, seen: set[int]) -> Iterator[str]:
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    yield from _exception_lines(cause, seen)
    for frame in traceback.extract_tb(error.__traceback__)[-MAX_FRAMES:]:
        yield f"  {frame.filename}:{frame.lineno} in {frame.name}"
    kind = type(error)
    ours = kind.__module__.partition(".")[0] in _OUR_PACKAGES
    yield f"{kind.__module__}.{kind.__qualname__}{f': {error}' if ours else ''}"
    for member in getattr(error, "exceptions", ()):
        yield from _exception_lines(member, seen)
