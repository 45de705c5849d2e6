"""The page and the policy it runs under (product section 17)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.routes.web import content_security_policy
from tests.support.gateway import Gateway, open_gateway
from tests.support.postgres import TestDatabase

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


async def test_one_page_under_four_paths(gateway: Gateway) -> None:
    pages = [await gateway.ask("GET", path) for path in ("/", "/generate", "/voices", "/history")]
    assert {page.status for page in pages} == {200}
    assert {page.headers["content-type"] for page in pages} == {"text/html; charset=utf-8"}
    assert len({page.body for page in pages}) == 1
    assert b"<!doctype html>" in pages[0].body


async def test_the_page_may_run_and_load_only_what_is_ours(gateway: Gateway) -> None:
    headers = (await gateway.ask("GET", "/")).headers
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["style-src"] == "'self'"
    assert policy["media-src"] == "'self' blob:"
    assert policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


async def test_the_api_s_page_runs_under_the_same_policy(gateway: Gateway) -> None:
    docs, home = await gateway.ask("GET", "/docs"), await gateway.ask("GET", "/")
    assert (docs.status, docs.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert docs.headers["content-security-policy"] == home.headers["content-security-policy"]
    assert b"docs.js" in docs.body
    for path in ("/docs/", "/api/docs"):
        assert (await gateway.ask("GET", path)).status == 404


@pytest.mark.parametrize("page", ["/", "/docs"])
async def test_a_page_names_only_files_that_are_there(gateway: Gateway, page: str) -> None:
    named = re.findall(r'(?:href|src)="(/web/[^"]+)"', (await gateway.ask("GET", page)).body.decode())
    assert len(named) > 5
    for path in named:
        assert (await gateway.ask("GET", path)).status == 200, path


async def test_configured_origins_are_let_in(database: TestDatabase, tmp_path: Path) -> None:
    names = {"SUPABASE_URL": "https://project.supabase.co", "PUBLIC_BASE_URL": "https://utter.example"}
    async with open_gateway(database, tmp_path, **names) as named:
        policy = content_security_policy(named.services.settings)
    assert "connect-src 'self' https://utter.example https://project.supabase.co" in policy
    assert "media-src 'self' blob: https://utter.example" in policy


async def test_a_script(gateway: Gateway) -> None:
    answer = await gateway.ask("GET", "/web/session.js")
    assert answer.status == 200
    assert "javascript" in answer.headers["content-type"]
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-content-type-options"] == "nosniff"
    again = await gateway.ask("GET", "/web/session.js", {"if-none-match": answer.headers["etag"]})
    assert again.status == 304


@pytest.mark.parametrize("path", ["/", "/web/session.js"])
@pytest.mark.parametrize("wanted", ["bytes=0-3", "bytes=abc", "bytes=999999-"])
async def test_what_is_small_is_sent_whole(gateway: Gateway, path: str, wanted: str) -> None:
    whole = await gateway.ask("GET", path)
    answer = await gateway.ask("GET", path, {"range": wanted})
    assert (answer.status, answer.body) == (200, whole.body)
    assert answer.headers["accept-ranges"] == "none"


async def test_head_of_the_page(gateway: Gateway) -> None:
    answer = await gateway.ask("HEAD", "/")
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["content-length"]) > 0
