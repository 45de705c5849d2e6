"""Rows of making speech: begin it, hear it, follow it, and its history."""

from __future__ import annotations

from gateway.idempotency import HEADER, MAX_KEY_CHARS
from gateway.routes import generate, generations, listen, task_events, tasks
from gateway.routes.operations import (
    AUDIO,
    PAGING,
    REDIRECT,
    SEARCH,
    STORED,
    Answer,
    Auth,
    Json,
    Operation,
    Parameter,
    Raw,
)
from gateway.task_events import EVENT_STREAM
from schema.http import (
    Done,
    GenerateAccepted,
    GenerateRequest,
    GenerationList,
    Regeneration,
    Task,
    TaskCancelled,
)

_STATUS = Parameter("status", "Only those in this state; `all` is every state.")
_OFFSET = Parameter("offset", "Begin at this byte, as a body of its own.", {"type": "integer", "minimum": 0})

_KEY = Parameter(
    HEADER,
    "Makes a repetition of this request the same request for 24 hours: what it began is joined or played again.",
    {"type": "string", "minLength": 1, "maxLength": MAX_KEY_CHARS},
)

_ABOUT = ("X-Utter-Provider", "X-Utter-Generation-Id")
_RUNNING = (*_ABOUT, "X-Utter-Task-Id", "X-Utter-Stream-Url", "Server-Timing")

ROWS: tuple[Operation, ...] = (
    Operation(
        "POST",
        "/generate",
        generate.generate,
        "Speak a text; poll the task, then fetch the audio",
        Auth.SIGNED_IN,
        {200: Answer("It has begun.", Json(GenerateAccepted), _RUNNING)},
        body=Json(GenerateRequest),
        headers=(_KEY,),
        also=(404, 409, 502, 504),
    ),
    Operation(
        "POST",
        "/generate/stream",
        generate.generate_stream,
        "Speak a text; the answer is the audio, while it is made",
        Auth.SIGNED_IN,
        {200: Answer("MP3 as it is made. A cut connection is a failure.", Raw(("audio/mpeg",)), _RUNNING)},
        body=Json(GenerateRequest),
        headers=(_KEY,),
        also=(404, 409, 502, 504),
        streams=True,
    ),
    Operation(
        "GET",
        "/generations",
        generations.list_generations,
        "Your history, newest first",
        Auth.SIGNED_IN,
        {200: GenerationList},
        query=(*PAGING, SEARCH, _STATUS),
    ),
    Operation(
        "GET",
        "/generations/{generation_id}/audio",
        generations.audio,
        "The stored audio",
        Auth.SIGNED_IN,
        {302: REDIRECT},
    ),
    Operation(
        "GET",
        "/generations/{generation_id}/stream",
        listen.listen,
        "The audio, while it is made and ever after",
        Auth.SIGNED_IN_OR_LINK,
        {
            200: Answer("All of it, or all from the offset on.", Raw(AUDIO), (*_ABOUT, *STORED)),
            206: Answer("The part asked for by Range.", Raw(AUDIO), (*_ABOUT, *STORED, "Content-Range")),
            304: Answer("You have it already.", headers=("ETag",)),
        },
        query=(_OFFSET,),
        also=(409, 410, 416),
        streams=True,
    ),
    Operation(
        "POST",
        "/generations/{generation_id}/regenerate",
        generations.regenerate,
        "What to fill into the form to speak it again",
        Auth.SIGNED_IN,
        {200: Regeneration},
        also=(400,),
    ),
    Operation(
        "DELETE",
        "/generations/{generation_id}",
        generations.delete,
        "Delete a generation and its audio",
        Auth.SIGNED_IN,
        {200: Done},
    ),
    Operation(
        "GET",
        "/tasks/{task_id}",
        tasks.get,
        "How the work goes on",
        Auth.SIGNED_IN,
        {200: Task},
    ),
    Operation(
        "GET",
        "/tasks/{task_id}/events",
        task_events.events,
        "The same, told as it changes",
        Auth.SIGNED_IN,
        {
            200: Answer(
                "Server-sent events `task`, each one a Task, until it has ended; or `gone`.", Raw((EVENT_STREAM,))
            )
        },
        streams=True,
    ),
    Operation(
        "DELETE",
        "/tasks/{task_id}",
        tasks.delete,
        "Forget a task; what still runs is cancelled",
        Auth.SIGNED_IN,
        {200: Done},
    ),
    Operation(
        "POST",
        "/tasks/{task_id}/cancel",
        tasks.cancel,
        "Stop the work",
        Auth.SIGNED_IN,
        {200: TaskCancelled},
        also=(400,),
    ),
)
