"""Section 1.8, tasks, and section 2.2, what they look like. How they move is in `test_flows` and `test_polls`."""

from __future__ import annotations

from tests.contract.rows import EVENTS, Raw, Row, unknown_ids
from tests.contract.shapes import OK, TASK, Made, absolute_url
from tests.contract.things import Generation, Task, Thing

LINE = "1.8 tasks/:id"
SHAPE = "2.2 tasks/:id"
EVENTS_LINE = "product 4 tasks/:id/events"
DELETE = "1.8 tasks/:id"
CANCEL = "1.8 tasks/:id/cancel"

GET = "GET /tasks/{task}"

TERMINAL = ("completed", "failed", "cancelled")
ACTIVE = ("pending", "processing")

CANCELLED = {"cancelled": True, "task_id": Made("{task}")}


def generated(status: str, **columns: object) -> dict[str, Thing]:
    """A generation in this state, and the task that watches it."""
    return {
        "generation": Generation({"status": status}),
        "task": Task({"status": status, "generation_id": Made("{generation}"), **columns}),
    }


def preview(status: str, **columns: object) -> dict[str, Thing]:
    """A design preview that was polled before."""
    return {"task": Task({"type": "design_preview", "status": status, "provider_poll_count": 1, **columns})}


_TERMINAL_READ = {**TASK, "modal_status": None, "modal_elapsed_seconds": None}

_READS = [
    Row(
        f"{SHAPE}: failed, result absent and error there",
        GET,
        200,
        shape={
            **_TERMINAL_READ,
            "id": Made("{task}"),
            "type": "generate",
            "status": "failed",
            "error": "It broke.",
            "modal_poll_count": 7,
        },
        given=generated("failed", error="It broke.", modal_poll_count=7),
    ),
    Row(
        f"{SHAPE}: cancelled, result absent",
        GET,
        200,
        shape={**_TERMINAL_READ, "status": "cancelled"},
        given=generated("cancelled"),
    ),
    Row(
        f"{SHAPE}: completed, the address of its audio is imposed on what is stored",
        GET,
        200,
        shape={
            **_TERMINAL_READ,
            "status": "completed",
            "error": None,
            "result": {"audio_url": Made("/api/generations/{generation}/audio")},
            "stream_url": absolute_url,
        },
        given=generated("completed", result={"audio_url": "/elsewhere"}),
    ),
    Row(
        f"{SHAPE}: completed, its generation was deleted",
        GET,
        200,
        shape={**_TERMINAL_READ, "status": "completed", "result": {"audio_url": "/elsewhere"}},
        given={"task": Task({"status": "completed", "result": {"audio_url": "/elsewhere"}})},
    ),
    Row(
        f"{SHAPE}: completed preview, an address for everybody is added",
        GET,
        200,
        shape={
            **_TERMINAL_READ,
            "type": "design_preview",
            "status": "completed",
            "result": {"object_key": Made("{owner}/preview_x.wav"), "audio_url": absolute_url},
        },
        given=preview("completed", result={"object_key": Made("{owner}/preview_x.wav")}),
    ),
    Row(
        f"product 9, {SHAPE}: completed preview, a key outside the owner's folder is never signed",
        GET,
        200,
        shape={
            **_TERMINAL_READ,
            "type": "design_preview",
            "status": "completed",
            "result": {"object_key": "elsewhere/preview_x.wav"},
        },
        given=preview("completed", result={"object_key": "elsewhere/preview_x.wav"}),
    ),
    *(
        Row(
            f"{SHAPE}: {status} preview",
            GET,
            200,
            shape={**_TERMINAL_READ, "type": "design_preview", "status": status},
            given=preview(status),
        )
        for status in ("failed", "cancelled")
    ),
    Row(
        "2.3 tasks/:id: pending without a job reads pending, and is not counted",
        GET,
        200,
        shape={**_TERMINAL_READ, "status": "pending", "modal_poll_count": 0},
        given={"task": Task({"status": "pending", "provider": "modal"})},
    ),
    Row(
        "2.3 tasks/:id: a preview under way is counted",
        GET,
        200,
        shape={**TASK, "status": "processing", "modal_status": "processing", "modal_poll_count": 5},
        given=preview("processing", provider="modal", modal_poll_count=4, metadata={"text": "a", "instruct": "b"}),
        modes=("modal",),
    ),
    Row(
        "appendix A, tasks/:id: a running qwen task is not counted",
        GET,
        200,
        shape={
            **_TERMINAL_READ,
            "status": "processing",
            "provider": "qwen",
            "modal_poll_count": 0,
            "provider_poll_count": 0,
            "stream_url": absolute_url,
        },
        given=generated("processing", provider="qwen"),
    ),
    Row(
        "product 4 tasks/:id: a stream's task",
        GET,
        200,
        shape={**_TERMINAL_READ, "type": "generate_stream", "status": "failed"},
        given=generated("failed", type="generate_stream"),
    ),
    *unknown_ids(LINE, "GET /tasks/{id}"),
]

_DELETES = [
    *(
        Row(f"{DELETE}: deleted while {status}", "DELETE /tasks/{task}", 200, shape=OK, given=generated(status))
        for status in (*ACTIVE, *TERMINAL)
    ),
    Row(f"{DELETE}: a preview deleted", "DELETE /tasks/{task}", 200, shape=OK, given=preview("completed")),
    *unknown_ids(f"{DELETE} deleted", "DELETE /tasks/{id}"),
]

_CANCELS = [
    *(
        Row(f"{CANCEL}: {status}", "POST /tasks/{task}/cancel", 200, shape=CANCELLED, given=generated(status))
        for status in ACTIVE
    ),
    *(
        Row(f"{CANCEL}: {status} preview", "POST /tasks/{task}/cancel", 200, shape=CANCELLED, given=preview(status))
        for status in ACTIVE
    ),
    *(
        Row(f"{CANCEL}: already {status}", "POST /tasks/{task}/cancel", 400, given=generated(status))
        for status in TERMINAL
    ),
    Row(
        f"{CANCEL}: whatever its body", "POST /tasks/{task}/cancel", 200, Raw(b"?"), CANCELLED, generated("processing")
    ),
    *unknown_ids(CANCEL, "POST /tasks/{id}/cancel"),
]

_EVENTS = [
    *(
        Row(f"{EVENTS_LINE}: {status}", "GET /tasks/{task}/events", 200, shape=EVENTS, given=generated(status))
        for status in ("completed", "failed")
    ),
    *unknown_ids(EVENTS_LINE, "GET /tasks/{id}/events"),
]

ROWS = [*_READS, *_EVENTS, *_DELETES, *_CANCELS]
