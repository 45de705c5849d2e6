"""Section 1.0: what holds on every route, and on addresses that are none."""

from __future__ import annotations

from tests.contract.rows import NOTHING, UNKNOWN, Auth, Raw, Row
from tests.contract.rows_clone import UPLOAD_URL, upload
from tests.contract.shapes import PROFILE, SIGNED_OUT, UPLOAD, Made, matching
from tests.contract.things import Voice

NO_ROUTE = {
    "no such route": "GET /nothing",
    "the mount itself": "GET ",
    "there is no list of tasks": "GET /tasks",
    "there is no voice by id": f"GET /voices/{UNKNOWN}",
    "voices are not renamed": f"PATCH /voices/{UNKNOWN}",
    "there is no generation by id": f"GET /generations/{UNKNOWN}",
    "trailing slash": "GET /health/",
    "trailing slash on a list": "GET /voices/",
    "two slashes": "GET //health",
    "upper case": "GET /Health",
    "another method": "POST /health",
    "another method on a list": "DELETE /voices",
    "PUT on a task": f"PUT /tasks/{UNKNOWN}",
    "GET on cancel": f"GET /tasks/{UNKNOWN}/cancel",
    "GET on regenerate": f"GET /generations/{UNKNOWN}/regenerate",
    "GET on generate": "GET /generate",
    "GET on finalize": "GET /clone/finalize",
    "POST on a profile": "POST /profile",
    "NUL in the address": "GET /%00",
    "not UTF-8 in the address": "GET /%FF",
}

CONTENT_TYPES = {
    "none": None,
    "text/plain": "text/plain",
    "a form's": "application/x-www-form-urlencoded",
    "what is no type": "json please",
}

_GOOD = b'{"name": "Ada", "language": "English", "transcript": "The quick brown fox jumps over the lazy dog."}'

ROWS = [
    *(Row(f"product 4, 1.0 unknown route: {what}", request, 404, auth=Auth.NONE) for what, request in NO_ROUTE.items()),
    *(
        Row(f"1.0 JSON parsing: the content type is not looked at, {what}", UPLOAD_URL, 200, Raw(_GOOD, kind), UPLOAD)
        for what, kind in CONTENT_TYPES.items()
    ),
    Row("1.0 JSON parsing: unknown keys are ignored", UPLOAD_URL, 200, upload(model="0.6B", user_id=UNKNOWN), UPLOAD),
    Row("1.0 JSON parsing: the last of two equal keys counts", UPLOAD_URL, 400, Raw(_GOOD[:-1] + b', "name": ""}')),
    Row("1.0 API key header: not required, not checked", UPLOAD_URL, 200, upload(), UPLOAD, sends={"apikey": "anon"}),
    Row(
        "1.0 CORS: a foreign origin may read everything",
        "GET /voices",
        200,
        given={"voice": Voice()},
        shape=lambda _: True,
        sends={"Origin": "https://elsewhere.example"},
        answers={"Access-Control-Allow-Origin": "*"},
    ),
    Row(
        "1.0 CORS: also where there is nothing",
        "GET /nothing",
        404,
        auth=Auth.NONE,
        sends={"Origin": "https://elsewhere.example"},
        answers={"Access-Control-Allow-Origin": "*"},
    ),
    Row(
        "1.0 URL rewriting: a signed address names the host that the client used",
        "GET /voices/{voice}/preview",
        302,
        shape=NOTHING,
        given={"voice": Voice()},
        sends={"Host": "localhost:5173"},
        answers={"Location": matching(r"http://localhost:5173/api/objects/references/.+")},
    ),
    Row(
        "product 4, 1.0 auth: a token is verified here, and no sign-in service is asked",
        "GET /me",
        200,
        shape={"signed_in": True, "user": {"id": Made("{owner}")}, "profile": PROFILE},
        auth=Auth.OPTIONAL,
        signed_out=SIGNED_OUT,
    ),
    Row(
        "product 4, 1.0 request id: every answer is named",
        "GET /health",
        200,
        auth=Auth.NONE,
        shape={"ok": True},
        answers={"X-Request-Id": matching(".+")},
    ),
]
