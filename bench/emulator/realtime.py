"""The realtime endpoint: one TCP connection, one WebSocket, one session (protocol reference 1)."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Iterable, Sequence
from urllib.parse import parse_qs, urlsplit

import msgspec
import trio
from trio_websocket import WebSocketRequest

from bench.emulator.faults import ANY_VOICE, FAULT_HEADER, Fault, UnknownFault, parse_faults
from bench.emulator.ledger import SessionRecord
from bench.emulator.line import FaultyStream, Line, LineEnded, open_request
from bench.emulator.script import Step, follow
from bench.emulator.session import RealtimeSession
from bench.emulator.studio import MODELS, Studio
from bench.emulator.vendor_errors import INVALID_KEY, MODEL_NOT_FOUND, THROTTLED, VendorAnswer, bad_parameter

REALTIME_PATH = "/api-ws/v1/realtime"

log = logging.getLogger("bench.emulator")


async def serve_connection(studio: Studio, stream: trio.SocketStream) -> None:
    """Serve one TCP connection. A bug in it ends this connection only, with a traceback in the log."""
    try:
        async with open_request(stream) as opened:
            if opened is not None:
                await _serve_request(studio, *opened)
    except Exception:
        log.exception("a realtime connection failed")


async def _serve_request(studio: Studio, request: WebSocketRequest, stream: FaultyStream) -> None:
    headers = {name.decode().lower(): value.decode() for name, value in request.headers}
    try:
        faults = parse_faults(headers.get(FAULT_HEADER, "").split(",")) | studio.faults.take(ANY_VOICE)
    except UnknownFault as unknown:
        await _refuse(request, bad_parameter(str(unknown)))
        return
    address = urlsplit(request.path)
    model = parse_qs(address.query).get("model", [""])[0]
    refusal = _refusal(studio, address.path, headers.get("authorization", ""), model, faults)
    if refusal is not None:
        await _refuse(request, refusal)
        return
    line = Line(await request.accept(), stream)
    script = studio.scripts.take()
    if script is None:
        await RealtimeSession(studio, line, model, faults).run()
    else:
        await _follow(studio, script, line, model)


async def _follow(studio: Studio, script: Sequence[Step], line: Line, model: str) -> None:
    record = SessionRecord(session_id="", model=model)
    studio.ledger.open(record)
    try:
        await follow(script, line)
        record.note("script")
    except LineEnded:
        record.note("client_closed")


def _refusal(studio: Studio, path: str, authorization: str, model: str, faults: Iterable[Fault]) -> VendorAnswer | None:
    """Why the upgrade is refused, in the order a front end would check (protocol reference 1.2)."""
    if path != REALTIME_PATH:
        return VendorAnswer(404, "NotFound", "The requested resource was not found.")
    if not is_authorized(studio.options.api_key, authorization):
        return INVALID_KEY
    for fault in faults:
        if fault in UPGRADE_FAULTS:
            return UPGRADE_FAULTS[fault]
    if not model:
        return bad_parameter("Required parameter 'model' missing.")
    return None if model in MODELS else MODEL_NOT_FOUND


UPGRADE_FAULTS = {
    Fault.WRONG_KEY: INVALID_KEY,
    Fault.WRONG_REGION: INVALID_KEY,
    Fault.MODEL_GONE: MODEL_NOT_FOUND,
    Fault.THROTTLED_UPGRADE: THROTTLED,
}
"""Faults that answer before there is a session; the REST side honours the same ones."""


def is_authorized(api_key: str, authorization: str) -> bool:
    """Whether the `Authorization` header carries the key."""
    return hmac.compare_digest(authorization.encode(), f"Bearer {api_key}".encode())


async def _refuse(request: WebSocketRequest, answer: VendorAnswer) -> None:
    await request.reject(
        answer.status,
        extra_headers=[(b"content-type", b"application/json")],
        body=msgspec.json.encode(answer.envelope()),
    )
