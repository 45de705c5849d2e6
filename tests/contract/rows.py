"""One row of the contract: a request, and exactly what comes back.

A row's name begins with the section of the v1 contract that it is a line of, or with `product 4` for what the product
adds or changes deliberately.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from tests.contract.shapes import Made, Shape
from tests.contract.things import Thing

ERROR: Final = {"detail": lambda value: isinstance(value, str) and bool(value.strip())}
"""Every error, and nothing else (1.0)."""

NOTHING: Final = object()
"""The shape of an answer without body: 204 and 302."""

AUDIO: Final = object()
"""The shape of an answer that is audio, and not empty."""

EVENTS: Final = object()
"""The shape of an answer that is server-sent events, the last one a task that has ended."""

MODES = ("qwen", "modal")

CATEGORY_OF_STATUS = {400: "validation", 413: "validation"}
"""What follows from the status alone (product section 4); every other category is the row's to say."""

UNKNOWN = "6f1d2b3c-0000-4000-8000-000000000001"
"""An id in good shape that is nobody's."""

MALFORMED = {
    "a letter": "x",
    "one digit short": UNKNOWN[:-1],
    "one digit long": f"{UNKNOWN}0",
    "without dashes": UNKNOWN.replace("-", ""),
    "in braces": f"%7B{UNKNOWN}%7D",
    "as a urn": f"urn:uuid:{UNKNOWN}",
    "with a fullwidth digit": f"{UNKNOWN[:-1]}%EF%BC%91",
    "NUL": "%00",
    "not UTF-8": "%FF",
    "an emoji": "%F0%9F%98%80",
    "null": "null",
}
"""Ids in a path that no row can have, though Python's `UUID` reads some of them."""


class Auth(Enum):
    """What a route asks of its caller."""

    BEARER = "an access token"
    OPTIONAL = "nothing, and answers otherwise to who is signed in"
    NONE = "nothing"


@dataclass(frozen=True, slots=True)
class Raw:
    """A body that is no JSON of ours."""

    content: bytes
    content_type: str | None = "application/json"


@dataclass(frozen=True, slots=True)
class File:
    """A file part."""

    content: bytes
    content_type: str = "audio/wav"
    name: str = "preview.wav"


@dataclass(frozen=True, slots=True)
class Form:
    """A multipart body; a part is text or a file."""

    parts: Mapping[str, str | bytes | File | Made]


@dataclass(frozen=True, slots=True)
class Row:
    """`request` is the method and the path below the mount; `{name}` in it is a thing of `given`."""

    name: str
    request: str
    status: int
    body: Any = None
    shape: Shape = None
    given: Mapping[str, Thing] = field(default_factory=dict)
    category: str | None = None
    auth: Auth = Auth.BEARER
    stranger: int | None = None
    """What another user gets for the same ids, where that does not follow from the rest."""
    signed_out: Shape = None
    """What nobody gets, where that is no 401."""
    sends: Mapping[str, str] = field(default_factory=dict)
    """Request headers."""
    answers: Mapping[str, Shape] = field(default_factory=dict)
    """Response headers beyond those that every answer has."""
    modes: tuple[str, ...] = MODES

    @property
    def method(self) -> str:
        return self.request.partition(" ")[0]

    @property
    def path(self) -> str:
        return self.request.partition(" ")[2]

    @property
    def expected_category(self) -> str | None:
        return self.category or CATEGORY_OF_STATUS.get(self.status)

    @property
    def for_strangers(self) -> int:
        """The status that another user gets: a foreign id is an unknown id, once the request is in good shape."""
        if self.stranger is not None:
            return self.stranger
        in_path = any(f"{{{name}}}" in self.path.lower() for name in self.given)
        if in_path:
            return 404
        return 404 if self.status not in {400, 413} and names_made(self.body) else self.status


def refused(
    line: str, request: str, bodies: Mapping[str, Any], status: int = 400, modes: tuple[str, ...] = MODES, **more: Any
) -> list[Row]:
    """One row for each body that is answered with an error."""
    return [Row(f"{line}: {what}", request, status, body, modes=modes, **more) for what, body in bodies.items()]


def unknown_ids(line: str, request: str) -> Iterable[Row]:
    """404 for an id of nothing, and for what is no id: the latter is a deliberate difference (product section 4)."""
    yield Row(f"{line}: unknown id", request.replace("{id}", UNKNOWN), 404)
    added = line if line.startswith("product 4") else f"product 4, {line}"
    for what, malformed in MALFORMED.items():
        yield Row(f"{added}: malformed id, {what}", request.replace("{id}", malformed), 404)


def unreadable_bodies(line: str, request: str, modes: tuple[str, ...] = MODES) -> list[Row]:
    """Bodies that are 400 wherever JSON is taken (1.0, JSON parsing)."""
    return refused(
        f"1.0 {line}",
        request,
        {
            "no body": Raw(b""),
            "not JSON": Raw(b'{"voice_id": '),
            "NaN is no JSON": Raw(b"NaN"),
            "null": Raw(b"null"),
            "0": Raw(b"0"),
            "-0.0": Raw(b"-0.0"),
            "false": Raw(b"false"),
            "an empty string": Raw(b'""'),
            "an array": Raw(b"[1]"),
            "a string": Raw(b'"text"'),
            "a number": Raw(b"17"),
            "true": Raw(b"true"),
            "an empty object": Raw(b"{}"),
            "not UTF-8": Raw(b'{"text": "\xff"}'),
            "nested without end": Raw(b"[" * 100_000),
        },
        modes=modes,
    )


def names_made(body: object) -> bool:
    """Whether a body names something that the row's owner has."""
    if isinstance(body, Form):
        body = body.parts
    if isinstance(body, Mapping):
        return any(names_made(value) for value in body.values())
    return isinstance(body, Made)
