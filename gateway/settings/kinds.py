"""How one environment variable is declared and read: the kinds of value that settings can have.

A `Kind` turns the text of a variable into a value and says in words what it accepts, so that a refused value can
always be answered with what to write instead.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

from gateway.net import Bind, Network
from storage.object_location import EXPECTED, parse_location

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

MIN_SECRET_CHARS = 32
"""Shortest key for HMAC-SHA-256: as long as its output (RFC 7518, 3.2)."""

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """A way to read text. `read` raises ValueError for anything but what `expects` names."""

    expects: str
    read: Callable[[str], T]


@dataclass(frozen=True, slots=True)
class Variable:
    """What a settings field knows about its variable. `required` has no default; a derived one is filled in later."""

    name: str
    kind: Kind[Any]
    doc: str
    secret: bool
    required: bool


def variable(name: str, kind: Kind[T], default: Any, doc: str, *, secret: bool = False, required: bool = False) -> Any:
    """A dataclass field read from the variable `name`. A secret never appears in the object's repr.

    The `default` of a required variable only stands in while its absence is being reported.
    """
    facts = Variable(name, kind, doc, secret, required)
    return dataclasses.field(default=default, repr=not secret, metadata={"variable": facts})


def variable_of(field: dataclasses.Field[Any]) -> Variable | None:
    """The declaration behind a settings field, None for a field that comes from no variable."""
    found = field.metadata.get("variable")
    return found if isinstance(found, Variable) else None


def read_variable(facts: Variable, environ: Mapping[str, str]) -> Any:
    """The value of one variable, None when it is unset or blank.

    Raises ValueError with a sentence for the operator. A secret's text is never part of it.
    """
    text = environ.get(facts.name, "").strip()
    if not text:
        if facts.required:
            raise ValueError(f"{facts.name} is not set. Set it to {facts.kind.expects}.")
        return None
    try:
        return facts.kind.read(text)
    except ValueError:
        shown = "its present value" if facts.secret or _may_hold_credentials(text) else repr(text)
        raise ValueError(f"{facts.name} cannot be {shown}. Set it to {facts.kind.expects}.") from None


def _may_hold_credentials(text: str) -> bool:
    """Whether a value that was refused is a URL with a user or a query: what it was meant to be, nobody knows."""
    return "://" in text and ("@" in text or "?" in text)


def one_of(values: type[E]) -> Kind[E]:
    """A member of a closed list, written exactly."""
    return Kind(" or ".join(member.value for member in values), values)


def text(expects: str = "some text") -> Kind[str]:
    """Any text."""
    return Kind(expects, str)


def secret_text(expects: str) -> Kind[str]:
    """A key for HMAC-SHA-256."""

    def read(value: str) -> str:
        if len(value.encode()) < MIN_SECRET_CHARS:
            raise ValueError("too short")
        return value

    return Kind(f"{expects}, at least {MIN_SECRET_CHARS} characters long", read)


def integer(low: int, high: int) -> Kind[int]:
    """A whole number within inclusive bounds."""

    def read(value: str) -> int:
        return _within(int(value), low, high)

    return Kind(f"a whole number from {low} to {high}", read)


def seconds(low: float, high: float) -> Kind[float]:
    """A duration in seconds within inclusive bounds."""

    def read(value: str) -> float:
        number = float(value)
        if not math.isfinite(number):
            raise ValueError("not finite")
        return _within(number, low, high)

    return Kind(f"a number of seconds from {low:g} to {high:g}", read)


def dollars(high: float) -> Kind[float]:
    """A price in US dollars, up to and including `high`."""

    def read(value: str) -> float:
        number = float(value)
        if not math.isfinite(number):
            raise ValueError("not finite")
        return _within(number, 0.0, high)

    return Kind(f"a number of US dollars from 0 to {high:g}", read)


def _read_switch(value: str) -> bool:
    word = value.lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError("neither")


SWITCH = Kind("true or false", _read_switch)


def url(*schemes: str) -> Kind[str]:
    """An absolute URL of one of `schemes`, kept without its trailing slash."""

    def read(value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in schemes or not parts.hostname:
            raise ValueError("scheme or host")
        _ = parts.port  # urlsplit checks the port only when it is asked for: ValueError
        return value.rstrip("/")

    return Kind(f"a URL that starts with {' or '.join(scheme + '://' for scheme in schemes)}", read)


def origin(*schemes: str) -> Kind[str]:
    """A URL that is only scheme, host and port."""
    whole = url(*schemes)

    def read(value: str) -> str:
        parts = urlsplit(whole.read(value))
        if parts.path or parts.query or parts.fragment or "@" in parts.netloc:
            raise ValueError("more than an origin")
        return f"{parts.scheme}://{parts.netloc}"

    return Kind(f"{whole.expects} and has no path, query or user name", read)


def endpoint(*schemes: str) -> Kind[str]:
    """A URL to which a query will be added: it may have a path, but no query of its own."""
    whole = url(*schemes)

    def read(value: str) -> str:
        if "?" in value or "#" in value:
            raise ValueError("query")
        return whole.read(value)

    return Kind(f"{whole.expects} and has no query", read)


def postgres_url() -> Kind[str]:
    """A PostgreSQL URL. The host may be missing or be a socket directory in its query, as libpq allows."""

    def read(value: str) -> str:
        if urlsplit(value).scheme not in {"postgres", "postgresql"}:
            raise ValueError("scheme")
        return value

    return Kind("a URL like postgresql://user:password@host:5432/database", read)


def _read_objects_url(value: str) -> str:
    parse_location(value)
    return value


OBJECTS_URL = Kind(EXPECTED, _read_objects_url)


def csv(item: Kind[T], *, words: str) -> Kind[tuple[T, ...]]:
    """A comma-separated list with at least one item."""

    def read(value: str) -> tuple[T, ...]:
        items = tuple(item.read(part.strip()) for part in value.split(",") if part.strip())
        if not items:
            raise ValueError("empty")
        return items

    return Kind(words, read)


def _read_cors_origin(value: str) -> str:
    return value if value == "*" else origin("http", "https").read(value)


CORS_ORIGINS = csv(
    Kind("an origin", _read_cors_origin),
    words="* or a comma-separated list of origins such as https://app.example",
)
NAMES = csv(text(), words="a comma-separated list of names")
NETWORKS: Kind[tuple[Network, ...]] = csv(
    Kind("a network", ipaddress.ip_network),
    words="a comma-separated list of addresses or networks such as 10.0.0.0/8",
)
PATH = Kind("a directory", Path)
BIND = Kind("an address and a port such as 127.0.0.1:9100", Bind.parse)


N = TypeVar("N", int, float)


def _within(number: N, low: float, high: float) -> N:
    if not low <= number <= high:
        raise ValueError("out of range")
    return number
