"""The emulator's own endpoints, which the vendor does not have: what happened, what it cost, what shall go wrong."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bench.emulator.faults import ANY_VOICE, SCENARIOS, UnknownFault, parse_faults
from bench.emulator.realtime import UPGRADE_FAULTS
from bench.emulator.studio import Studio

CUSTOMIZATION_FAULTS = "customization"
"""The key under which faults of the REST port are ordered, where sessions have a voice id."""

EARLY_KEYS = (ANY_VOICE, CUSTOMIZATION_FAULTS)
"""The keys whose orders are looked at before there is a session."""


class FaultOrder(msgspec.Struct):
    """`voice` is an id, "*" for any realtime session, or "customization" for REST; `times` null means for good."""

    voice: str
    faults: list[str]
    times: int | None = None


def control_routes(studio: Studio) -> list[Route]:
    """Routes under `/_emulator`. No key: the emulator listens on the loopback interface."""

    async def sessions(_request: Request) -> Response:
        return _json(studio.ledger.records())

    async def billing(_request: Request) -> Response:
        return _json(studio.account.bill)

    async def list_faults(_request: Request) -> Response:
        known = {fault: {"reference": about.reference, "does": about.does} for fault, about in SCENARIOS.items()}
        return _json({"active": studio.faults.active(), "known": known})

    async def order_faults(request: Request) -> Response:
        try:
            order = msgspec.json.decode(await request.body(), type=FaultOrder)
            faults = parse_faults(order.faults)
            if order.voice not in EARLY_KEYS and faults & UPGRADE_FAULTS.keys():
                return _json(
                    {"detail": f"faults of the upgrade come before a voice is known: order for {EARLY_KEYS}"}, 400
                )
            studio.faults.order(order.voice, faults, order.times)
        except (msgspec.DecodeError, UnknownFault) as problem:
            return _json({"detail": str(problem)}, 400)
        return Response(status_code=204)

    async def clear_faults(_request: Request) -> Response:
        studio.faults.clear()
        return Response(status_code=204)

    return [
        Route("/_emulator/sessions", sessions),
        Route("/_emulator/billing", billing),
        Route("/_emulator/faults", list_faults),
        Route("/_emulator/faults", order_faults, methods=["PUT"]),
        Route("/_emulator/faults", clear_faults, methods=["DELETE"]),
    ]


def _json(content: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")
