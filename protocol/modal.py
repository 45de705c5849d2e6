"""Modal's job API as messages (v1 contract 4): what the five endpoints are sent, and what their answers mean.

Two flavours answer: the deployed app, and a lenient one that says more (elapsed seconds, `cancelled`) and knows 404.
Both are read here. `parse_*` functions raise `ProviderFailure` for a refusal and `RemoteProtocolError` for a success
that cannot be read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, TypeVar
from urllib.parse import SplitResult, quote, urljoin, urlsplit

import msgspec

from protocol.errors import Fault, ProviderFailure, RemoteProtocolError, VendorError

MAX_NEW_TOKENS: Final = 4096
"""What v1 asks for; the server's own default of 2048 cuts long texts (v1 contract 4.2)."""

MAX_JSON_BYTES: Final = 64 * 1024
"""Longest JSON answer, and most of a refusal, that is read. Real ones are below 1 kB; a traceback is not."""

MAX_AUDIO_BYTES: Final = 50 * 1024 * 1024
"""Largest result: what v1's storage takes (v1 contract 3.5). 2000 Japanese characters are 14 minutes, 40 MB as WAV."""

MAX_PREVIEW_BYTES: Final = 16 * 1024 * 1024
"""Largest design preview: 500 slow characters are 4 minutes, 12 MB as WAV."""

MAX_ERROR_CHARS: Final = 300
"""How much of a refusal's body is kept, as in v1 (v1 contract 4.3). It is for the trace, never for users."""

DESIGN_FIRST_PAUSE_SECONDS: Final = 1.0
DESIGN_PAUSE_GROWTH: Final = 1.5
DESIGN_LONGEST_PAUSE_SECONDS: Final = 10.0
"""Between two looks at a design that outlived its request (v1 contract 4.3)."""

LANGUAGES: Final = (
    "Auto",
    "English",
    "Chinese",
    "Japanese",
    "Korean",
    "French",
    "German",
    "Spanish",
    "Italian",
    "Portuguese",
    "Russian",
)
"""What the server speaks (v1 contract 4.2), in the order of the product's list."""

_JOB_ID: Final = re.compile(r"[\x21-\x7e]{1,200}")
_STATUS_WORD: Final = re.compile(r"[a-z_]{1,32}")
_UNNAMED_STATUS: Final = "processing"
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_DOCUMENTS: Final = frozenset({"application/json", "application/problem+json", "text/html"})
_DEFAULT_PORTS: Final = {"https": 443, "http": 80}


class SubmitJob(msgspec.Struct, frozen=True):
    """A text to speak. `ref_audio_base64` is the recording itself, which goes out as plain base64 without a data-URI
    prefix; `ref_text` is its transcript."""

    text: str
    language: str
    ref_audio_base64: bytes
    ref_text: str
    max_new_tokens: int = MAX_NEW_TOKENS


class CancelJob(msgspec.Struct, frozen=True):
    """A job to stop."""

    job_id: str


class DesignVoice(msgspec.Struct, frozen=True):
    """A voice to design and a text to hear it with. `instruct` describes the voice."""

    text: str
    language: str
    instruct: str


_Answer = TypeVar("_Answer")


class JobState(Enum):
    """What a status answer means. UNKNOWN is the lenient flavour's 404; the real one calls such a job failed."""

    RUNNING = auto()
    READY = auto()
    FAILED = auto()
    CANCELLED = auto()
    UNKNOWN = auto()


@dataclass(frozen=True, slots=True)
class JobStatus:
    """`word` is the server's own status, fit to be shown; `error` its explanation, which is not."""

    state: JobState
    word: str
    elapsed_seconds: float | None = None
    error: str = ""


class ResultNotReady(Exception):
    """The result endpoint says that the job is not done: ask again later."""


@dataclass(frozen=True, slots=True)
class DesignElsewhere:
    """The answer will be at `url`, which is on the host that was asked."""

    url: str


class DesignPending:
    """Not done: look at the same address again."""


class _Submitted(msgspec.Struct):
    job_id: object = None


class _Status(msgspec.Struct):
    status: object = None
    result_ready: object = None
    elapsed_seconds: object = None
    error: object = None


def encode(message: SubmitJob | CancelJob | DesignVoice) -> bytes:
    """The JSON body of a POST."""
    return msgspec.json.encode(message)


def with_job_id(url: str, job_id: str) -> str:
    """The address of a status or result call: the id is added to whatever query the endpoint has."""
    parts = urlsplit(url)
    query = f"{parts.query}&" if parts.query else ""
    return parts._replace(query=f"{query}job_id={quote(job_id, safe='')}", fragment="").geturl()


def parse_submitted(status: int, body: bytes) -> str:
    """The id of the job that now runs."""
    _refuse_unless_success(status, body)
    job_id = _decode(body, _Submitted).job_id
    if not (isinstance(job_id, str) and _JOB_ID.fullmatch(job_id)):
        raise RemoteProtocolError("a job was submitted, but the answer has no usable job_id")
    return job_id


def parse_status(status: int, body: bytes) -> JobStatus:
    """How a job is doing. A completed job whose result is not ready yet still runs (v1 contract 2.3, step 4)."""
    if status == 404 and (said := _error_of(body)) is not None:
        return JobStatus(JobState.UNKNOWN, "status_error", error=said)
    _refuse_unless_success(status, body)
    answer = _decode(body, _Status)
    word = (
        answer.status if isinstance(answer.status, str) and _STATUS_WORD.fullmatch(answer.status) else _UNNAMED_STATUS
    )
    error = answer.error[:MAX_ERROR_CHARS] if isinstance(answer.error, str) else ""
    return JobStatus(_state(word, answer.result_ready), word, _elapsed(answer.elapsed_seconds), error)


def check_result(status: int, body: bytes, content_type: str = "") -> None:
    """Return when a result answer with this status carries audio; `body` is only looked at when it does not.

    Raises ResultNotReady for a 202.
    """
    if status == 202:
        raise ResultNotReady("the job's result is not ready")
    _refuse_unless_success(status, body)
    _refuse_unless_audio(content_type)


def parse_designed(
    status: int, body: bytes, location: str | None, *, asked: str, endpoint: str, content_type: str = ""
) -> bytes | DesignElsewhere | DesignPending:
    """The audio, or where it will be. `asked` is the address that answered, `endpoint` the configured one.

    Modal answers a call that outlives its 150 s with a 303 to the same address and a call id (v1 contract 4.3).
    """
    if status in _REDIRECTS:
        return DesignElsewhere(follow(location, asked=asked, endpoint=endpoint))
    if status == 202:
        return DesignPending()
    _refuse_unless_success(status, body)
    _refuse_unless_audio(content_type)
    if not body:
        raise ProviderFailure(Fault.NO_AUDIO, VendorError(http_status=status))
    return body


def follow(location: str | None, *, asked: str, endpoint: str) -> str:
    """The absolute address a redirect leads to.

    Raises RemoteProtocolError unless it is on the configured endpoint's own origin: the server fetches this address
    from within its network, so whoever answers must not choose any other host.
    """
    if not location:
        raise RemoteProtocolError("a redirect without a Location")
    try:
        target = urljoin(asked, location)
        allowed = _origin(urlsplit(target)) == _origin(urlsplit(endpoint))
    except ValueError as error:
        raise RemoteProtocolError("a redirect to what is no address") from error
    if not allowed:
        raise RemoteProtocolError("a redirect to another host than the configured endpoint's was not followed")
    return target


def design_pauses() -> Iterator[float]:
    """Seconds to wait before each look at a design that outlived its request."""
    pause = DESIGN_FIRST_PAUSE_SECONDS
    while True:
        yield pause
        pause = min(pause * DESIGN_PAUSE_GROWTH, DESIGN_LONGEST_PAUSE_SECONDS)


def refusal(status: int, body: bytes) -> ProviderFailure:
    """What an HTTP status that is no success means."""
    return ProviderFailure(_fault(status), VendorError(message=_words(body), http_status=status))


def _fault(status: int) -> Fault:
    if status in {408, 504}:
        return Fault.ANSWER_TIMEOUT
    if status == 429:
        return Fault.RATE_LIMITED
    if status >= 500:
        return Fault.OVERLOADED
    if status in {401, 402, 403}:
        return Fault.ACCESS_DENIED
    # Modal answers 404 where an app was stopped or a function renamed: the address is ours to put right.
    return Fault.BAD_INPUT if status in {400, 413, 422} else Fault.NOT_CONFIGURED


def _refuse_unless_success(status: int, body: bytes) -> None:
    if not 200 <= status < 300:
        raise refusal(status, body)


def _refuse_unless_audio(content_type: str) -> None:
    """The audio itself is never looked into (v1 contract 1.4), but what calls itself a document is none."""
    if content_type.partition(";")[0].strip().lower() in _DOCUMENTS:
        raise RemoteProtocolError("an answer that should be audio calls itself a document")


def _state(word: str, result_ready: object) -> JobState:
    if word == "completed":
        return JobState.READY if result_ready else JobState.RUNNING
    return {"failed": JobState.FAILED, "cancelled": JobState.CANCELLED}.get(word, JobState.RUNNING)


def _elapsed(value: object) -> float | None:
    """Seconds, None for what is no such number; one too large for a float is as good as none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _words(body: bytes) -> str:
    """What a refusal says. Of JSON only a plain sentence: the rest repeats what was sent, a user's text."""
    if body[:1] in {b"{", b"["}:
        return _error_of(body) or ""
    return body[: 4 * MAX_ERROR_CHARS].decode(errors="replace")[:MAX_ERROR_CHARS]


def _error_of(body: bytes) -> str | None:
    """The sentence of a JSON refusal, None for anything that is not one."""
    try:
        answer = msgspec.json.decode(body, type=dict[str, object])
    except (ValueError, RecursionError):
        return None
    said = answer.get("error", answer.get("detail"))
    return said[:MAX_ERROR_CHARS] if isinstance(said, str) else None


def _decode(body: bytes, kind: type[_Answer]) -> _Answer:
    try:
        return msgspec.json.decode(body, type=kind)
    except (ValueError, RecursionError) as error:
        raise RemoteProtocolError(f"an answer of {len(body)} bytes that is no JSON object") from error


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None, str]:
    port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    return parts.scheme, parts.hostname, port, parts.netloc.rpartition("@")[0]
