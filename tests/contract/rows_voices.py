"""Section 1.3: voices, their list, recording and deletion; product section 4: restore and re-clone."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from tests.contract.rows import NOTHING, Row, unknown_ids
from tests.contract.shapes import OK, VOICE, Made, listed, matching, pagination
from tests.contract.things import Thing, Voice

LINE = "1.3 voices"
PREVIEW = "1.3 voices/:id/preview"
DELETE = "1.3 voices/:id"

DELETED = {"deleted_at": datetime(2026, 1, 1, tzinfo=UTC)}

PAGE_NUMBERS = {
    "5.9": 5,
    "1e1": 10,
    " 7 ": 7,
    "\ufeff7": 7,
    "0x10": 16,
    "0b11": 3,
    "0o17": 15,
    "+5": 5,
    "5.": 5,
    ".5e1": 5,
    "": 0,
    "   ": 0,
    "abc": 0,
    "1_0": 0,
    "１": 0,
    "1,5": 0,
    "0.9": 0,
    "0": 0,
    "-3": 0,
    "-0x10": 0,
    "0x": 0,
    "NaN": 0,
    "nan": 0,
    "Infinity": 0,
    "inf": 0,
    "1e400": 0,
}
"""What a query says, and the number JavaScript makes of it; 0 where it makes none that can be used (1.0)."""


def query(name: str, value: str) -> str:
    """A query string with this one parameter, encoded whole."""
    return f"?{name}=" + "".join(f"%{byte:02X}" for byte in value.encode())


def voices(**named: Mapping[str, object]) -> dict[str, Thing]:
    """Voices with these columns, each a second younger than the one before it."""
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    return {
        alias: Voice({"created_at": begin + timedelta(seconds=second), **columns})
        for second, (alias, columns) in enumerate(named.items())
    }


def line_of(line: str, search: str) -> str:
    """In v1 some characters were wildcards; that they are not is a deliberate difference."""
    return f"product 4, {line}" if set(search) & set("%_\\*") else line


def finds(search: str, *names: str, **given: Mapping[str, object]) -> Row:
    """`GET /voices?search=` with exactly these names in the answer."""
    return Row(
        f"{line_of(LINE, search)}: search {search!r} finds {', '.join(names) or 'nothing'}",
        "GET /voices" + query("search", search),
        200,
        shape={"voices": listed(*names), "pagination": pagination(total=len(names), pages=1)},
        given=voices(**given),
    )


ADA = {"name": "Ada Lovelace", "description": "like Grace", "reference_transcript": "said Grace"}

ROWS = [
    Row(
        f"{LINE}: exactly these fields",
        "GET /voices",
        200,
        shape={"voices": [VOICE], "pagination": pagination(total=1, pages=1)},
        given={"voice": Voice()},
    ),
    Row(
        f"{LINE}: what a v1 row holds",
        "GET /voices",
        200,
        shape={
            "voices": [
                {
                    **VOICE,
                    "id": Made("{voice}"),
                    "name": "Old",
                    "reference_transcript": None,
                    "language": "Klingon",
                    "source": "designed",
                    "description": "Calm.",
                    "created_at": "2026-01-01T00:00:00.000000+00:00",
                    "tts_provider": "modal",
                    "provider_voice_id": None,
                    "provider_target_model": None,
                    "provider_voice_kind": None,
                }
            ],
            "pagination": pagination(total=1, pages=1),
        },
        given=voices(
            voice={
                "name": "Old",
                "tts_provider": "modal",
                "reference_transcript": None,
                "language": "Klingon",
                "source": "designed",
                "description": "Calm.",
            }
        ),
    ),
    Row(
        f"{LINE}: none",
        "GET /voices",
        200,
        shape={"voices": [], "pagination": pagination(total=0, pages=1)},
    ),
    Row(
        f"{LINE}: newest first, deleted ones hidden, both providers",
        "GET /voices?sort=name",
        200,
        shape={"voices": listed("c", "b", "a"), "pagination": pagination(total=3, pages=1)},
        given=voices(a={"name": "a"}, b={"name": "b", "tts_provider": "modal"}, x=DELETED, c={"name": "c"}),
    ),
    Row(
        f"{LINE}: second page of two",
        "GET /voices?page=2&per_page=2",
        200,
        shape={"voices": listed("a"), "pagination": pagination(2, 2, 3, 2)},
        given=voices(a={"name": "a"}, b={"name": "b"}, c={"name": "c"}),
    ),
    Row(
        f"product 4, {LINE}: a page past the end is empty",
        "GET /voices?page=9&per_page=1",
        200,
        shape={"voices": [], "pagination": pagination(9, 1, 1, 1)},
        given={"voice": Voice()},
    ),
    Row(
        f"product 4, {LINE}: a page past every end is empty",
        "GET /voices?page=1e300",
        200,
        shape={"voices": [], "pagination": pagination(lambda page: page > 2**50, 20, 1, 1)},
        given={"voice": Voice()},
    ),
    *(
        Row(
            f"1.0 paging numbers: page {text!r} is {number or 'the default'}",
            "GET /voices" + query("page", text),
            200,
            shape={"voices": [], "pagination": pagination(number or 1, 20, 0, 1)},
        )
        for text, number in PAGE_NUMBERS.items()
    ),
    *(
        Row(
            f"1.0 paging numbers: per_page {text!r} is {number or 'the default'}",
            "GET /voices" + query("per_page", text),
            200,
            shape={"voices": [], "pagination": pagination(1, number or 20, 0, 1)},
        )
        for text, number in {**PAGE_NUMBERS, "100": 100, "101": 100, "1e300": 100}.items()
    ),
    finds("ADA", "Ada Lovelace", ada=ADA, other={"name": "Grace"}),
    finds("  lace\ufeff", "Ada Lovelace", ada=ADA),
    finds("grace", ada=ADA),
    finds("   ", "Ada Lovelace", ada=ADA),
    finds("ÄRGER", "ärger", it={"name": "ärger"}),
    *(
        finds(wildcard, f"100{wildcard} Ada", plain={"name": "100 Ada"}, it={"name": f"100{wildcard} Ada"})
        for wildcard in ("%", "_", "\\", "*")
    ),
    finds("a%a", plain={"name": "abba"}),
    Row(f"product 4, {LINE}: NUL in search", "GET /voices?search=a%00b", 400),
    Row(
        f"{LINE}: source uploaded",
        "GET /voices?source=uploaded",
        200,
        shape={"voices": listed("up"), "pagination": pagination(total=1, pages=1)},
        given=voices(up={"name": "up"}, made={"name": "made", "source": "designed"}),
    ),
    Row(
        f"{LINE}: source designed",
        "GET /voices?source=designed",
        200,
        shape={"voices": listed("made"), "pagination": pagination(total=1, pages=1)},
        given=voices(up={"name": "up"}, made={"name": "made", "source": "designed"}),
    ),
    Row(
        f"{LINE}: any other source is ignored",
        "GET /voices?source=Designed",
        200,
        shape={"voices": listed("made", "up"), "pagination": pagination(total=2, pages=1)},
        given=voices(up={"name": "up"}, made={"name": "made", "source": "designed"}),
    ),
    Row(
        f"{PREVIEW}: good",
        "GET /voices/{voice}/preview",
        302,
        shape=NOTHING,
        given={"voice": Voice()},
        answers={"Location": matching(r"http://127\.0\.0\.1:\d+/api/objects/references/.+/reference\.wav\?token=.+")},
    ),
    Row(
        f"{PREVIEW}: an upper case id is the same",
        "GET /voices/{VOICE}/preview",
        302,
        shape=NOTHING,
        given={"voice": Voice()},
        answers={"Location": str},
    ),
    Row(
        f"{PREVIEW}: no object key",
        "GET /voices/{voice}/preview",
        404,
        given={"voice": Voice({"reference_object_key": None})},
    ),
    Row(f"{PREVIEW}: deleted", "GET /voices/{voice}/preview", 404, given={"voice": Voice(DELETED)}),
    Row(
        f"product 9, {PREVIEW}: a key outside the owner's folder is never signed",
        "GET /voices/{voice}/preview",
        404,
        given={"voice": Voice({"reference_object_key": "6f1d2b3c-0000-4000-8000-000000000001/x/reference.wav"})},
    ),
    *unknown_ids(PREVIEW, "GET /voices/{id}/preview"),
    Row(f"{DELETE}: good", "DELETE /voices/{voice}", 200, shape=OK, given={"voice": Voice()}),
    Row(f"{DELETE}: repeated", "DELETE /voices/{voice}", 200, shape=OK, given={"voice": Voice(DELETED)}),
    *unknown_ids(DELETE, "DELETE /voices/{id}"),
    *unknown_ids("product 4 voices/:id/restore", "POST /voices/{id}/restore"),
    *unknown_ids("product 4 voices/:id/reclone", "POST /voices/{id}/reclone"),
    Row(
        "product 4 voices/:id/restore: a deleted voice is there again",
        "POST /voices/{voice}/restore",
        200,
        shape={**VOICE, "id": Made("{voice}")},
        given={"voice": Voice(DELETED)},
    ),
    Row(
        "product 4 voices/:id/restore: a voice that was not deleted",
        "POST /voices/{voice}/restore",
        200,
        shape={**VOICE, "id": Made("{voice}")},
        given={"voice": Voice()},
    ),
    Row(
        "product 4 voices/:id/reclone: from the other provider",
        "POST /voices/{voice}/reclone",
        200,
        shape={**VOICE, "tts_provider": Made("{mode}")},
        given={"voice": Voice({"tts_provider": "modal"})},
        modes=("qwen",),
    ),
    Row(
        "product 4 voices/:id/reclone: from the other provider",
        "POST /voices/{voice}/reclone",
        200,
        shape={**VOICE, "tts_provider": Made("{mode}"), "provider_voice_id": None},
        given={"voice": Voice({"tts_provider": "qwen"})},
        modes=("modal",),
    ),
    Row(
        "product 4 voices/:id/reclone: no recording to enroll",
        "POST /voices/{voice}/reclone",
        400,
        given={"voice": Voice({"tts_provider": "modal", "reference_object_key": None})},
        modes=("qwen",),
        category="validation",
    ),
    Row(
        "product 4 voices/:id/reclone: no transcript",
        "POST /voices/{voice}/reclone",
        400,
        given={"voice": Voice({"tts_provider": "qwen", "reference_transcript": None})},
        modes=("modal",),
    ),
    Row("product 4 voices/:id/reclone: deleted", "POST /voices/{voice}/reclone", 404, given={"voice": Voice(DELETED)}),
]
