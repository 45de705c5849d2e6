"""Rows of stored recordings and audio, by signed addresses."""

from __future__ import annotations

from gateway.routes import objects, uploads
from gateway.routes.operations import AUDIO, STORED, Answer, Auth, Operation, Raw
from schema.http_objects import StoredObject

ROWS: tuple[Operation, ...] = (
    Operation(
        "GET",
        "/objects/{bucket}/{key:path}",
        objects.read,
        "Stored audio, by a signed address",
        Auth.LINK,
        {
            200: Answer("All of it.", Raw(AUDIO), STORED),
            206: Answer("The part asked for by Range.", Raw(AUDIO), (*STORED, "Content-Range")),
            304: Answer("You have it already.", headers=("ETag",)),
        },
        also=(416,),
    ),
    Operation(
        "PUT",
        "/objects/{bucket}/{key:path}",
        uploads.upload,
        "Upload a recording, by a signed address",
        Auth.LINK,
        {200: StoredObject},
        body=Raw(("audio/wav", "audio/mpeg", "audio/mp4")),
        also=(409,),
    ),
)
