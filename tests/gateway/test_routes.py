"""What holds for every route: sign-in, error shape, unknown addresses, both mounts, CORS."""

from __future__ import annotations

import time
from uuid import UUID, uuid4

import jwt
import pytest
import structlog
from structlog.testing import capture_logs

from gateway.auth import mint_token
from gateway.middleware.paths import ROUTE_PREFIXES
from protocol.errors import Fault
from tests.support.gateway import TOKEN_SECRET, Caller, Gateway

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

ID = "6f1d2b3c-0000-4000-8000-000000000001"

SIGNED_IN = [
    ("PATCH", "/profile"),
    ("GET", "/voices"),
    ("GET", f"/voices/{ID}/preview"),
    ("DELETE", f"/voices/{ID}"),
    ("POST", "/generate"),
    ("POST", "/generate/stream"),
    ("GET", "/generations"),
    ("GET", f"/generations/{ID}/audio"),
    ("GET", f"/generations/{ID}/stream"),
    ("POST", f"/generations/{ID}/regenerate"),
    ("DELETE", f"/generations/{ID}"),
    ("GET", f"/tasks/{ID}"),
    ("DELETE", f"/tasks/{ID}"),
    ("POST", f"/tasks/{ID}/cancel"),
    ("POST", "/transcriptions"),
]

OF_A_ROW = [(method, path) for method, path in SIGNED_IN if ID in path]


def bad_tokens() -> dict[str, str]:
    claims = {"sub": str(uuid4()), "aud": "authenticated", "role": "authenticated", "exp": time.time() + 60}
    return {
        "no scheme": mint_token(TOKEN_SECRET, uuid4()),
        "garbage": "Bearer not.a.token",
        "expired": f"Bearer {mint_token(TOKEN_SECRET, uuid4(), -120)}",
        "another key": f"Bearer {mint_token('x' * 40, uuid4())}",
        "alg none": f"Bearer {jwt.encode(claims, key='', algorithm='none')}",
        "anon": f"Bearer {jwt.encode({**claims, 'role': 'anon'}, TOKEN_SECRET, algorithm='HS256')}",
    }


@pytest.mark.parametrize(("method", "path"), SIGNED_IN)
async def test_who_is_not_signed_in_gets_401_before_anything_else(gateway: Gateway, method: str, path: str) -> None:
    for mount in ROUTE_PREFIXES:
        answer = await gateway.ask(method, mount + path, body=b"{ not json")
        assert answer.status == 401
        assert set(answer.json()) == {"detail"}
    for name, token in bad_tokens().items():
        answer = await gateway.ask(method, f"/api{path}", {"authorization": token}, b"{ not json")
        assert answer.status == 401, name
        assert set(answer.json()) == {"detail"}


@pytest.mark.parametrize(("method", "path"), OF_A_ROW)
async def test_unknown_and_malformed_ids_are_404(ada: Caller, method: str, path: str) -> None:
    for given in (ID, "x", ID[:-1], f"{ID}0", "%00", "..", "%F0%9F%98%80"):
        answer = await ada.ask(method, f"/api{path.replace(ID, given)}")
        assert answer.status == 404, given
        assert isinstance(answer.json()["detail"], str)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api"),
        ("GET", "/api/"),
        ("GET", "/api/nothing"),
        ("GET", "/api/health/"),
        ("GET", "/api/voices/"),
        ("POST", "/api/generate/"),
        ("GET", f"/api/tasks/{ID}/"),
        ("GET", "/functions/v1/api/nothing"),
        ("GET", "/functions/v1/health"),
        ("GET", "/nothing"),
        ("GET", "/generate/"),
        ("GET", "/web"),
        ("GET", "/web/"),
        ("GET", "/web/nothing.js"),
        ("GET", "/web/../app.py"),
        ("GET", "/web/%2e%2e/app.py"),
        ("POST", "/api/health"),
        ("GET", "/api/tasks"),
        ("GET", "/api/generate"),
        ("PUT", "/api/voices"),
        ("GET", f"/api/voices/{ID}"),
        ("GET", f"/api/generations/{ID}"),
    ],
)
async def test_an_unknown_address_is_a_json_404(ada: Caller, method: str, path: str) -> None:
    answer = await ada.ask(method, path)
    assert answer.status == 404
    assert set(answer.json()) == {"detail"}


async def test_every_answer_has_a_request_id_and_cors(gateway: Gateway) -> None:
    for path in ("/api/health", "/api/nothing", "/api/voices", "/"):
        answer = await gateway.ask("GET", path)
        assert answer.headers["x-request-id"]
        assert answer.headers["access-control-allow-origin"] == "*"


async def test_every_line_says_which_work_it_is_about(gateway: Gateway, ada: Caller) -> None:
    voice = await ada.add_voice()
    with capture_logs([structlog.contextvars.merge_contextvars]) as lines:
        accepted = (await ada.generate(voice.id)).json()
        await gateway.stage.began()
        running = gateway.services.supervisor.get(UUID(accepted["generation_id"]))
        gateway.stage.fail(Fault.CONNECTION_LOST)
        assert running is not None
        await running.ended.wait()
    work = {name: accepted[name] for name in ("generation_id", "task_id")}
    about = [line for line in lines if not line["event"].startswith("admission.")]
    assert {"http.request", "database.begin.completed", "generation.failed"} <= {line["event"] for line in about}
    assert all({name: line.get(name) for name in work} == work for line in about)
    assert len({(line["trace_id"], line["request_id"]) for line in lines}) == 1
    with capture_logs([structlog.contextvars.merge_contextvars]) as lines:
        await ada.ask("GET", f"/api/tasks/{accepted['task_id']}")
        await ada.ask("GET", f"/api/generations/{accepted['generation_id']}/audio")
        await ada.ask("GET", "/api/voices")
    assert [(line.get("task_id"), line.get("generation_id")) for line in lines] == [
        (accepted["task_id"], None),
        (None, accepted["generation_id"]),
        (None, None),
    ]


async def test_json_answers_are_not_kept(gateway: Gateway) -> None:
    assert (await gateway.ask("GET", "/api/health")).headers["cache-control"] == "no-store"
