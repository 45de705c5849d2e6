"""Listeners of a generation that runs in another process: its answer, passed on as it comes (product section 11).

The owner's internal address serves the same routes and knows the same secrets, so the listener's own credentials are
sent along and the owner decides who may hear. A process never relays what was relayed to it.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import urlencode
from uuid import UUID

import anyio
import httpx
import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.delivery import CLIENT_GONE, ClientGone, while_connected
from gateway.errors import ApiError
from gateway.leases import Instance
from gateway.sending import send_while_connected
from schema.http import Detail
from schema.records import LeaseRow

RELAYED_HEADER = "X-Utter-Relayed-By"
"""Names the instance that asks for a listener of its own."""

CONNECT_SECONDS = 2.0
"""To an instance in the same network; one that is away is told from one that thinks."""

DEAD_PEER_SECONDS = 10
"""An owner whose machine is gone sends no FIN: the kernel asks after so long, and gives up after as long again."""

MAX_RELAYED = 1000
"""Listeners relayed at once by this process; each is a connection to another one."""

MAX_ERROR_BYTES = 16 * 1024
"""Of the owner's JSON error."""

PASSED_ON = ("authorization", "range", "if-range", "if-none-match", "traceparent")
"""Headers of the listener's request that the owner sees."""

HANDED_BACK = (
    *("content-type", "content-length", "content-range", "accept-ranges", "cache-control", "etag", "repr-digest"),
    *("retry-after", "x-utter-provider", "x-utter-generation-id", "x-utter-error-category", "x-content-type-options"),
)
"""Headers of the owner's answer that the listener sees; the others are made here, as for every answer."""

_UNREACHABLE = "This generation runs on another server, which does not answer right now. Please try again in a moment."
_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.relay")


class Relay:
    """Asks other instances. One for the process, because it bounds how many listeners are relayed."""

    def __init__(self, client: httpx.AsyncClient, instance: Instance) -> None:
        self._client = client
        self._instance = instance

    def knows_way(self, request: Request, lease: LeaseRow) -> bool:
        """Whether the lease's process can be asked: it is another one, has an address, and has not asked us itself."""
        return (
            lease.address is not None and lease.instance != self._instance.id and RELAYED_HEADER not in request.headers
        )

    async def listen(
        self, request: Request, lease: LeaseRow, generation_id: UUID, *, stall_seconds: float, headers: dict[str, str]
    ) -> Response | RelayedResponse:
        """The owner's answer to this listener; `headers` are added. Raises `ApiError` with the owner's refusal, or 503
        when it does not answer."""
        query = {name: request.query_params[name] for name in ("token", "offset") if name in request.query_params}
        url = f"{lease.address}/api/generations/{generation_id}/stream?{urlencode(query)}"
        asked = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
        question = self._client.build_request(
            "HEAD" if request.method == "HEAD" else "GET",
            url,
            headers={**asked, RELAYED_HEADER: str(self._instance.id)},
        )
        try:
            answer = await while_connected(request.receive, partial(self._ask, question))
        except ClientGone:
            return Response(status_code=CLIENT_GONE)
        if answer is None:
            raise ApiError(503, _UNREACHABLE)
        if answer.is_error:
            raise await _refusal(answer)
        return RelayedResponse(answer, headers, stall_seconds)

    async def _ask(self, question: httpx.Request) -> httpx.Response | None:
        """The answer once its head is here; None when there is none to be had."""
        try:
            return await self._client.send(question, stream=True)
        except httpx.HTTPError as error:
            _log.warning("relay.unreachable", error=type(error).__name__)
            return None


class RelayedResponse:
    """ASGI response that passes the owner's on. One that breaks off breaks off here too, and never looks whole."""

    def __init__(self, answer: httpx.Response, headers: dict[str, str], stall_seconds: float) -> None:
        self._answer = answer
        self._stall_seconds = stall_seconds
        found = {name: answer.headers[name] for name in HANDED_BACK if name in answer.headers}
        self._headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in {**found, **headers}.items()
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send_while_connected(
                self._send_all, scope, receive, send, stall_seconds=self._stall_seconds, cut_by=(httpx.HTTPError,)
            )
        finally:
            await _close(self._answer)

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self._answer.status_code, "headers": self._headers})
        async for piece in self._answer.aiter_raw():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


@asynccontextmanager
async def open_relay(instance: Instance) -> AsyncIterator[Relay]:
    """For the time of the block."""
    transport = httpx.AsyncHTTPTransport(
        limits=httpx.Limits(max_connections=MAX_RELAYED, max_keepalive_connections=0),
        socket_options=_keepalive(),
        trust_env=False,
    )
    # No read timeout: a listener may wait for as long as its generation waits in line.
    timeout = httpx.Timeout(None, connect=CONNECT_SECONDS, pool=CONNECT_SECONDS)
    async with httpx.AsyncClient(transport=transport, timeout=timeout, follow_redirects=False) as client:
        yield Relay(client, instance)


def _keepalive() -> list[tuple[int, int, int]]:
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    if hasattr(socket, "TCP_KEEPIDLE"):  # Linux
        options += [
            (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, DEAD_PEER_SECONDS),
            (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, DEAD_PEER_SECONDS // 2),
            (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2),
        ]
    return options


async def _refusal(answer: httpx.Response) -> ApiError:
    body = b""
    try:
        async for piece in answer.aiter_raw():
            body += piece
            if len(body) > MAX_ERROR_BYTES:
                break
        detail = msgspec.json.decode(body, type=Detail).detail
    except (httpx.HTTPError, msgspec.DecodeError):
        return ApiError(503, _UNREACHABLE)
    finally:
        await _close(answer)
    found = {name: answer.headers[name] for name in HANDED_BACK if name in answer.headers}
    kept = ("content-range", "retry-after", "x-utter-error-category")
    return ApiError(answer.status_code, detail, headers={name: found[name] for name in kept if name in found})


async def _close(answer: httpx.Response) -> None:
    """Also while everything is being cancelled: the owner sees by it that this listener has left."""
    with anyio.CancelScope(shield=True), anyio.move_on_after(CONNECT_SECONDS):
        await answer.aclose()
