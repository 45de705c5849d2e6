"""The five Modal endpoints over HTTP: submit, status, result, cancel, design (v1 contract 4).

Each is a complete address of its own. What costs GPU time when it is repeated, submit and design, is sent once, on a
connection of its own: a keep-alive that went stale meanwhile must not fail it. What only asks is tried again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TypeVar

import anyio
import httpx
import structlog

from gateway.providers.attempts import RetryPolicy, with_retries
from protocol import modal
from protocol.errors import Fault, ProviderFailure, RemoteProtocolError, VendorError
from protocol.modal import CancelJob, DesignElsewhere, DesignVoice, JobStatus, SubmitJob

MAX_CONNECTIONS = 100
"""Calls at a time; more wait, within their own deadline."""

MAX_IDLE_CONNECTIONS = 20
"""Connections kept for the next status or result call: v1's page asks once a second."""

DESIGN_LOOK_SECONDS = 60.0
"""One look at a design that outlived its request (v1 contract 4.3). Modal itself holds a call for 150 s."""

_NEVER_SENT = frozenset({Fault.UNREACHABLE, Fault.CONNECT_TIMEOUT})
"""Faults after which even a submit may be repeated: no connection was opened."""

_NO_ANSWER = _NEVER_SENT | {Fault.CONNECTION_LOST, Fault.ANSWER_TIMEOUT}

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.modal")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ModalEndpoints:
    """Complete addresses; "" where there is none. The deployed app has no `cancel` (v1 contract 4.2)."""

    submit: str = ""
    status: str = ""
    result: str = ""
    cancel: str = ""
    design: str = ""


@dataclass(frozen=True, slots=True)
class ModalDeadlines:
    """Seconds that one call may take, its retries included. `result` and `design` include their audio."""

    connect: float = 5.0
    submit: float = 60.0
    status: float = 10.0
    result: float = 60.0
    cancel: float = 5.0
    design: float = 180.0


@asynccontextmanager
async def open_modal_api(
    endpoints: ModalEndpoints, deadlines: ModalDeadlines | None = None, retries: RetryPolicy | None = None
) -> AsyncIterator[ModalApi]:
    """The driver for the time of the block."""
    limits = deadlines or ModalDeadlines()
    async with _client(limits, keep=0) as once, _client(limits, keep=MAX_IDLE_CONNECTIONS) as kept:
        yield ModalApi(endpoints, limits, retries or RetryPolicy(), once, kept)


def _client(deadlines: ModalDeadlines, *, keep: int) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        headers={"Accept-Encoding": "identity"},
        timeout=httpx.Timeout(None, connect=deadlines.connect),  # the whole call has a deadline of its own
        limits=httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=keep),
        follow_redirects=False,  # only a design's are expected, and those are checked
        trust_env=False,  # a .netrc would send a password to whatever host it names
    )


class ModalApi:
    """All methods raise `ProviderFailure`: NOT_CONFIGURED where the endpoint's address is not set."""

    def __init__(
        self,
        endpoints: ModalEndpoints,
        deadlines: ModalDeadlines,
        retries: RetryPolicy,
        once: httpx.AsyncClient,
        kept: httpx.AsyncClient,
    ) -> None:
        self._endpoints = endpoints
        self._deadlines = deadlines
        self._retries = retries
        self._once = once
        self._kept = kept

    @property
    def knows_jobs(self) -> bool:
        """Whether any address is set that a running job could be asked at."""
        return bool(self._endpoints.status or self._endpoints.result)

    async def submit(self, job: SubmitJob, headers: Mapping[str, str] | None = None) -> str:
        """Start a job and return its id. Repeated only while no connection could be opened."""
        url = _configured(self._endpoints.submit)
        body = modal.encode(job)

        async def attempt() -> str:
            return modal.parse_submitted(*await self._post(self._once, url, body, headers))

        return await self._repeated(attempt, self._deadlines.submit, only_after=_NEVER_SENT)

    async def status(self, job_id: str) -> JobStatus:
        """How the job is doing."""
        url = modal.with_job_id(_configured(self._endpoints.status), job_id)

        async def attempt() -> JobStatus:
            async with self._kept.stream("GET", url) as response:
                return modal.parse_status(response.status_code, await _read(response, modal.MAX_JSON_BYTES))

        return await self._repeated(attempt, self._deadlines.status)

    async def fetch_result(self, job_id: str, store: Callable[[AsyncIterator[bytes]], Awaitable[T]]) -> T:
        """Hand the job's audio to `store`, piece by piece, and return what that returns.

        Getting as far as the first byte is tried again, what comes after is not. What `store` raises passes through;
        a `ProviderFailure` may come out of the pieces. Raises `modal.ResultNotReady`.
        """
        url = modal.with_job_id(_configured(self._endpoints.result), job_id)

        async def attempt() -> httpx.Response:
            response = await self._kept.send(self._kept.build_request("GET", url), stream=True)
            try:
                refused = b"" if response.is_success else await _read(response, modal.MAX_JSON_BYTES)
                modal.check_result(response.status_code, refused, response.headers.get("content-type", ""))
            except BaseException:
                await response.aclose()
                raise
            return response

        with _as_failures(self._deadlines.result):
            response = await self._repeated(attempt, self._deadlines.result)
            try:
                return await store(_pieces(response, modal.MAX_AUDIO_BYTES))
            finally:
                with anyio.CancelScope(shield=True):
                    await response.aclose()

    async def cancel(self, job_id: str) -> bool:
        """Ask for the job's end. False where there is no cancel endpoint; any success means that it was asked."""
        if not self._endpoints.cancel:
            return False
        body = modal.encode(CancelJob(job_id))

        async def attempt() -> None:
            status, answer = await self._post(self._once, self._endpoints.cancel, body)
            if not 200 <= status < 300:
                raise modal.refusal(status, answer)

        await self._repeated(attempt, self._deadlines.cancel)
        return True

    async def design(self, voice: DesignVoice) -> bytes:
        """The preview of a newly designed voice, a WAV file."""
        url = _configured(self._endpoints.design)
        with _as_failures(self._deadlines.design):
            step: bytes | DesignElsewhere | modal.DesignPending = await self._begin_design(url, voice)
            asked, pauses = url, modal.design_pauses()
            while not isinstance(step, bytes):
                asked = step.url if isinstance(step, DesignElsewhere) else asked
                await anyio.sleep(next(pauses))
                step = await self._look_at_design(asked)
        return step

    async def _begin_design(self, url: str, voice: DesignVoice) -> bytes | DesignElsewhere:
        body = modal.encode(voice)

        async def attempt() -> bytes | DesignElsewhere:
            async with self._once.stream("POST", url, content=body, headers=_JSON) as response:
                step = await self._designed(response, url)
            if isinstance(step, modal.DesignPending):
                raise RemoteProtocolError("a design is not done yet, but the answer does not say where it will be")
            return step

        return await self._repeated(attempt, self._deadlines.design, only_after=_NEVER_SENT)

    async def _look_at_design(self, asked: str) -> bytes | DesignElsewhere | modal.DesignPending:
        """One look; one that got no answer at all is as good as "not done", within the deadline of the design."""
        try:
            with _as_failures(DESIGN_LOOK_SECONDS):
                async with self._once.stream("GET", asked) as response:
                    return await self._designed(response, asked)
        except ProviderFailure as failure:
            if failure.fault not in _NO_ANSWER:
                raise
            _log.warning("modal.design_look_failed", fault=failure.fault.value)
            return modal.DesignPending()

    async def _designed(self, response: httpx.Response, asked: str) -> bytes | DesignElsewhere | modal.DesignPending:
        limit = modal.MAX_PREVIEW_BYTES if response.is_success else modal.MAX_JSON_BYTES
        return modal.parse_designed(
            response.status_code,
            await _read(response, limit),
            response.headers.get("location"),
            asked=asked,
            endpoint=self._endpoints.design,
            content_type=response.headers.get("content-type", ""),
        )

    async def _post(
        self, client: httpx.AsyncClient, url: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        async with client.stream("POST", url, content=body, headers={**_JSON, **(headers or {})}) as response:
            return response.status_code, await _read(response, modal.MAX_JSON_BYTES)

    async def _repeated(
        self, attempt: Callable[[], Awaitable[T]], seconds: float, *, only_after: frozenset[Fault] | None = None
    ) -> T:
        """Within `seconds` altogether; tried again after any retryable fault, or `only_after` the ones given."""
        last: list[Fault] = []

        async def once(_number: int) -> T:
            try:
                with _as_failures(until - anyio.current_time()):
                    return await attempt()
            except ProviderFailure as failure:
                last[:] = [failure.fault]
                raise

        until = anyio.current_time() + seconds
        return await with_retries(
            once, self._retries, _log, until=until, repeatable=lambda: only_after is None or last[0] in only_after
        )


_JSON = {"Content-Type": "application/json"}


def _configured(url: str) -> str:
    if not url:
        raise ProviderFailure(Fault.NOT_CONFIGURED)
    return url


async def _read(response: httpx.Response, limit: int) -> bytes:
    """The body. Raises `ProviderFailure` for one beyond `limit` bytes."""
    return b"".join([piece async for piece in _pieces(response, limit)])


async def _pieces(response: httpx.Response, limit: int) -> AsyncIterator[bytes]:
    """The body as it comes. Raises `ProviderFailure`, as it may be read elsewhere; also for a compressed one, which
    was not asked for and could unpack to any size.

    What is beyond `limit` bytes is read, within the deadline of the call, but not kept: a stream that is left in the
    middle is closed by the garbage collector, which trio does not put up with.
    """
    size = 0
    with _as_failures():
        if response.headers.get("content-encoding", "identity") != "identity":
            raise RemoteProtocolError("a compressed answer, which was not asked for")
        async for piece in response.aiter_raw():
            size += len(piece)
            if size <= limit:
                yield piece
        if size > limit:
            raise RemoteProtocolError(f"an answer of {size} bytes; at most {limit} were expected")


@contextmanager
def _as_failures(seconds: float | None = None) -> Iterator[None]:
    """Raise `ProviderFailure` for what goes wrong on the way in the body, and ANSWER_TIMEOUT after `seconds`."""
    try:
        if seconds is None:
            yield
        else:
            with anyio.fail_after(max(0.0, seconds)):
                yield
    except httpx.ConnectTimeout as error:
        raise ProviderFailure(Fault.CONNECT_TIMEOUT) from error
    except httpx.ConnectError as error:
        raise ProviderFailure(Fault.UNREACHABLE) from error
    except httpx.RequestError as error:
        raise ProviderFailure(Fault.CONNECTION_LOST, VendorError(message=type(error).__name__)) from error
    except (httpx.InvalidURL, RemoteProtocolError) as error:
        _log.warning("modal.answer_refused", reason=str(error))
        raise ProviderFailure(Fault.PROTOCOL_BROKEN, VendorError(message=str(error))) from error
    except TimeoutError as error:
        raise ProviderFailure(Fault.ANSWER_TIMEOUT) from error
