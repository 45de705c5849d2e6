"""What a row of the route table says about itself: enough to serve it, and to describe it in `/api/openapi.json`.

Nothing here is written twice. Parameters of the path come from the path, schemas from the msgspec types, and the
answers that follow from something else (401 from needing a sign-in, 404 from naming a row, 413 from having a body)
are added by `Operation.errors`.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

import msgspec
from starlette.requests import Request

Endpoint = Callable[[Request], Awaitable[Any]]
"""A route's function; it gives an ASGI response of any kind."""

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]

_PATH_PARAMETER = re.compile(r"\{(?P<name>[a-z_]+)(?::path)?\}")


class Auth(Enum):
    """Who may call. The values are the document's security schemes, each one alone enough; "" is nobody at all."""

    NOBODY = ("",)
    OPTIONAL = ("", "bearer")
    SIGNED_IN = ("bearer",)
    LINK = ("link",)
    SIGNED_IN_OR_LINK = ("bearer", "link")

    @property
    def by_token(self) -> bool:
        """Whether an access token is looked at."""
        return "bearer" in self.value


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter or a request header. `schema` says what is understood; what is not understood is ignored unless
    `note` differs."""

    name: str
    note: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})


@dataclass(frozen=True, slots=True)
class Json:
    """A JSON body of this shape."""

    content: type[msgspec.Struct]
    media_types: tuple[str, ...] = ("application/json",)


@dataclass(frozen=True, slots=True)
class Form:
    """A `multipart/form-data` body; file parts are fields of type `schema.http.FilePart`."""

    content: type[msgspec.Struct]
    media_types: tuple[str, ...] = ("multipart/form-data",)


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes that are no JSON: sound mostly."""

    media_types: tuple[str, ...]
    content: None = None


Body = Json | Form | Raw


@dataclass(frozen=True, slots=True)
class Answer:
    """What comes with a status that is no error. Without `body` there is none; `headers` are keys of `HEADERS`."""

    note: str
    body: Json | Raw | None = None
    headers: tuple[str, ...] = ()


HEADERS: Mapping[str, str] = {
    "X-Request-Id": "Names this request in our logs; quote it when something went wrong.",
    "Location": "A signed address that needs no sign-in, can be read more than once, and expires.",
    "Retry-After": "Seconds after which trying again makes sense.",
    "X-Utter-Error-Category": "validation, provider_rejected, provider_unavailable, timeout or cancelled.",
    "X-Utter-Provider": "The speech provider of this generation: qwen or modal.",
    "X-Utter-Generation-Id": "The generation, as in your history.",
    "X-Utter-Task-Id": "The task that tells how it goes on.",
    "X-Utter-Stream-Url": "A signed address of the same audio, for players that cannot send headers.",
    "Server-Timing": "How long the steps took so far, in milliseconds.",
    "Content-Range": "Which bytes of how many these are.",
    "Accept-Ranges": "bytes: parts of it can be asked for.",
    "Repr-Digest": "SHA-256 of the whole audio (RFC 9530).",
    "ETag": "Names these very bytes.",
}
"""What the headers of our answers mean."""

ERRORS: Mapping[int, str] = {
    400: "Something in the request cannot be used; the detail says what.",
    401: "Nobody is signed in, or the sign-in has expired.",
    404: "There is no such thing, or it is somebody else's.",
    408: "The request's body took too long to arrive.",
    409: "Not possible as things stand; the detail says why and what to do.",
    410: "The generation failed or was cancelled, so there is nothing to play.",
    413: "The request's body is too large.",
    415: "This kind of content is not taken here.",
    416: "There is no audio at this position.",
    426: "A stream needs HTTP/1.1.",
    500: "A mistake on our side.",
    502: "The speech provider refuses our account, or took no job.",
    503: "Not available right now: come back after Retry-After seconds.",
    504: "The speech provider took too long.",
}
"""Every error that a route may answer, for people. The body is always `schema.http.Detail`."""


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """One route. `path` is Starlette's, without the mount; `also` lists errors that follow from nothing else here."""

    method: Method
    path: str
    endpoint: Endpoint
    summary: str
    auth: Auth
    answers: Mapping[int, Answer | type[msgspec.Struct]]
    body: Body | None = None
    query: tuple[Parameter, ...] = ()
    headers: tuple[Parameter, ...] = ()
    """Those that the route reads itself."""
    also: tuple[int, ...] = ()
    streams: bool = False
    """Whether the answer's length is not known beforehand, which HTTP/1.0 cannot carry."""
    group: str = ""
    """The heading it stands under; filled in by `gateway.routes.table`."""

    @property
    def name(self) -> str:
        """Unique in the table: `GET /voices/{voice_id}/preview` is `get_voices_preview`."""
        fixed = [part for part in self.path.split("/") if part and not part.startswith("{")]
        words = "_".join([self.method.lower(), *fixed])
        # GET /voices and GET /voices/{voice_id} would otherwise be one.
        by_id = "_by_id" if self.path.endswith("_id}") else ""
        return re.sub(r"\W", "_", words) + by_id

    @property
    def template(self) -> str:
        """The path as OpenAPI writes it, without Starlette's converters."""
        return _PATH_PARAMETER.sub(r"{\g<name>}", self.path)

    @property
    def path_parameters(self) -> tuple[str, ...]:
        return tuple(match["name"] for match in _PATH_PARAMETER.finditer(self.path))

    @property
    def errors(self) -> tuple[int, ...]:
        """Statuses of all errors it may answer, in order."""
        found = {500, *self.also}
        if self.auth is not Auth.NOBODY:
            found.add(503)  # the database, which knows whether the user still exists, may be away
        if self.auth not in {Auth.NOBODY, Auth.OPTIONAL}:
            found.add(401)
        if self.path_parameters:
            found.add(404)
        if self.query or self.headers:
            found.add(400)
        if self.body is not None:
            found |= {400, 408, 413, 415}
        if self.streams:
            found.add(426)
        return tuple(sorted(found - set(self.answers)))


PAGING = (
    Parameter("page", "Which page, from 1.", {"type": "integer", "minimum": 1, "default": 1}),
    Parameter("per_page", "How many on a page.", {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}),
)
AUDIO = ("audio/mpeg", "audio/wav")
SEARCH = Parameter("search", "Only those whose name or text contains this, in upper or lower case.")
STORED = ("Accept-Ranges", "Repr-Digest", "ETag")
REDIRECT = Answer("Where the audio is.", headers=("Location",))
