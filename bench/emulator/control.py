"""The emulator's own endpoints, which the vendor does not have: what happened, what it cost, what shall go wrong."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bench.emulator.answers import json_answer
from bench.emulator.customization_faults import ACTIONS, CUSTOMIZATION
from bench.emulator.faults import ANY_VOICE, SCENARIOS, Fault, UnknownFault, parse_faults
from bench.emulator.modal import ENDPOINTS, MODAL
from bench.emulator.modal_jobs import Job
from bench.emulator.realtime import UPGRADE_FAULTS
from bench.emulator.script import ScriptOrder
from bench.emulator.studio import Studio

CUSTOMIZATION_KEYS = (CUSTOMIZATION, *(f"{CUSTOMIZATION}:{action}" for action in ACTIONS))
MODAL_KEYS = (MODAL, *(f"{MODAL}:{endpoint}" for endpoint in ENDPOINTS))
"""The keys of REST calls, where sessions have a voice id."""

EARLY_KEYS = (ANY_VOICE, *CUSTOMIZATION_KEYS)
"""The keys whose orders are looked at before there is a session."""


class FaultOrder(msgspec.Struct):
    """`voice` is an id, "*" for any realtime session, or one of CUSTOMIZATION_KEYS and MODAL_KEYS for REST calls;
    `times` null means for good."""

    voice: str
    faults: list[str]
    times: int | None = None


def control_routes(studio: Studio) -> list[Route]:
    """Routes under `/_emulator`. No key: the emulator listens on the loopback interface."""

    async def billing(_request: Request) -> Response:
        return json_answer(studio.account.bill)

    async def creates(_request: Request) -> Response:
        return json_answer(studio.account.creates())

    async def modal(_request: Request) -> Response:
        return json_answer([_job_row(job) for job in studio.modal_jobs.all()])

    async def list_faults(_request: Request) -> Response:
        known = {fault: {"reference": about.reference, "does": about.does} for fault, about in SCENARIOS.items()}
        return json_answer({"active": studio.faults.active(), "known": known})

    async def order_faults(request: Request) -> Response:
        try:
            order = msgspec.json.decode(await request.body(), type=FaultOrder)
            faults = parse_faults(order.faults)
            problem = _misdirected(order.voice, faults)
            if problem:
                return json_answer({"detail": problem}, 400)
            studio.faults.order(order.voice, faults, order.times)
        except (msgspec.DecodeError, UnknownFault) as unreadable:
            return json_answer({"detail": str(unreadable)}, 400)
        return Response(status_code=204)

    async def clear_faults(_request: Request) -> Response:
        studio.faults.clear()
        return Response(status_code=204)

    return [
        Route("/_emulator/billing", billing),
        Route("/_emulator/creates", creates),
        Route("/_emulator/modal", modal),
        Route("/_emulator/faults", list_faults),
        Route("/_emulator/faults", order_faults, methods=["PUT"]),
        Route("/_emulator/faults", clear_faults, methods=["DELETE"]),
        *_session_routes(studio),
        *_script_routes(studio),
    ]


def _session_routes(studio: Studio) -> list[Route]:
    async def sessions(_request: Request) -> Response:
        return json_answer(studio.ledger.rows())

    async def deltas(request: Request) -> Response:
        return json_answer(studio.ledger.deltas(request.path_params["session_id"]))

    return [
        Route("/_emulator/sessions", sessions),
        Route("/_emulator/sessions/{session_id}/deltas", deltas),
    ]


def _script_routes(studio: Studio) -> list[Route]:
    async def order_script(request: Request) -> Response:
        try:
            studio.scripts.order(msgspec.json.decode(await request.body(), type=ScriptOrder))
        except msgspec.DecodeError as unreadable:
            return json_answer({"detail": str(unreadable)}, 400)
        return Response(status_code=204)

    async def clear_script(_request: Request) -> Response:
        studio.scripts.clear()
        return Response(status_code=204)

    return [
        Route("/_emulator/script", order_script, methods=["PUT"]),
        Route("/_emulator/script", clear_script, methods=["DELETE"]),
    ]


def _misdirected(key: str, faults: frozenset[Fault]) -> str:
    """Why an order would never strike, "" if it can."""
    if key.startswith((f"{CUSTOMIZATION}:", f"{MODAL}:")) and key not in (*CUSTOMIZATION_KEYS, *MODAL_KEYS):
        return f"no such REST call: order for {(*CUSTOMIZATION_KEYS, *MODAL_KEYS)}"
    if key not in EARLY_KEYS and faults & UPGRADE_FAULTS.keys():
        return f"faults of the upgrade come before a voice is known: order for {EARLY_KEYS}"
    modal = {fault for fault in faults if fault.startswith("modal_")}
    if (modal and key not in MODAL_KEYS) or (key in MODAL_KEYS and faults - modal):
        return f"faults named modal_... are ordered for {MODAL_KEYS}, and nothing else is"
    return ""


def _job_row(job: Job) -> dict[str, object]:
    """A job without its text: how far it is, and how often it was asked for."""
    return {
        "id": job.id,
        "kind": job.kind,
        "flavour": job.flavour,
        "state": job.state(),
        "characters": len(job.text),
        "language": job.language,
        "speaker": job.speaker,
        "polls": job.polls,
        "results": job.results,
    }
