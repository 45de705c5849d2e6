"""The list of voices: finding one, hearing it, having it back, and what can be done with the other provider's."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from playwright.sync_api import Locator, expect

from bench.stack import Stack
from tests.support.accounts import EMAIL, PASSWORD
from tests.support.browser import Tab

pytestmark = [pytest.mark.browser, pytest.mark.integration, pytest.mark.usefixtures("kept_voices")]

HEARD = "document.getElementById('audio').currentTime"


def card_of(tab: Tab, voice: dict[str, Any]) -> Locator:
    return tab.page.locator(f"#voices-list li[data-id='{voice['id']}']")


def open_list(tab: Tab) -> None:
    tab.open("/voices")
    expect(tab.page.locator("#voices-list li")).not_to_have_count(0)


def clones_billed(stack: Stack) -> int:
    billed: int = httpx.get(f"{stack.emulator_rest_url}/_emulator/billing").json()["clones"]
    return billed


def test_a_voice_is_heard_and_used(stack: Stack, tab: Tab) -> None:
    open_list(tab)
    voice = stack.voices()[0]
    card_of(tab, voice).get_by_role("button", name="Preview").click()
    tab.until(f"{HEARD} > 0.2")
    card_of(tab, voice).get_by_role("link", name="Use").click()
    expect(tab.page.locator(f"input[value='{voice['id']}']")).to_be_checked()
    assert tab.complaints == []


def test_search_and_filter(stack: Stack, tab: Tab, modal_voice: dict[str, Any]) -> None:
    open_list(tab)
    status, cards = tab.page.locator("#voices-status"), tab.page.locator("#voices-list li")
    expect(status).to_have_text("3 voices")
    assert cards.last.get_attribute("data-id") == modal_voice["id"], "what can be used comes first"
    tab.page.get_by_label("Search", exact=True).fill("  FIRE")
    expect(status).to_have_text("1 of 3 voices")
    expect(cards).to_contain_text(["Fireside narrator"])
    tab.page.get_by_label("Show").select_option("To be re-cloned")
    expect(status).to_have_text("No voice is like that.")
    tab.page.get_by_role("button", name="Show all voices").click()
    expect(cards).to_have_count(3)
    expect(tab.page.get_by_label("Search", exact=True)).to_be_focused()
    for kind, count in (("To be re-cloned", 1), ("Ready to use", 2), ("Designed", 1), ("Cloned", 2)):
        tab.page.get_by_label("Show").select_option(kind)
        expect(cards).to_have_count(count)
    assert len(tab.asked("GET", "/api/voices")) == 1, "what is here already is not asked for again"


def test_deleting_is_undone(stack: Stack, tab: Tab) -> None:
    open_list(tab)
    voice = stack.voices()[0]
    card = card_of(tab, voice)
    tab.page.get_by_label("Search", exact=True).fill(voice["name"])
    card.get_by_role("button", name="Delete").click()
    expect(card).to_contain_text(f"{voice['name']} is deleted.")
    assert voice["id"] not in [one["id"] for one in stack.voices()]
    undo = card.get_by_role("button", name="Undo")
    expect(undo).to_be_focused()
    tab.page.keyboard.press("Enter")
    expect(card.get_by_role("link", name="Use")).to_be_focused()
    assert voice["id"] in [one["id"] for one in stack.voices()]
    card.get_by_role("button", name="Preview").click()
    tab.until(f"{HEARD} > 0.2")
    assert tab.complaints == []


def test_a_failure_is_said_on_the_card(stack: Stack, tab: Tab) -> None:
    open_list(tab)
    voice = stack.voices()[0]
    tab.page.route(f"**/api/voices/{voice['id']}", lambda route: route.abort())
    card_of(tab, voice).get_by_role("button", name="Delete").click()
    expect(card_of(tab, voice).get_by_role("alert")).to_contain_text("cannot be reached")
    tab.page.unroute_all()
    card_of(tab, voice).get_by_role("button", name="Delete").click()
    expect(card_of(tab, voice)).to_contain_text("is deleted")


def test_the_other_providers_voice_offers_one_thing_and_says_its_price(
    stack: Stack, tab: Tab, modal_voice: dict[str, Any]
) -> None:
    before = clones_billed(stack)
    open_list(tab)
    card = card_of(tab, modal_voice)
    expect(card).to_contain_text("Made with Modal; this server speaks with Qwen now.")
    expect(card.get_by_role("button")).to_have_count(1)
    expect(card.get_by_role("link")).to_have_count(0)
    card.get_by_role("button", name="Re-clone for US$0.01").click()
    dialog = tab.page.get_by_role("dialog")
    expect(dialog).to_contain_text("Qwen bills US$0.01 for it, once.")
    dialog.get_by_role("button", name="Not now").click()
    assert tab.asked("POST", f"/api/voices/{modal_voice['id']}/reclone") == []

    card.get_by_role("button", name="Re-clone").click()
    dialog.get_by_role("button", name="Re-clone for US$0.01").click()
    expect(tab.page.locator("#voices-status")).to_have_text("Old narrator can be used now.")
    made = stack.voices()[0]
    assert (made["name"], made["tts_provider"]) == ("Old narrator", "qwen")
    expect(card_of(tab, made).get_by_role("link", name="Use")).to_be_focused()
    expect(card).to_be_visible()
    assert clones_billed(stack) == before + 1
    assert tab.complaints == []


def test_a_reclone_that_fails_can_be_tried_again(
    stack: Stack, tab: Tab, modal_voice: dict[str, Any], emulator_faults: httpx.Client
) -> None:
    order = {"voice": "customization:create", "faults": ["voice_quota"], "times": 1}
    emulator_faults.put("/_emulator/faults", json=order).raise_for_status()
    open_list(tab)
    card = card_of(tab, modal_voice)
    for outcome in (card.get_by_role("alert"), tab.page.locator("#voices-status").get_by_text("can be used now")):
        card.get_by_role("button", name="Re-clone").click()
        tab.page.get_by_role("dialog").get_by_role("button", name="Re-clone").click()
        expect(outcome).to_be_visible()


def test_in_modal_mode_a_reclone_is_free(modal: Stack, modal_tab: Tab) -> None:
    modal_tab.page.goto(f"{modal.base_url}/voices")
    modal_tab.page.get_by_label("E-mail address").fill(EMAIL)
    modal_tab.page.get_by_label("Password").fill(PASSWORD)
    modal_tab.page.keyboard.press("Enter")
    voice = next(one for one in modal.voices() if one["tts_provider"] == "qwen")
    card = card_of(modal_tab, voice)
    expect(card).to_contain_text("Made with Qwen; this server speaks with Modal now.")
    card.get_by_role("button", name="Re-clone").click()
    expect(modal_tab.page.get_by_role("dialog")).to_contain_text("It costs nothing.")
    modal_tab.page.get_by_role("dialog").get_by_role("button", name="Re-clone").click()
    expect(modal_tab.page.locator("#voices-status")).to_have_text(f"{voice['name']} can be used now.")
    made = modal.voices()[0]
    assert (made["name"], made["tts_provider"]) == (voice["name"], "modal")
    card_of(modal_tab, made).get_by_role("button", name="Preview").click()
    modal_tab.until(f"{HEARD} > 0.2")


def test_nobody_is_left_before_an_empty_list(tab: Tab) -> None:
    nothing = {"voices": [], "pagination": {"page": 1, "per_page": 100, "total": 0, "pages": 1}}
    tab.page.route("**/api/voices?*", lambda route: route.fulfill(json=nothing))
    tab.open("/voices")
    expect(tab.page.locator("#voices-status")).to_contain_text("You have no voices yet. Clone one")
    expect(tab.page.get_by_label("Search", exact=True)).to_be_hidden()
    tab.page.get_by_role("link", name="Clone a voice").click()
    expect(tab.page.get_by_role("heading", name="Clone a voice")).to_be_focused()
    tab.page.go_back()
    expect(tab.page.get_by_role("heading", name="Voices")).to_be_focused()


def test_a_list_that_does_not_come_is_asked_for_again(tab: Tab) -> None:
    tab.page.route("**/api/voices?*", lambda route: route.abort(), times=1)
    tab.open("/voices")
    expect(tab.page.locator("#voices-error")).to_contain_text("cannot be reached")
    tab.page.get_by_role("button", name="Try again").click()
    expect(tab.page.locator("#voices-list li")).not_to_have_count(0)
    expect(tab.page.locator("#voices-error")).to_be_hidden()


def test_a_part_of_the_page_that_cannot_be_loaded_is_loaded_the_next_time(tab: Tab) -> None:
    tab.page.route("**/web/design.js", lambda route: route.abort(), times=1)
    open_list(tab)
    tab.page.get_by_role("link", name="Design a voice").click()
    expect(tab.page.locator("#voices-error")).to_contain_text("could not be loaded")
    tab.page.get_by_role("link", name="All voices").click()
    expect(tab.page.locator("#voices-error")).to_be_hidden()
    tab.page.get_by_role("link", name="Design a voice").click()
    expect(tab.page.get_by_label("What is the voice like?")).to_be_visible()
