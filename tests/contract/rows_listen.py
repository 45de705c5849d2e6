"""Product section 4: `GET /generations/:id/stream`, once the generation has ended. While it runs it is in
`tests/acceptance/test_same_bytes.py`.
"""

from __future__ import annotations

from tests.contract.rows import AUDIO, Row, unknown_ids
from tests.contract.shapes import matching
from tests.contract.things import Generation

STREAM = "product 4 generations/:id/stream"

ROWS = [
    Row(
        f"{STREAM}: stored",
        "GET /generations/{generation}/stream",
        200,
        shape=AUDIO,
        given={"generation": Generation()},
        answers={"Accept-Ranges": "bytes"},
    ),
    Row(
        f"{STREAM}: a range",
        "GET /generations/{generation}/stream",
        206,
        shape=AUDIO,
        given={"generation": Generation()},
        sends={"Range": "bytes=0-3"},
        answers={"Content-Range": matching(r"bytes 0-3/\d+"), "Content-Length": "4"},
    ),
    Row(
        f"{STREAM}: a range past the end",
        "GET /generations/{generation}/stream",
        416,
        given={"generation": Generation()},
        sends={"Range": "bytes=1000000-"},
    ),
    Row(
        f"{STREAM}: an offset past the end",
        "GET /generations/{generation}/stream?offset=1000000",
        416,
        given={"generation": Generation()},
    ),
    Row(
        f"{STREAM}: an offset that is none",
        "GET /generations/{generation}/stream?offset=-1",
        400,
        given={"generation": Generation()},
        stranger=400,
    ),
    Row(
        f"{STREAM}: failed",
        "GET /generations/{generation}/stream",
        410,
        given={"generation": Generation({"status": "failed"})},
    ),
    Row(
        f"{STREAM}: cancelled",
        "GET /generations/{generation}/stream",
        410,
        given={"generation": Generation({"status": "cancelled"})},
        category="cancelled",
    ),
    Row(
        f"{STREAM}: a Modal one that is not stored yet",
        "GET /generations/{generation}/stream",
        409,
        given={"generation": Generation({"status": "processing", "tts_provider": "modal"})},
    ),
    *unknown_ids(STREAM, "GET /generations/{id}/stream"),
]
