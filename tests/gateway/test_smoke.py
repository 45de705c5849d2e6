"""`utter smoke`: it passes, it leaves nothing, and it says what is wrong and what to do."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import anyio
import httpx
import pytest

from bench.stack import Stack, access_token
from gateway.findings import Finding
from gateway.smoke import SmokeReport, go_round
from gateway.smoke.checks import LIST, proxy, tenants
from gateway.smoke.scene import Scene
from gateway.visitor import Heard, Order, Surprise, Visitor, open_http
from tests.acceptance.client import Client
from tests.support.cli import ENDS_SECONDS, command, plain, utter, utter_alone
from tests.support.served import serving

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(180)]

NAMES = [*(check.name for check in LIST), "clean-up"]


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    with closing(Client(stack)) as client:
        yield client
        client.clear_faults()


def owned(stack: Stack) -> tuple[set[str], set[str]]:
    """What the demo user has: voices and generations."""
    kinds = []
    for path, kind in (("voices", "voices"), ("generations", "generations")):
        answer = httpx.get(f"{stack.base_url}/api/{path}?per_page=100", headers=stack.headers)
        kinds.append({row["id"] for row in answer.json()[kind]})
    return kinds[0], kinds[1]


def found_in(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["check"]: row for row in report["findings"]}


async def toured(base_url: str, token: str, other_token: str | None, *, allow_skips: bool = False) -> SmokeReport:
    return await go_round(base_url, token, other_token, allow_skips=allow_skips, say=lambda _line: None)


def tour(base_url: str, token: str, other: str | None = None, *, allow_skips: bool = False) -> dict[str, Finding]:
    """In this process, which costs less than a command; that it passed is said by what it found."""
    report = anyio.run(partial(toured, base_url, token, other, allow_skips=allow_skips))
    verdicts = {finding.verdict for finding in report.findings}
    assert report.passed == (verdicts <= ({"ok", "not run"} if allow_skips else {"ok"}))
    assert [finding.check for finding in report.findings] == NAMES
    assert all(finding.remedy for finding in report.findings if finding.verdict == "failed")
    return {finding.check: finding for finding in report.findings}


def test_a_deployment_that_is_well(stack: Stack) -> None:
    before = owned(stack)
    ran = utter_alone("smoke", "--json", "--data-dir", stack.data_dir, environment={})
    report = json.loads(ran.stdout)
    assert [row for row in report["findings"] if row["verdict"] != "ok"] == []
    assert list(found_in(report)) == NAMES
    assert (ran.exit_code, report["passed"], report["interrupted"]) == (0, True, False)
    assert [line.removesuffix(" ...") for line in ran.stderr.split("\n") if line] == NAMES, "progress, as it goes"
    assert stack.token not in ran.stdout + ran.stderr
    assert owned(stack) == before


def test_in_modal_mode(stack: Stack) -> None:
    """Where streams are off, and previews begin when they are looked at."""
    emulator = json.loads((stack.data_dir / "running.json").read_bytes())["emulator_modal_url"]
    jobs = {f"MODAL_JOB_{name.upper()}": f"{emulator}/{name}" for name in ("submit", "status", "result", "cancel")}
    more = {"TTS_PROVIDER_MODE": "modal", "MODAL_ENDPOINT_VOICE_DESIGN": f"{emulator}/design", **jobs}
    before = owned(stack)
    with TemporaryDirectory(prefix="utter-smoke-") as folder, serving(stack, Path(folder), **more) as served:
        found = tour(served.stack.base_url, stack.token, allow_skips=True)
    assert {finding.check for finding in found.values() if finding.verdict != "ok"} == {"tenants"}
    assert found["languages"].detail.startswith("modal mode")
    assert found["stream"].detail.startswith("off")
    assert owned(stack) == before


def test_interrupted_it_still_clears_away(stack: Stack) -> None:
    before = owned(stack)
    process = subprocess.Popen(
        command("smoke", "--json", "--data-dir", stack.data_dir),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    next(line for line in process.stderr if line == "stream ...\n")
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=ENDS_SECONDS)
    report = json.loads(said)
    found = found_in(report)
    assert (process.returncode, report["passed"], report["interrupted"]) == (1, False, True)
    assert (found["clone"]["verdict"], found["tenants"]["verdict"]) == ("ok", "not run")
    assert found["clean-up"]["detail"] == "Nothing is left."
    assert owned(stack) == before


def test_a_provider_that_refuses(stack: Stack, client: Client) -> None:
    """What a clone is needed for is not tried, and a check left out is no success."""
    client.order_faults("voice_quota", times=None, voice="customization:create")
    found = tour(stack.base_url, stack.token, stack.token)
    assert "502" in found["clone"].detail
    assert "`utter doctor`" in found["clone"].remedy
    for name in ("v1", "stream", "caps", "tenants"):
        assert found[name].verdict == "not run", name
    assert found["stream"].detail == "Not looked at, because of clone."
    assert found["health"].verdict == "ok"


def test_a_proxy_that_is_bad_in_every_way(stack: Stack) -> None:
    """It replaces error pages, holds streams back until they are whole, and serves one user what is another's."""
    with _proxy(stack, "bad") as url:
        found = tour(url, stack.token, access_token(stack.data_dir, user=uuid4()))
    assert found["errors"].verdict == "failed"
    assert "replaces error pages" in found["errors"].remedy
    assert "collected it first" in found["proxy"].detail
    assert "buffering off" in found["proxy"].remedy
    assert "answered 302 instead of 404" in found["tenants"].detail
    assert "take the deployment down" in found["tenants"].remedy
    assert found["clean-up"].verdict == "ok"


def test_both_tokens_of_one_user_are_taken_for_a_leak(stack: Stack) -> None:
    async def look() -> None:
        async with open_http() as client:
            user = Visitor(client, stack.base_url, stack.token)
            await tenants(Scene(user, user, b"", voice_id=stack.voices()[0]["id"]))

    with pytest.raises(Surprise, match="both are of the same user"):
        anyio.run(look)


@pytest.mark.parametrize(
    ("first_byte", "last_byte", "held"),
    [(0.21, 6.0, False), (6.0, 6.01, True), (0.5, 0.51, False), (1.2, 6.0, False)],
    ids=["as it is spoken", "collected", "all at once, and quickly", "a long way"],
)
def test_what_a_proxy_holds_back_is_measured(first_byte: float, last_byte: float, held: bool) -> None:
    """The gateway had the first sound after 0.2 s, by its own clock."""
    headers = httpx.Headers({"Server-Timing": "database;dur=5.0, provider_first_audio;dur=150.0, gateway;dur=50.0"})
    heard = Heard(Order("g", "t"), b"sound", headers, "HTTP/1.1", first_byte, last_byte)
    scene = Scene(Visitor(httpx.AsyncClient(), "", None), None, b"", heard=heard)
    if held:
        with pytest.raises(Surprise, match=r"5\.8 s after the gateway had it"):
            anyio.run(proxy, scene)
    else:
        assert "HTTP/1.1" in anyio.run(proxy, scene)


def test_a_proxy_that_speaks_http_1_0(stack: Stack) -> None:
    with _proxy(stack, "1.0") as url:
        found = tour(url, stack.token, None)
    assert found["v1"].verdict == "ok"
    assert "426" in found["stream"].detail
    assert "proxy_http_version 1.1" in found["stream"].remedy
    assert found["tenants"].verdict == "not run"


def test_nobody_there() -> None:
    found = tour("http://127.0.0.1:1", "no-token")
    assert "Nothing takes a connection" in found["health"].detail
    assert found["clone"].verdict == "not run"
    assert found["clean-up"].verdict == "failed"


def test_a_token_that_is_refused(stack: Stack) -> None:
    ran = utter_alone(
        "smoke", "--base-url", stack.base_url, "--token", "nonsense", "--data-dir", stack.data_dir, environment={}
    )
    assert ran.exit_code == 1
    assert "give a fresh one" in ran.stdout
    assert ran.stdout.splitlines()[-1].startswith("Not passed")


def test_help_shows_how() -> None:
    assert "utter smoke --json" in plain(utter("smoke", "--help").stdout)


class _Proxy(BaseHTTPRequestHandler):
    """Collects whole answers, speaks for errors itself and takes everybody for the owner; or asks in HTTP/1.0."""

    protocol_version = "HTTP/1.1"
    upstream = ""
    owner = ""
    how = ""

    def pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with closing(http.client.HTTPConnection(self.upstream, timeout=30)) as connection:
            if self.how == "1.0":
                connection._http_vsn, connection._http_vsn_str = 10, "HTTP/1.0"  # type: ignore[attr-defined]
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            if self.how == "bad" and "/preview" in self.path and "design" not in self.path:
                headers["Authorization"] = f"Bearer {self.owner}"
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        if self.how == "bad" and answer.status == 404:
            content = b"<h1>Not found</h1>"
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in {"connection", "content-length", "transfer-encoding", "date", "server"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing: the test says what is wrong."""


@contextmanager
def _proxy(stack: Stack, how: str) -> Iterator[str]:
    methods = {f"do_{method}": _Proxy.pass_on for method in ("GET", "POST", "PUT", "DELETE")}
    about = {"upstream": urlsplit(stack.base_url).netloc, "owner": stack.token, "how": how}
    handler = type("Handler", (_Proxy,), {**methods, **about})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
