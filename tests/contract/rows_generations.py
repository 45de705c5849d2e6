"""Section 1.7: the history."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from tests.contract.rows import NOTHING, Row, unknown_ids
from tests.contract.rows_voices import DELETED, PAGE_NUMBERS, line_of, query
from tests.contract.shapes import GENERATION, OK, Made, listed, matching, pagination
from tests.contract.things import Generation, Task, Thing, Voice

LINE = "1.7 generations"
AUDIO_LINE = "1.7 generations/:id/audio"
REGENERATE = "1.7 generations/:id/regenerate"
DELETE = "1.7 generations/:id"

STATUSES = ("pending", "processing", "completed", "failed", "cancelled")

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)

ODD_TEXT = "-_.!~*'() &+=?#/%\"<>\\ é 😀 \n שלום"
"""Everything that one encoder escapes and another does not (1.0, redirect_url)."""


def history(**of: Mapping[str, object]) -> dict[str, Thing]:
    """Generations with these columns, each a second younger than the one before it."""
    return {
        alias: Generation({"created_at": LONG_AGO + timedelta(seconds=second), **columns})
        for second, (alias, columns) in enumerate(of.items())
    }


def found(*texts: str, total: int | None = None) -> dict[str, object]:
    """An answer with the generations of these texts."""
    count = len(texts) if total is None else total
    return {"generations": listed(*texts, by="text"), "pagination": pagination(total=count, pages=1)}


def searched(search: str, *texts: str, **given: Mapping[str, object]) -> Row:
    """`GET /generations?search=` with exactly these texts in the answer."""
    return Row(
        f"{line_of(LINE, search)}: search {search!r} finds {', '.join(texts) or 'nothing'}",
        "GET /generations" + query("search", search),
        200,
        shape=found(*texts),
        given=history(**given),
    )


def with_status(status: str, *texts: str) -> Row:
    """`GET /generations?status=` over one generation in each state."""
    return Row(
        f"{LINE}: status {status!r} finds {', '.join(texts) or 'nothing'}",
        "GET /generations" + query("status", status),
        200,
        shape=found(*texts),
        given=history(**{state: {"status": state, "text": state} for state in STATUSES}),
    )


def encoded(text: str) -> str:
    """encodeURIComponent (1.0)."""
    return quote(text, safe="-_.!~*'()")


_OLD = {
    "text": "Old.",
    "status": "failed",
    "error_message": "It broke.",
    "voice_id": None,
    "generation_time_seconds": 1.5,
    "created_at": LONG_AGO,
    "tts_provider": "modal",
}

_LIST = [
    Row(
        f"{LINE}: exactly these fields",
        "GET /generations",
        200,
        shape={"generations": [GENERATION], "pagination": pagination(total=1, pages=1)},
        given={"generation": Generation()},
    ),
    Row(
        f"{LINE}: what a v1 row holds",
        "GET /generations",
        200,
        shape={
            "generations": [
                {
                    "id": Made("{generation}"),
                    "voice_id": None,
                    "voice_name": None,
                    "text": "Old.",
                    "audio_path": Made("/api/generations/{generation}/audio"),
                    "duration_seconds": None,
                    "language": "English",
                    "status": "failed",
                    "generation_time_seconds": 1.5,
                    "error_message": "It broke.",
                    "created_at": "2026-01-01T00:00:00.000000+00:00",
                }
            ],
            "pagination": pagination(total=1, pages=1),
        },
        given={"generation": Generation(_OLD)},
    ),
    Row(
        f"appendix A, {LINE}: the name of a deleted voice is still shown",
        "GET /generations",
        200,
        shape={
            "generations": [{**GENERATION, "voice_id": Made("{voice}"), "voice_name": "Ada"}],
            "pagination": pagination(total=1, pages=1),
        },
        given={"voice": Voice(DELETED), "generation": Generation({"voice_id": Made("{voice}")})},
    ),
    Row(
        f"product 4, {LINE}: the task of one that is being made, to follow it by",
        "GET /generations",
        200,
        shape={
            "generations": [{**GENERATION, "status": "processing", "task_id": Made("{task}")}],
            "pagination": pagination(total=1, pages=1),
        },
        given={
            "generation": Generation({"status": "processing"}),
            "task": Task({"generation_id": Made("{generation}")}),
        },
    ),
    Row(
        f"{LINE}: none", "GET /generations", 200, shape={"generations": [], "pagination": pagination(total=0, pages=1)}
    ),
    Row(
        f"{LINE}: newest first",
        "GET /generations?sort=text",
        200,
        shape=found("c", "b", "a"),
        given=history(b={"text": "a"}, a={"text": "b"}, c={"text": "c"}),
    ),
    Row(
        f"{LINE}: second page of two",
        "GET /generations?page=2&per_page=2",
        200,
        shape={"generations": listed("a", by="text"), "pagination": pagination(2, 2, 3, 2)},
        given=history(a={"text": "a"}, b={"text": "b"}, c={"text": "c"}),
    ),
    Row(
        f"product 4, {LINE}: a page past the end is empty",
        "GET /generations?page=9",
        200,
        shape={"generations": [], "pagination": pagination(9, 20, 1, 1)},
        given=history(a={"text": "a"}),
    ),
    Row(
        f"product 4, {LINE}: a page past every end is empty",
        "GET /generations?page=1e300",
        200,
        shape={"generations": [], "pagination": pagination(lambda page: page > 2**50, 20, 1, 1)},
        given=history(a={"text": "a"}),
    ),
    *(
        Row(
            f"1.0 paging numbers: {name} {text!r} of generations",
            "GET /generations" + query(name, text),
            200,
            shape={
                "generations": [],
                "pagination": pagination(
                    (number or 1) if name == "page" else 1, (number or 20) if name == "per_page" else 20, 0, 1
                ),
            },
        )
        for name in ("page", "per_page")
        for text, number in PAGE_NUMBERS.items()
    ),
    Row(
        f"{LINE}: per_page over 100",
        "GET /generations?per_page=1000",
        200,
        shape={"generations": [], "pagination": pagination(1, 100, 0, 1)},
    ),
    searched("GOOD ", "Good morning.", a={"text": "Good morning."}, b={"text": "Evening."}),
    searched("ada", a={"text": "Good morning."}),
    *(
        searched(wildcard, f"100{wildcard}", a={"text": f"100{wildcard}"}, b={"text": "100"})
        for wildcard in ("%", "_", "\\", "*")
    ),
    Row(f"product 4, {LINE}: NUL in search", "GET /generations?search=%00", 400),
    Row(f"product 4, {LINE}: NUL in status", "GET /generations?status=a%00", 400),
    *(with_status(status, status) for status in STATUSES),
    *(with_status(status, *reversed(STATUSES)) for status in ("", "  ", "all")),
    *(with_status(status) for status in ("Completed", "running", "%")),
]

_AUDIO = [
    Row(
        f"{AUDIO_LINE}: good",
        "GET /generations/{generation}/audio",
        302,
        shape=NOTHING,
        given={"generation": Generation()},
        answers={"Location": matching(r"http://127\.0\.0\.1:\d+/api/objects/generations/.+\?token=.+")},
    ),
    *(
        Row(
            f"{AUDIO_LINE}: no object key, {status}",
            "GET /generations/{generation}/audio",
            404,
            given={"generation": Generation({"status": status, "audio_object_key": None})},
        )
        for status in STATUSES
    ),
    Row(
        f"product 9, {AUDIO_LINE}: a key outside the owner's folder is never signed",
        "GET /generations/{generation}/audio",
        404,
        given={"generation": Generation({"audio_object_key": "6f1d2b3c-0000-4000-8000-000000000001/x.wav"})},
    ),
    *unknown_ids(AUDIO_LINE, "GET /generations/{id}/audio"),
]

_REGENERATE = [
    Row(
        f"{REGENERATE}: good",
        "POST /generations/{generation}/regenerate",
        200,
        shape={
            "voice_id": Made("{voice}"),
            "text": ODD_TEXT,
            "language": "Portuguese (Brazil)",
            "redirect_url": Made(
                "/generate?voice={voice}&text=" + encoded(ODD_TEXT) + "&language=" + encoded("Portuguese (Brazil)")
            ),
        },
        given={
            "voice": Voice(),
            "generation": Generation(
                {"voice_id": Made("{voice}"), "text": ODD_TEXT, "language": "Portuguese (Brazil)", "status": "failed"}
            ),
        },
    ),
    Row(
        f"{REGENERATE}: without a voice",
        "POST /generations/{generation}/regenerate",
        400,
        stranger=404,
        given={"generation": Generation({"voice_id": None})},
    ),
    *unknown_ids(REGENERATE, "POST /generations/{id}/regenerate"),
]

_DELETE = [
    *(
        Row(
            f"{DELETE}: {status}",
            "DELETE /generations/{generation}",
            200,
            shape=OK,
            given={"generation": Generation({"status": status})},
        )
        for status in STATUSES
    ),
    Row(
        f"product 4, {DELETE}: its task runs",
        "DELETE /generations/{generation}",
        200,
        shape=OK,
        given={
            "generation": Generation({"status": "processing"}),
            "task": Task({"generation_id": Made("{generation}")}),
        },
    ),
    *unknown_ids(DELETE, "DELETE /generations/{id}"),
]

ROWS = [*_LIST, *_AUDIO, *_REGENERATE, *_DELETE]
