"""The REST port: customization as the vendor serves it, and the emulator's own control endpoints."""

from __future__ import annotations

import uuid

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bench.emulator.control import CUSTOMIZATION_FAULTS, control_routes
from bench.emulator.customization import Customization
from bench.emulator.faults import FAULT_HEADER, UnknownFault, parse_faults
from bench.emulator.realtime import UPGRADE_FAULTS, is_authorized
from bench.emulator.studio import Studio
from bench.emulator.vendor_errors import FILE_TOO_LARGE, INVALID_KEY, VendorRefusal, bad_parameter

CUSTOMIZATION_PATH = "/api/v1/services/audio/tts/customization"

MAX_BODY_BYTES = 12 * 1024 * 1024
"""A recording of 10 MiB as a data URL, and the fields around it."""


def make_app(studio: Studio) -> Starlette:
    """The ASGI app of the REST port."""
    customization = Customization(studio)

    async def customize(request: Request) -> Response:
        try:
            content = await _customize(studio, customization, request)
        except VendorRefusal as refusal:
            return _json(refusal.answer.envelope(), refusal.answer.status)
        return _json(content | {"request_id": str(uuid.uuid4())})

    return Starlette(routes=[Route(CUSTOMIZATION_PATH, customize, methods=["POST"]), *control_routes(studio)])


async def _customize(studio: Studio, customization: Customization, request: Request) -> dict[str, object]:
    if not is_authorized(studio.options.api_key, request.headers.get("authorization", "")):
        raise VendorRefusal(INVALID_KEY)
    try:
        faults = parse_faults(request.headers.get(FAULT_HEADER, "").split(","))
    except UnknownFault as unknown:
        raise VendorRefusal(bad_parameter(str(unknown))) from None
    faults |= studio.faults.take(CUSTOMIZATION_FAULTS)
    for fault in faults:
        if fault in UPGRADE_FAULTS:
            raise VendorRefusal(UPGRADE_FAULTS[fault])
    return await customization.perform(await _body(request), faults)


async def _body(request: Request) -> bytes:
    content = bytearray()
    async for piece in request.stream():
        content += piece
        if len(content) > MAX_BODY_BYTES:
            raise VendorRefusal(FILE_TOO_LARGE)
    return bytes(content)


def _json(content: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")
