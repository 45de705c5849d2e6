"""Designing at the page: each try is billed once, can be heard, and waits to be saved."""

from __future__ import annotations

import httpx
import pytest
from playwright.sync_api import Locator, expect

from bench.stack import Stack
from tests.support.accounts import EMAIL, PASSWORD
from tests.support.browser import Tab

pytestmark = [pytest.mark.browser, pytest.mark.integration, pytest.mark.usefixtures("kept_voices")]

HEARD = "document.getElementById('audio').currentTime"

BRIGHT = "A bright young woman, quick and curious."


def open_panel(tab: Tab) -> None:
    tab.open("/voices?new=design")
    expect(tab.page.get_by_role("heading", name="Design a voice")).to_be_visible()


def try_once(tab: Tab, description: str) -> None:
    tab.page.get_by_label("What is the voice like?").fill(description)
    tab.page.get_by_role("button", name="Design and listen").click()


def row(tab: Tab, number: int) -> Locator:
    return tab.page.get_by_role("listitem").filter(has=tab.page.get_by_role("heading", name=f"Try {number}"))


def save(tab: Tab, number: int, name: str) -> None:
    row(tab, number).get_by_label("Name").fill(name)
    row(tab, number).get_by_role("button", name="Save voice").click()
    expect(row(tab, number).get_by_role("link", name=f"Use {name}")).to_be_focused()


def designs_billed(stack: Stack) -> int:
    billed: int = httpx.get(f"{stack.emulator_rest_url}/_emulator/billing").json()["designs"]
    return billed


def test_a_try_is_heard_and_saved_and_each_is_billed(stack: Stack, tab: Tab) -> None:
    before = designs_billed(stack)
    open_panel(tab)
    expect(tab.page.locator(".submit")).to_contain_text("Each try is billed by Qwen: US$0.20.")
    try_once(tab, BRIGHT)
    tab.until(f"{HEARD} > 0.2")
    expect(tab.page.locator("#dock-title")).to_have_text("Try 1")
    try_once(tab, "An old sailor who has seen it all.")
    expect(tab.page.locator("#dock-title")).to_have_text("Try 2")
    row(tab, 1).get_by_role("button", name="Listen").click()
    expect(tab.page.locator("#dock-title")).to_have_text("Try 1")
    row(tab, 1).get_by_role("button", name="Save voice").click()
    expect(row(tab, 1)).to_contain_text("This is needed.")
    expect(row(tab, 1).get_by_label("Name")).to_be_focused()
    save(tab, 1, "Clara")
    voice = stack.voices()[0]
    assert (voice["name"], voice["description"], voice["source"]) == ("Clara", BRIGHT, "designed")
    assert designs_billed(stack) == before + 2
    tab.page.keyboard.press("Enter")
    expect(tab.page.locator(f"input[value='{voice['id']}']")).to_be_checked()
    assert tab.complaints == []


def test_tries_outlive_a_reload_even_while_they_are_made(stack: Stack, tab: Tab) -> None:
    before = designs_billed(stack)
    open_panel(tab)
    try_once(tab, BRIGHT)
    expect(row(tab, 1)).to_contain_text(BRIGHT)
    tab.page.reload()
    expect(row(tab, 1).get_by_role("button", name="Listen")).to_be_visible()
    tab.page.reload()
    row(tab, 1).get_by_role("button", name="Listen").click()
    tab.until(f"{HEARD} > 0.2")
    save(tab, 1, "Clara")
    tab.page.reload()
    expect(tab.page.get_by_role("heading", name="Design a voice")).to_be_visible()
    expect(row(tab, 1)).to_have_count(0)
    assert designs_billed(stack) == before + 1


def test_what_cannot_be_designed_is_not_sent(tab: Tab) -> None:
    open_panel(tab)
    try_once(tab, " ")
    expect(tab.page.locator("#design-description-wrong")).to_have_text("This is needed.")
    expect(tab.page.get_by_label("What is the voice like?")).to_be_focused()
    try_once(tab, "a" * 503)
    expect(tab.page.locator("#design-description-wrong")).to_have_text("Too long: shorten it by 3 characters.")
    assert tab.asked("POST", "/api/voices/design/preview") == []


def test_a_refused_description_is_said_and_the_next_one_works(tab: Tab, emulator_faults: httpx.Client) -> None:
    order = {"voice": "customization:create", "faults": ["content_blocked"], "times": 1}
    emulator_faults.put("/_emulator/faults", json=order).raise_for_status()
    open_panel(tab)
    try_once(tab, BRIGHT)
    expect(tab.page.locator(".submit .error")).to_contain_text("declined this description or text")
    expect(tab.page.get_by_role("heading", name="Try 1")).to_have_count(0)
    try_once(tab, BRIGHT)
    expect(row(tab, 1).get_by_role("button", name="Listen")).to_be_visible()
    expect(tab.page.locator(".submit .error")).to_be_hidden()


def test_a_save_that_does_not_arrive_is_pressed_again(stack: Stack, tab: Tab) -> None:
    open_panel(tab)
    try_once(tab, BRIGHT)
    tab.page.route("**/api/voices/design", lambda route: route.abort(), times=1)
    row(tab, 1).get_by_label("Name").fill("Clara")
    row(tab, 1).get_by_role("button", name="Save voice").click()
    expect(row(tab, 1).get_by_role("alert")).to_contain_text("cannot be reached")
    save(tab, 1, "Clara")
    assert stack.voices()[0]["name"] == "Clara"


def test_in_modal_mode_the_sound_itself_is_saved(modal: Stack, modal_tab: Tab) -> None:
    modal_tab.page.goto(f"{modal.base_url}/voices?new=design")
    modal_tab.page.get_by_label("E-mail address").fill(EMAIL)
    modal_tab.page.get_by_label("Password").fill(PASSWORD)
    modal_tab.page.keyboard.press("Enter")
    expect(modal_tab.page.locator(".submit")).to_contain_text("A try costs nothing here.")
    try_once(modal_tab, BRIGHT)
    modal_tab.until(f"{HEARD} > 0.2")
    save(modal_tab, 1, "Clara")
    voice = modal.voices()[0]
    assert (voice["name"], voice["tts_provider"], voice["description"]) == ("Clara", "modal", BRIGHT)
    path = f"{modal.base_url}/api/voices/{voice['id']}/preview"
    sound = httpx.get(path, headers=modal.headers, follow_redirects=True).raise_for_status().content
    assert (sound[:4], len(sound) > 50_000) == (b"RIFF", True)
