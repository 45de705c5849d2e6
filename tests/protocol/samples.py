"""Messages as the vendor sends them: the shapes of protocol reference 1.4 and 1.8, with ids of our own making."""

from __future__ import annotations

import base64
import json

AUDIO = bytes(range(256))


def message(event_type: str, **fields: object) -> str:
    """One event as the text frame a server would send."""
    return json.dumps({"event_id": f"event_{event_type}", "type": event_type, **fields})


def session(**fields: object) -> dict[str, object]:
    return {
        "object": "realtime.session",
        "mode": "server_commit",
        "model": "m",
        "voice": "v",
        "response_format": "mp3",
        "sample_rate": 24000,
        "id": "sess_1",
        **fields,
    }


CREATED = message("session.created", session=session())
UPDATED = message("session.updated", session=session(language_type="english"))
COMMITTED = message("input_text_buffer.committed", item_id="")
CLEARED = message("input_text_buffer.cleared")
FINISHED = message("session.finished")
SHORT_ERROR = message("error", error={"code": "invalid_value", "message": "words"})


def place(response_id: str) -> dict[str, object]:
    return {"response_id": response_id, "item_id": "item_1", "output_index": 0, "content_index": 0}


def response_created(response_id: str = "resp_1") -> str:
    return message(
        "response.created",
        response={
            "id": response_id,
            "object": "realtime.response",
            "conversation_id": "",
            "status": "in_progress",
            "voice": "v",
            "output": [],
        },
    )


def item_added(response_id: str = "resp_1") -> str:
    item = {"id": "item_1", "object": "realtime.item", "type": "message", "status": "in_progress", "content": []}
    return message("response.output_item.added", response_id=response_id, output_index=0, item=item)


def part_added(response_id: str = "resp_1") -> str:
    return message("response.content_part.added", **place(response_id), part={"type": "audio", "text": ""})


def delta(audio: bytes = AUDIO, response_id: str = "resp_1") -> str:
    return message("response.audio.delta", **place(response_id), delta=base64.b64encode(audio).decode())


def audio_done(response_id: str = "resp_1") -> str:
    return message("response.audio.done", **place(response_id))


def part_done(response_id: str = "resp_1") -> str:
    return message("response.content_part.done", **place(response_id), part={"type": "audio", "text": ""})


def item_done(response_id: str = "resp_1") -> str:
    usage = {"input_tokens": 8, "output_tokens": 36, "total_tokens": 44}
    item = {"id": "item_1", "object": "realtime.item", "status": "completed", "output": {"usage": usage}}
    return message("response.output_item.done", response_id=response_id, output_index=0, item=item)


def response_done(response_id: str = "resp_1", status: str = "completed", **fields: object) -> str:
    return message("response.done", response={"id": response_id, "status": status, **fields})


def whole_response(response_id: str = "resp_1", audio: bytes = AUDIO, **done: object) -> list[str]:
    """A response from beginning to end, in the order of the wire recordings."""
    return [
        response_created(response_id),
        item_added(response_id),
        part_added(response_id),
        delta(audio, response_id),
        audio_done(response_id),
        part_done(response_id),
        item_done(response_id),
        response_done(response_id, **done),  # type: ignore[arg-type]  # status is among the fields
    ]
