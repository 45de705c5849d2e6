"""Who may do what, on every route there is: over a real socket, under both mounts.

The table below is compared with the routes themselves, so a new route without a row fails here.
"""

from __future__ import annotations

import time
from enum import Enum
from uuid import UUID, uuid4

import httpx
import jwt
import pytest
from starlette.routing import Route

from bench.stack import Stack
from gateway.auth import mint_token
from gateway.data_dir import Secrets
from gateway.middleware.paths import ROUTE_PREFIXES
from gateway.routes import all_routes
from gateway.routes.web import PAGES
from tests.acceptance.client import Client, Heard, assert_error

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


class Access(Enum):
    """What a route asks of its caller."""

    SIGNED_IN = "an access token"
    PUBLIC = "nothing"
    ANSWERS_ANYBODY = "nothing, and says whether somebody is signed in"
    SIGNED_LINK = "a token in the query, made for this very object"
    THIS_MACHINE = "to be this machine's own page"


ROUTES = {
    ("GET", "/health"): Access.PUBLIC,
    ("GET", "/ready"): Access.PUBLIC,
    ("GET", "/languages"): Access.PUBLIC,
    ("GET", "/page"): Access.PUBLIC,
    ("GET", "/me"): Access.ANSWERS_ANYBODY,
    ("GET", "/openapi.json"): Access.PUBLIC,
    ("PATCH", "/profile"): Access.SIGNED_IN,
    ("POST", "/transcriptions"): Access.SIGNED_IN,
    ("GET", "/voices"): Access.SIGNED_IN,
    ("GET", "/voices/{voice_id}/preview"): Access.SIGNED_IN,
    ("DELETE", "/voices/{voice_id}"): Access.SIGNED_IN,
    ("POST", "/voices/{voice_id}/restore"): Access.SIGNED_IN,
    ("POST", "/voices/{voice_id}/reclone"): Access.SIGNED_IN,
    ("POST", "/clone/upload-url"): Access.SIGNED_IN,
    ("POST", "/clone/finalize"): Access.SIGNED_IN,
    ("POST", "/voices/design/preview"): Access.SIGNED_IN,
    ("POST", "/voices/design"): Access.SIGNED_IN,
    ("POST", "/generate"): Access.SIGNED_IN,
    ("POST", "/generate/stream"): Access.SIGNED_IN,
    ("GET", "/generations"): Access.SIGNED_IN,
    ("GET", "/generations/{generation_id}/audio"): Access.SIGNED_IN,
    ("GET", "/generations/{generation_id}/stream"): Access.SIGNED_IN,
    ("POST", "/generations/{generation_id}/regenerate"): Access.SIGNED_IN,
    ("DELETE", "/generations/{generation_id}"): Access.SIGNED_IN,
    ("GET", "/tasks/{task_id}"): Access.SIGNED_IN,
    ("DELETE", "/tasks/{task_id}"): Access.SIGNED_IN,
    ("POST", "/tasks/{task_id}/cancel"): Access.SIGNED_IN,
    ("GET", "/tasks/{task_id}/events"): Access.SIGNED_IN,
    ("GET", "/objects/{bucket}/{key:path}"): Access.SIGNED_LINK,
    ("PUT", "/objects/{bucket}/{key:path}"): Access.SIGNED_LINK,
    ("POST", "/dev/token"): Access.THIS_MACHINE,
}

BESIDE_THE_API = {*PAGES, "/docs", "/web", "/{path:path}"}
"""The page, its files, and the answer for everything else."""

SIGNED_IN = [route for route, access in ROUTES.items() if access is Access.SIGNED_IN]
PUBLIC = [route for route, access in ROUTES.items() if access is Access.PUBLIC]
OF_A_ROW = [route for route in SIGNED_IN if "{" in route[1]]

OF_NO_ROW = {("POST", "/transcriptions"), ("POST", "/clone/upload-url"), ("POST", "/voices/design")}
"""Signed in by a good token alone: without a row to look at, a deleted user is not noticed. (A design's form is read
before the rows are, and here there is none.)"""

BODY = {
    "voice_id": "6f1d2b3c-0000-4000-8000-000000000001",
    "name": "Ada",
    "text": "Good morning.",
    "language": "English",
    "transcript": "Good morning.",
    "instruct": "Calm.",
    "display_name": "Ada",
}
"""Good for every route that takes JSON: fields that a route does not know are ignored."""

DELETED_USER = "a user that does not exist"

UNKNOWN = "6f1d2b3c-0000-4000-8000-000000000001"
MALFORMED = ("x", UNKNOWN[:-1], f"{UNKNOWN}0", UNKNOWN.replace("-", ""), "%00", "%F0%9F%98%80", "null")


def path_of(template: str, identity: str = UNKNOWN) -> str:
    """A route's path with this id in it."""
    for name in ("{voice_id}", "{generation_id}", "{task_id}"):
        template = template.replace(name, identity)
    return template.replace("{bucket}", "references").replace("{key:path}", f"{UNKNOWN}/{identity}/reference.wav")


def named(route: tuple[str, str]) -> str:
    return " ".join(route)


@pytest.fixture(scope="module")
def refused(secrets: Secrets, stack: Stack) -> dict[str, str | None]:
    """`Authorization` headers that name nobody."""
    user = UUID(stack.demo_user)
    claims = {"sub": str(user), "aud": "authenticated", "role": "authenticated", "exp": time.time() + 600}
    secret = secrets.token_secret
    good = mint_token(secret, user)
    head, body, signature = good.split(".")
    anothers = mint_token(secret, uuid4()).split(".")[1]

    def signed(**changes: object) -> str:
        kept = {name: value for name, value in {**claims, **changes}.items() if value is not None}
        return f"Bearer {jwt.encode(kept, secret, algorithm='HS256')}"

    return {
        "none": None,
        "blank": "",
        "expired": f"Bearer {mint_token(secret, user, -120)}",
        "signed with another key": f"Bearer {mint_token('x' * 43, user)}",
        "alg: none": f"Bearer {jwt.encode(claims, key='', algorithm='none')}",
        "alg: none with the good signature": f"Bearer {jwt.encode(claims, key='', algorithm='none')}{signature}",
        "another body under the good signature": f"Bearer {head}.{anothers}.{signature}",
        "no signature": f"Bearer {head}.{body}.",
        "no scheme": good,
        "another scheme": f"Basic {good}",
        "two tokens": f"Bearer {good} {good}",
        "garbage": "Bearer not.a.token",
        "an anon key": signed(role="anon", sub=None, aud=None),
        "the role anon": signed(role="anon"),
        "a service key": signed(role="service_role"),
        "another audience": signed(aud="somebody-else"),
        "no user": signed(sub=None),
        "a user id that is none": signed(sub="admin"),
        "no end": signed(exp=None),
        DELETED_USER: f"Bearer {mint_token(secret, uuid4())}",
    }


def authorized(authorization: str | None) -> dict[str, str]:
    return {} if authorization is None else {"Authorization": authorization}


def test_every_route_has_a_row() -> None:
    routes = [(route.methods or {"GET"}, route.path) for route in all_routes() if isinstance(route, Route)]
    for mount in ROUTE_PREFIXES:
        served = {
            (method, path.removeprefix(mount))
            for methods, path in routes
            if path.startswith(f"{mount}/")
            for method in methods - {"HEAD"}
        }
        assert served == set(ROUTES), f"under {mount}"
    outside = {getattr(route, "path", "") for route in all_routes()}
    assert {path for path in outside if not path.startswith(tuple(f"{mount}/" for mount in ROUTE_PREFIXES))} == (
        BESIDE_THE_API
    )


@pytest.mark.parametrize("route", SIGNED_IN, ids=named)
def test_who_is_not_signed_in_gets_401(
    http: httpx.Client, refused: dict[str, str | None], client: Client, route: tuple[str, str]
) -> None:
    method, template = route
    body = {**BODY, **client.body("Good morning.")} if method in ("POST", "PATCH") else None
    for mount in ROUTE_PREFIXES:
        for what, authorization in refused.items():
            if what == DELETED_USER and route in OF_NO_ROW:
                continue
            answer = http.request(method, mount + path_of(template), headers=authorized(authorization), json=body)
            assert_error(answer, 401, what)
            assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("route", PUBLIC, ids=named)
def test_public_routes_look_at_no_token(
    http: httpx.Client, refused: dict[str, str | None], route: tuple[str, str]
) -> None:
    method, template = route
    for mount in ROUTE_PREFIXES:
        for what, authorization in refused.items():
            answer = http.request(method, mount + template, headers=authorized(authorization))
            assert answer.status_code == 200, what
            assert answer.headers["Content-Type"] == "application/json"


def test_me_is_never_401(http: httpx.Client, refused: dict[str, str | None], stack: Stack) -> None:
    for mount in ROUTE_PREFIXES:
        for what, authorization in refused.items():
            answer = http.get(f"{mount}/me", headers=authorized(authorization))
            assert (answer.status_code, answer.json()["signed_in"]) == (200, False), what
        answer = http.get(f"{mount}/me", headers=stack.headers)
        assert answer.json()["user"] == {"id": stack.demo_user}


def test_the_page_needs_no_sign_in(http: httpx.Client) -> None:
    for path in (*PAGES, "/web/app.js"):
        assert http.get(path).status_code == 200


@pytest.mark.parametrize("mount", ROUTE_PREFIXES)
def test_only_this_machines_own_page_signs_itself_in(http: httpx.Client, stack: Stack, mount: str) -> None:
    answer = http.post(f"{mount}/dev/token")
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    me = http.get("/api/me", headers={"Authorization": f"Bearer {answer.json()['token']}"})
    assert me.json()["user"] == {"id": stack.demo_user}
    for foreign in (
        {"Host": "attacker.example"},
        {"Origin": "http://attacker.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "null"},
    ):
        refusal = http.post(f"{mount}/dev/token", headers=foreign)
        assert (refusal.status_code, set(refusal.json())) == (404, {"detail"}), foreign
    assert http.get(f"{mount}/dev/token").status_code == 404


@pytest.mark.parametrize("route", OF_A_ROW, ids=named)
def test_an_id_of_nothing_is_404(client: Client, route: tuple[str, str]) -> None:
    method, template = route
    for mount in ROUTE_PREFIXES:
        for identity in (UNKNOWN, UNKNOWN.upper(), *MALFORMED):
            assert_error(client.http.request(method, mount + path_of(template, identity)), 404, identity)


@pytest.mark.parametrize("route", OF_A_ROW, ids=named)
def test_what_is_anothers_looks_like_nothing_and_stays(
    client: Client, stranger: httpx.Client, heard: Heard, route: tuple[str, str]
) -> None:
    method, template = route
    mine = {"voice_id": client.voice["id"], "generation_id": heard.generation_id, "task_id": heard.task_id}
    for mount in ROUTE_PREFIXES:
        foreign = stranger.request(method, mount + template.format(**mine))
        assert_error(foreign, 404)
        assert foreign.json() == stranger.request(method, mount + path_of(template)).json()
    assert client.task(heard.task_id)["status"] == "completed"
    assert client.http.get(f"/api/generations/{heard.generation_id}/stream").content == heard.audio
    assert client.http.get(f"/api/voices/{client.voice['id']}/preview").status_code == 302


def test_anothers_running_generation_can_be_neither_heard_nor_stopped(client: Client, stranger: httpx.Client) -> None:
    accepted = client.http.post("/api/generate", json=client.body("A long story. " * 60)).json()
    generation, task = accepted["generation_id"], accepted["task_id"]
    assert_error(stranger.get(f"/api/generations/{generation}/stream"), 404)
    assert_error(stranger.post(f"/api/tasks/{task}/cancel"), 404)
    assert_error(stranger.delete(f"/api/tasks/{task}"), 404)
    assert_error(stranger.delete(f"/api/generations/{generation}"), 404)
    assert client.task(task)["status"] in {"pending", "processing"}
    assert client.http.post(f"/api/tasks/{task}/cancel").status_code == 200


def test_lists_hold_only_what_is_ones_own(client: Client, stranger: httpx.Client, heard: Heard) -> None:
    for kind in ("voices", "generations"):
        assert stranger.get(f"/api/{kind}").json()[kind] == []
        assert client.http.get(f"/api/{kind}").json()[kind]


@pytest.mark.parametrize("route", ["/generate", "/generate/stream"])
def test_a_voice_id_in_a_body(client: Client, stranger: httpx.Client, route: str) -> None:
    for mount in ROUTE_PREFIXES:
        for malformed in ("x", "", UNKNOWN[:-1], f"{UNKNOWN}0", "\0", 17, None, [UNKNOWN]):
            body = {"voice_id": malformed, "text": "Good morning."}
            answer = client.http.post(mount + route, json=body)
            assert_error(answer, 400, malformed)
            assert answer.headers["X-Utter-Error-Category"] == "validation"
        unknown = client.http.post(mount + route, json={"voice_id": UNKNOWN, "text": "Good morning."})
        assert_error(unknown, 404)
        foreign = stranger.post(mount + route, json=client.body("Good morning."))
        assert_error(foreign, 404)
        assert foreign.json() == unknown.json()


@pytest.mark.parametrize("route", ROUTES, ids=named)
def test_addresses_are_exact(client: Client, route: tuple[str, str]) -> None:
    method, template = route
    for mount in ROUTE_PREFIXES:
        path = mount + path_of(template)
        if ROUTES[route] is not Access.SIGNED_LINK:  # there the slash is part of the key, and the link not signed
            slashed = client.http.request(method, f"{path}/")
            assert (slashed.status_code, set(slashed.json())) == (404, {"detail"})
        unused = client.http.request("TRACE", path)
        assert (unused.status_code, set(unused.json())) == (404, {"detail"})


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/nothing", "/functions/v1/api/x", "/functions/v1", "/x.php"])
def test_an_unknown_address_is_404_for_anybody(http: httpx.Client, client: Client, path: str) -> None:
    for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
        assert_error(http.request(method, path), 404)
        assert_error(client.http.request(method, path), 404)


def test_options_is_204_everywhere(http: httpx.Client) -> None:
    paths = [mount + path_of(template) for mount in ROUTE_PREFIXES for _, template in ROUTES]
    for path in (*paths, *PAGES, "/api/nothing", "/functions/v1/api/nothing/"):
        answer = http.options(path, headers={"Origin": "https://app.example", "Access-Control-Request-Method": "POST"})
        assert (answer.status_code, answer.content) == (204, b""), path
        opened = answer.headers.get("Access-Control-Allow-Origin")
        assert opened == (None if path.endswith("/dev/token") else "*"), path
