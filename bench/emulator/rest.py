"""The REST port: customization as the vendor serves it, Modal's endpoints, and the emulator's own control endpoints."""

from __future__ import annotations

import uuid

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bench.emulator.answers import BodyTooLarge, CutAnswer, json_answer, no_answer, read_body
from bench.emulator.control import control_routes
from bench.emulator.customization import Customization
from bench.emulator.customization_faults import CUSTOMIZATION, AnswerLost
from bench.emulator.faults import FAULT_HEADER, UnknownFault, parse_faults
from bench.emulator.modal import modal_routes
from bench.emulator.realtime import is_authorized
from bench.emulator.studio import Studio
from bench.emulator.vendor_errors import FILE_TOO_LARGE, INVALID_KEY, VendorRefusal, bad_parameter

CUSTOMIZATION_PATH = "/api/v1/services/audio/tts/customization"

MAX_BODY_BYTES = 12 * 1024 * 1024
"""A recording of 10 MiB as a data URL, and the fields around it."""


def make_app(studio: Studio) -> Starlette:
    """The ASGI app of the REST port."""
    customization = Customization(studio)

    async def customize(request: Request) -> Response:
        request_id = {"request_id": str(uuid.uuid4())}
        try:
            return json_answer(await _customize(studio, customization, request) | request_id)
        except VendorRefusal as refusal:
            return json_answer(refusal.answer.envelope(), refusal.answer.status)
        except AnswerLost as lost:
            answer = json_answer(request_id)
            return CutAnswer(answer.body, media_type=answer.media_type) if lost.cut else await no_answer(request)

    customize_route = Route(CUSTOMIZATION_PATH, customize, methods=["POST"])
    return Starlette(routes=[customize_route, *modal_routes(studio), *control_routes(studio)])


async def _customize(studio: Studio, customization: Customization, request: Request) -> dict[str, object]:
    if not is_authorized(studio.options.api_key, request.headers.get("authorization", "")):
        raise VendorRefusal(INVALID_KEY)
    try:
        faults = parse_faults(request.headers.get(FAULT_HEADER, "").split(","))
        body = await read_body(request, MAX_BODY_BYTES)
    except UnknownFault as unknown:
        raise VendorRefusal(bad_parameter(str(unknown))) from None
    except BodyTooLarge:
        raise VendorRefusal(FILE_TOO_LARGE) from None
    return await customization.perform(body, faults | studio.faults.take(CUSTOMIZATION))
