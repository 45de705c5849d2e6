"""The documentation site is whole, says what the code says, and asks no other host for anything."""

from __future__ import annotations

import html
import re
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from bench.emulator.faults import Fault
from gateway.cli import main
from gateway.routes.table import API
from gateway.settings import Settings, describe
from protocol.report import MACHINES
from protocol.state import SESSION
from tests.site.conftest import ROOT, build
from tests.support.browser import chromium
from tools.site.diagram import svg

pytestmark = pytest.mark.slow

_LOADS = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed|object)\b[^>]*\b(?:src|srcset|data)=["']?(?:https?:)?//[^>]*"""
    r"""|<link\b(?![^>]*\brel=["']?canonical)[^>]*\bhref=["']?(?:https?:)?//[^>]*"""
    r"""|url\(\s*["']?(?:https?:)?//[^)]*|@import\s+["'](?:https?:)?//[^"']*"""
    r"""|\b(?:fetch|importScripts|import)\(\s*["'`](?:https?:)?//[^)]*"""
)
"""What makes a browser ask another host when a page is opened. A link that somebody follows does not."""

_SCRIPT_HOST = re.compile(r"""["'`](?:https?:)?//(?P<host>[a-z0-9.-]+\.[a-z]{2,})""")

_NEVER_ASKED = {
    "www.w3.org",  # names of XML namespaces
    "api.github.com",  # asked only by a site that shows its repository's stars; this one has no `repo_url`
    "gitlab.com",  # the same
}


def _text(site: Path, page: str) -> str:
    """What `page` shows, without its tags."""
    return html.unescape(re.sub(r"<[^>]+>", "", (site / page).read_text(encoding="utf-8")))


def loads_elsewhere(text: str) -> list[str]:
    """Everything in a page, style or script that another host would be asked for."""
    return _LOADS.findall(text)


def test_no_page_style_or_script_loads_from_another_host(site: Path) -> None:
    found = {}
    for path in site.rglob("*"):
        if path.suffix in {".html", ".css", ".js", ".svg"}:
            text = path.read_text(encoding="utf-8")
            hosts = {given["host"] for given in _SCRIPT_HOST.finditer(text)} if path.suffix == ".js" else set()
            found[path.name] = loads_elsewhere(text) + sorted(hosts - _NEVER_ASKED)
    assert len(found) > 20
    indexed = found.pop("search_index.js")  # holds the pages' words: nothing in it is loaded
    assert not [one for one in indexed if one.startswith("<")]
    assert not {name: bad for name, bad in found.items() if bad}


@pytest.mark.parametrize(
    "bad",
    [
        '<script src="https://cdn.example/a.js">',
        "<img alt=x src=//cdn.example/a.png>",
        '<link rel="stylesheet" href="https://fonts.example/css">',
        "a{background:url(https://cdn.example/a.png)}",
        '@import "//cdn.example/a.css"',
        'importScripts("https://cdn.example/a.js")',
    ],
)
def test_a_load_from_another_host_is_seen(bad: str) -> None:
    assert loads_elsewhere(bad)


def test_no_site_asks_for_its_repository() -> None:
    assert "repo_url" not in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")


def test_a_link_that_leads_nowhere_ends_the_build(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("screens"))
    (tmp_path / "docs" / "page.md").write_text("# The page\n\n[gone](nowhere.md)\n", encoding="utf-8")
    configuration = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    configuration = configuration.replace("tools/site/hook.py", str(ROOT / "tools" / "site" / "hook.py"))
    (tmp_path / "mkdocs.yml").write_text(configuration, encoding="utf-8")
    built = build(tmp_path / "mkdocs.yml", tmp_path / "built")
    assert built.returncode != 0
    assert "nowhere.md" in built.stdout + built.stderr


def test_every_route_setting_command_and_fault_has_its_place(site: Path) -> None:
    routes = _text(site, "reference/http.html")
    assert [row.name for row in API if f"{row.method} {row.template}" not in routes] == []
    settings = _text(site, "reference/settings.html")
    assert [row.name for row in describe(Settings()) if row.name not in settings] == []
    commands = _text(site, "reference/commands.html")
    names = [command.name or command.callback.__name__ for command in main.registered_commands if command.callback]
    assert [name for name in names if f"utter {name}" not in commands] == []
    faults = _text(site, "reference/faults.html")
    assert [fault.value for fault in Fault if fault.value not in faults] == []


def test_the_event_loop_is_the_first_decision(site: Path) -> None:
    menu = re.findall(r'href="[^"]*decisions/(\d{4}[^"]*)\.html"', (site / "index.html").read_text(encoding="utf-8"))
    assert menu[0] == "0001-event-loop"
    listed = {page.stem for page in (ROOT / "docs" / "decisions").glob("*.md")}
    assert listed <= {path.stem for path in (site / "decisions").glob("*.html")}


def test_states_are_drawn_from_the_table(site: Path) -> None:
    assert svg("Session", dict(SESSION.items())) in (site / "concepts.html").read_text(encoding="utf-8")
    page = (site / "session-machine.html").read_text(encoding="utf-8")
    assert [name for name, _, table in MACHINES if svg(name, table) not in page] == []
    assert "stateDiagram" not in page


def test_no_words_of_a_diagram_lie_on_others() -> None:
    for name, _, table in MACHINES:
        lines = sorted(int(y) for y in re.findall(r'class="by"[^>]* y="(\d+)"', svg(name, table)))
        assert lines
        assert min((below - above for above, below in pairwise(lines)), default=99) >= 13, name


@pytest.mark.browser
def test_search_works_from_the_disk_and_from_no_other_host(site: Path) -> None:
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((site / "index.html").as_uri())
        page.get_by_role("textbox", name="Search").fill("QWEN_WARM_CONNECTIONS")
        page.locator(".md-search-result__link").first.wait_for()
        assert "settings" in " ".join(
            page.locator(".md-search-result__link").evaluate_all("all => all.map(a => a.href)")
        )
        assert [url for url in asked if not url.startswith(("file:", "data:", "about:"))] == []
