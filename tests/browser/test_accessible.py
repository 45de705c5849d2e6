"""Every view for everybody: axe-core finds nothing in light nor dark, the keyboard is enough, and the page is small."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Request, expect

from bench.stack import Stack
from tests.browser.conftest import watched
from tests.support.browser import Tab, chromium

pytestmark = [pytest.mark.browser, pytest.mark.integration, pytest.mark.usefixtures("kept_voices")]

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text()

RUN_AXE = """() => axe.run({ resultTypes: ["violations"] }).then(({ violations }) => violations.map(
  ({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" | ")}`))"""

PAGE_BYTES = 120_000
"""Of everything that one visit loads, uncompressed, without audio (issue: a page people would use)."""

VIEWS = {
    "/generate": "#picker-voices input",
    "/voices": "#voices-list li",
    "/voices?new=clone": "#clone-name",
    "/voices?new=design": "#design-text",
    "/history": "#history-status:not(:empty)",
}
"""Each address, and what is there once it is shown."""

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


@pytest.fixture(scope="module")
def browser(recording: Path) -> Iterator[Browser]:
    """One with a microphone."""
    with chromium("--use-fake-device-for-media-stream", f"--use-file-for-fake-audio-capture={recording}") as running:
        yield running


def visit(tab: Tab, path: str) -> None:
    tab.open(path)
    tab.page.locator(VIEWS[path]).first.wait_for()


def violations(tab: Tab) -> list[str]:
    """What axe-core finds, in both colour schemes. Its script comes through the debugger, past the page's policy."""
    tab.page.evaluate(AXE)
    found = []
    for scheme in SCHEMES:
        tab.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        found += [f"{scheme} {one}" for one in tab.page.evaluate(RUN_AXE)]
    return found


@pytest.mark.parametrize("path", VIEWS)
def test_a_view_is_for_everybody_and_small(tab: Tab, path: str) -> None:
    sizes: dict[str, int] = {}

    def weigh(request: Request) -> None:
        response = request.response()
        if response is not None and "/api/" not in request.url:
            sizes[request.url] = len(response.body())

    tab.page.on("requestfinished", weigh)
    visit(tab, path)
    tab.page.wait_for_load_state("networkidle")
    assert len(sizes) > 10
    assert sum(sizes.values()) < PAGE_BYTES, sorted(sizes.items(), key=lambda one: -one[1])
    assert violations(tab) == []


def test_axe_finds_nothing_once_there_is_something_to_do(
    tab: Tab, recording: Path, modal_voice: dict[str, Any]
) -> None:
    visit(tab, "/voices")
    tab.page.get_by_role("button", name="Delete").first.click()
    expect(tab.page.get_by_role("button", name="Undo")).to_be_focused()
    assert violations(tab) == [], "a deleted voice, and one to be re-cloned"
    tab.page.get_by_role("button", name="Undo").click()
    tab.page.get_by_role("button", name="Re-clone").click()
    assert violations(tab) == [], "a dialog"
    tab.page.keyboard.press("Escape")
    tab.page.get_by_role("link", name="Clone a voice").click()
    tab.page.get_by_role("button", name="Create voice").click()
    tab.page.locator("#clone-file").set_input_files(recording)
    expect(tab.page.locator(".verdicts li")).not_to_have_count(0)
    assert violations(tab) == [], "a recording, and fields that are wrong"
    tab.page.get_by_role("link", name="All voices").click()
    tab.page.get_by_role("link", name="Design a voice").click()
    tab.page.get_by_label("What is the voice like?").fill("A calm voice.")
    tab.page.get_by_role("button", name="Design and listen").click()
    expect(tab.page.get_by_role("button", name="Save voice")).to_be_visible()
    assert violations(tab) == [], "a try, and the player"


def test_axe_finds_nothing_at_the_sign_in(modal_tab: Tab) -> None:
    modal_tab.page.goto(modal_tab.base_url)
    expect(modal_tab.page.get_by_label("E-mail address")).to_be_focused()
    modal_tab.page.keyboard.press("Enter")
    expect(modal_tab.page.get_by_role("alert")).to_be_visible()
    assert violations(modal_tab) == []


def test_a_voice_is_cloned_and_used_by_keyboard_alone(stack: Stack, tab: Tab) -> None:
    tab.page.context.grant_permissions(["microphone"])
    visit(tab, "/voices")
    press, focused = tab.page.keyboard.press, tab.page.locator(":focus")
    tab_to(tab, "Clone a voice")
    press("Enter")
    expect(tab.page.get_by_role("heading", name="Clone a voice")).to_be_focused()
    tab_to(tab, "Record")
    press("Enter")
    expect(tab.page.get_by_role("timer")).to_contain_text("0:04")
    press("Enter")
    expect(tab.page.get_by_label("Start")).to_be_focused()
    press("ArrowRight")
    tab_to(tab, re.compile("^Suggest"))
    press("Enter")
    expect(tab.page.get_by_label("What is said in it")).to_be_focused()
    press("Tab")
    press("Tab")
    expect(focused).to_have_accessible_name("Name of the voice")
    tab.page.keyboard.insert_text("By hand")
    press("Enter")  # as in any form
    expect(tab.page.get_by_role("heading", name="By hand is ready.")).to_be_focused()
    tab_to(tab, "Use it")
    press("Enter")
    expect(tab.page.get_by_role("radio", checked=True)).to_have_accessible_name(re.compile("By hand"))
    assert stack.voices()[0]["name"] == "By hand"


def tab_to(tab: Tab, name: str | re.Pattern[str]) -> None:
    """Press Tab until something with this name has the focus."""
    wanted = name if isinstance(name, re.Pattern) else re.compile(f"^{name}$")
    for _ in range(TAB_STOPS):
        tab.page.keyboard.press("Tab")
        if wanted.search(tab.state("(document.activeElement.ariaLabel ?? document.activeElement.textContent).trim()")):
            return
    raise AssertionError(f"Tab never comes to {name}")


TAB_STOPS = 40
"""More than any view has before the one that is wanted."""


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_no_view_scrolls_sideways(browser: Browser, stack: Stack, recording: Path, width: int) -> None:
    for tab in watched(browser, stack.base_url):
        tab.page.set_viewport_size({"width": width, "height": 740})
        for path in VIEWS:
            visit(tab, path)
            if path.endswith("clone"):
                tab.page.locator("#clone-file").set_input_files(recording)
                expect(tab.page.locator(".verdicts li")).not_to_have_count(0)
            assert tab.state("document.documentElement.scrollWidth") == width, path
