"""`GET /generations/:id/stream`: the same audio while it is made and ever after (product section 4)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from gateway.audio_log import AudioLog, LogState, OffsetPastEnd
from gateway.delivery import (
    CLIENT_GONE,
    Body,
    ClientGone,
    SpanResponse,
    not_satisfiable,
    quoted,
    respond,
    while_connected,
)
from gateway.errors import ApiError
from gateway.media import media_type
from gateway.ranges import RangeNotSatisfiable, parse_offset, parse_range, resolve_growing
from gateway.relay import RelayedResponse
from gateway.responses import NO_STORE
from gateway.routes.access import belongs_to, caller, path_id, services_of, unknown
from gateway.routes.generations import read_generation
from gateway.running import RunningGeneration
from gateway.services import Services
from gateway.settings import ProviderMode
from gateway.signing import InvalidToken
from gateway.streaming import AudioLogResponse
from protocol.errors import Category, ProviderFailure
from schema.javascript import is_uuid
from schema.records import GenerationRow
from storage import generations, leases
from storage.audio_spool import Entry
from storage.objects import GENERATIONS

LOOKS = 2
"""A generation may end between the look at the registry and the look at its row; the second row says how."""

PIECE_BYTES = 65_536
"""How finished audio is handed to the socket: large enough to be few writes, small enough to see a stall early."""

LIVE_TYPE = "audio/mpeg"

QWEN = ProviderMode.QWEN.value
"""The provider of everything that can be heard while it is made."""

Answer = Response | AudioLogResponse | SpanResponse | RelayedResponse


@dataclass(frozen=True, slots=True)
class Listener:
    """Who listens. `stall_seconds` is how long they may take nothing: a paused player has a signed URL. `headers` are
    added to the answer."""

    owner: UUID
    generation_id: UUID
    stall_seconds: float
    offset: int
    headers: Mapping[str, str] = field(default_factory=dict)


async def listen(request: Request) -> Answer:
    """Joins a running generation, or plays a stored one."""
    return await play(request, await _listener(request))


async def play(request: Request, listener: Listener) -> Answer:
    """The answer to `listener`. Raises `ApiError` when there is nothing to hear, or no longer."""
    services = services_of(request)
    for _ in range(LOOKS):
        running = services.supervisor.get(listener.generation_id)
        if running is not None and running.order.owner == listener.owner:
            return await _join(request, running, listener)
        row = await read_generation(services, listener.owner, listener.generation_id)
        if row is None:
            raise unknown("generation")
        if row.status == "completed":
            return await _stored(request, row, listener)
        if row.status in {"failed", "cancelled"}:
            raise _gone(cancelled=row.status == "cancelled")
        spooled = services.spool.get(listener.generation_id)
        if spooled is not None and spooled.note.owner == listener.owner:
            body = _spooled(services, spooled, listener)
            return respond(request, body, stall_seconds=listener.stall_seconds, offset=listener.offset)
        if row.tts_provider == "modal":
            raise ApiError(409, "This generation is not stored yet. Please poll its task.")
        async with services.database.as_user(listener.owner) as transaction:
            lease = await leases.of_generation(transaction, listener.owner, listener.generation_id)
        if lease is not None and services.relay.knows_way(request, lease):
            return await services.relay.listen(
                request,
                lease,
                listener.generation_id,
                stall_seconds=listener.stall_seconds,
                headers=dict(listener.headers),
            )
    raise ApiError(503, "This generation cannot be played right now. Please try again in a moment.")


async def _listener(request: Request) -> Listener:
    settings = services_of(request).settings
    token = request.query_params.get("token")
    if token is not None:
        owner, generation_id = await _by_token(request, token)
        stall_seconds = settings.token_write_stall_seconds
    else:
        owner = caller(request).id
        generation_id = path_id(request, "generation_id", "generation")
        stall_seconds = settings.write_stall_seconds
    try:
        offset = parse_offset(request.query_params.get("offset"))
    except ValueError as error:
        raise ApiError(400, "offset must be a number of bytes, 0 or more.") from error
    return Listener(owner, generation_id, stall_seconds, offset)


async def _by_token(request: Request, token: str) -> tuple[UUID, UUID]:
    """Owner and id of the generation that the token was made for. The token names no user: its signature binds it."""
    services = services_of(request)
    text: str = request.path_params["generation_id"]
    subject = str(UUID(text)) if is_uuid(text) else text
    try:
        services.signer.verify("stream", subject, token)
    except InvalidToken as error:
        raise ApiError(401, "This link has expired or is not valid. Please open the generation again.") from error
    generation_id = path_id(request, "generation_id", "generation")
    running = services.supervisor.get(generation_id)
    if running is not None:
        return running.order.owner, generation_id
    async with services.database.as_service() as transaction:
        owner = await generations.find_owner(transaction, generation_id)
    if owner is None:
        raise unknown("generation")
    return owner, generation_id


async def _join(request: Request, running: RunningGeneration, listener: Listener) -> Answer:
    log = running.log
    if log.state is LogState.COMPLETE:
        return respond(
            request, _finished(running, listener), stall_seconds=listener.stall_seconds, offset=listener.offset
        )
    if log.failure is not None:
        raise _failed(log.failure)
    headers = _headers(listener, QWEN)
    if request.method == "HEAD":
        return Response(headers={**headers, "content-type": LIVE_TYPE})
    return _existing_part(request, log, headers, listener) or await _follow(request, running, headers, listener)


def _existing_part(
    request: Request, log: AudioLog, headers: Mapping[str, str], listener: Listener
) -> SpanResponse | None:
    """206 for a closed range that can be answered now; None when everything is wanted, or a rest by `?offset=`."""
    whole = request.method != "GET" or "offset" in request.query_params
    header = None if whole else request.headers.get("range")
    try:
        span = resolve_growing(parse_range(header), log.size)
    except RangeNotSatisfiable as error:
        raise not_satisfiable(error) from error
    if span is None:
        return None
    partial_content = {
        "content-type": LIVE_TYPE,
        "content-length": str(span.length),
        "content-range": span.content_range(None),
        "cache-control": NO_STORE,
    }
    pieces = _pieces(log, span.start, span.stop)
    return SpanResponse(HTTPStatus.PARTIAL_CONTENT, {**headers, **partial_content}, pieces, listener.stall_seconds)


async def _follow(
    request: Request, running: RunningGeneration, headers: Mapping[str, str], listener: Listener
) -> Answer:
    """The audio from the listener's offset on, once its first byte exists."""
    running.joined()
    try:
        refusal = await while_connected(request.receive, partial(_refusal, running.log, listener.offset))
    except ClientGone:
        running.left()
        return Response(status_code=CLIENT_GONE)
    if refusal is not None:
        running.left()
        raise refusal
    return AudioLogResponse(
        running.log,
        offset=listener.offset,
        headers=headers,
        stall_seconds=listener.stall_seconds,
        on_end=running.left,
    )


async def _refusal(log: AudioLog, offset: int) -> ApiError | None:
    """Wait for the byte at `offset`; an error when it will never come."""
    try:
        await log.wait_for(offset)
    except ProviderFailure as failure:
        return _failed(failure)
    except OffsetPastEnd as error:
        return not_satisfiable(RangeNotSatisfiable(error.size))
    return None


def _finished(running: RunningGeneration, listener: Listener) -> Body:
    """The provider has finished, the store has not: the log is all there is, and it is whole."""
    return Body(
        size=running.log.size,
        content_type=LIVE_TYPE,
        read=partial(_pieces, running.log),
        sha256=running.log.sha256,
        etag=quoted(running.log.sha256),
        headers=_headers(listener, QWEN),
    )


def _spooled(services: Services, entry: Entry, listener: Listener) -> Body:
    """The store is away; the audio waits for it on this machine's disk."""
    done = entry.note.done
    return Body(
        size=done.audio_bytes,
        content_type=LIVE_TYPE,
        read=partial(services.spool.read, entry),
        sha256=done.audio_sha256,
        etag=quoted(done.audio_sha256),
        headers=_headers(listener, QWEN),
    )


async def _pieces(log: AudioLog, start: int, stop: int) -> AsyncIterator[bytes]:
    for position in range(start, stop, PIECE_BYTES):
        yield log.slice(position, min(position + PIECE_BYTES, stop))


async def _stored(request: Request, row: GenerationRow, listener: Listener) -> Answer:
    services = services_of(request)
    key = row.audio_object_key
    body = await _stored_body(services, row, key, listener) if key and belongs_to(row.user_id, key) else None
    if body is None:
        raise ApiError(404, "The audio of this generation is no longer stored.")
    return respond(request, body, stall_seconds=listener.stall_seconds, offset=listener.offset)


async def _stored_body(services: Services, row: GenerationRow, key: str, listener: Listener) -> Body | None:
    info = await services.objects.head(GENERATIONS, key)
    if info is None:
        return None
    # A digest is a promise about these bytes; an object of another length is not what the row describes.
    sha256 = row.audio_sha256 if row.audio_bytes == info.size else None
    return Body(
        size=info.size,
        content_type=media_type(key),
        read=partial(services.objects.read, GENERATIONS, key),
        sha256=sha256,
        etag=quoted(sha256) if sha256 else None,
        headers=_headers(listener, row.tts_provider),
    )


def _headers(listener: Listener, provider: str) -> dict[str, str]:
    return {
        "X-Utter-Provider": provider,
        "X-Utter-Generation-Id": str(listener.generation_id),
        **listener.headers,
    }


def _failed(failure: ProviderFailure) -> ApiError:
    return _gone(cancelled=failure.fault.facts.category is Category.CANCELLED)


def _gone(*, cancelled: bool) -> ApiError:
    if cancelled:
        return ApiError(410, "This generation was cancelled.", Category.CANCELLED)
    return ApiError(410, "This generation failed, so there is nothing to play. Please generate it again.")
