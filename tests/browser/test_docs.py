"""The API page in a real Chromium: it lists every operation, and tries them."""

from __future__ import annotations

import json

import httpx
import pytest
from playwright.sync_api import expect

from bench.stack import Stack
from gateway.routes import API
from tests.support.browser import Tab

pytestmark = [pytest.mark.browser, pytest.mark.integration]


def opened(tab: Tab, name: str) -> None:
    """Go there and unfold one operation."""
    tab.open("/docs")
    tab.page.locator(f"#{name} > summary").click()


def test_every_operation_is_listed_under_its_group(tab: Tab) -> None:
    tab.open("/docs")
    expect(tab.page.locator("details.operation")).to_have_count(len(API))
    headings = tab.page.locator(".docs-group h2").all_inner_texts()
    assert headings == list(dict.fromkeys(row.group for row in API))
    for row in API:
        expect(tab.page.locator(f"#{row.name} .said")).to_have_text(row.summary)
    assert tab.complaints == []


def test_a_try_shows_the_answer(tab: Tab, stack: Stack) -> None:
    opened(tab, "get_voices")
    operation = tab.page.locator("#get_voices")
    operation.get_by_label("per_page").fill("1")
    operation.get_by_role("button", name="Send").click()
    body = json.loads(operation.locator(".result > pre").inner_text())
    assert body["pagination"]["per_page"] == 1
    assert body["voices"][0]["id"] in {voice["id"] for voice in stack.voices()}
    assert tab.asked("GET", "/api/voices")[-1].headers["authorization"].startswith("Bearer ")
    expect(tab.page.locator("#account")).to_have_text("Demo user")


def test_speech_is_heard_on_the_page(tab: Tab, stack: Stack) -> None:
    opened(tab, "post_generate_stream")
    operation = tab.page.locator("#post_generate_stream")
    wanted = {"voice_id": stack.voices()[0]["id"], "text": "Good morning."}
    operation.get_by_label("body").fill(json.dumps(wanted))
    operation.get_by_role("button", name="Send").click()
    operation.locator("audio").wait_for()
    tab.until("document.querySelector('#post_generate_stream audio').duration > 0.3")
    assert tab.complaints == []


def test_a_refusal_is_shown_too(tab: Tab) -> None:
    opened(tab, "get_tasks_by_id")
    operation = tab.page.locator("#get_tasks_by_id")
    operation.get_by_role("button", name="Send").click()
    expect(operation.get_by_role("alert")).to_have_text("Fill in task_id first.")
    operation.get_by_label("task_id").fill("6f1d2b3c-0000-4000-8000-000000000001")
    operation.get_by_role("button", name="Send").click()
    expect(operation.locator(".result")).to_contain_text('"detail"')
    expect(operation.get_by_role("alert")).to_be_hidden()


def test_the_line_for_a_terminal_carries_no_token(tab: Tab, stack: Stack) -> None:
    opened(tab, "get_me")
    operation = tab.page.locator("#get_me")
    operation.get_by_role("button", name="As curl").click()
    line = operation.locator(".result pre").inner_text()
    assert f"'{stack.base_url}/api/me'" in line
    assert '"Authorization: Bearer $TOKEN"' in line
    assert "eyJ" not in line


def test_a_pasted_token_is_used(tab: Tab) -> None:
    opened(tab, "get_me")
    tab.page.get_by_label("Access token").fill("not-a-token")
    tab.page.get_by_role("button", name="Use it").click()
    expect(tab.page.locator("#account")).to_have_text("Signed in")
    operation = tab.page.locator("#get_me")
    operation.get_by_role("button", name="Send").click()
    expect(operation.locator(".result > pre")).to_contain_text('"signed_in": false')
    expect(tab.page.get_by_label("Access token")).to_have_value("")


def test_an_address_can_name_an_operation(tab: Tab) -> None:
    tab.open("/docs#post_generate")
    expect(tab.page.locator("#post_generate")).to_have_attribute("open", "")
    expect(tab.page.locator("#post_generate").get_by_role("button", name="Send")).to_be_visible()


def test_the_page_is_reached_by_keyboard(tab: Tab) -> None:
    tab.open("/docs")
    tab.page.locator("#get_health > summary").focus()
    tab.page.keyboard.press("Enter")
    expect(tab.page.locator("#get_health").get_by_role("button", name="Send")).to_be_visible()
    tab.page.keyboard.press("Tab")
    tab.page.keyboard.press("Enter")
    expect(tab.page.locator("#get_health .result")).to_contain_text('"ok": true')


def test_the_policy_of_the_page_is_that_of_the_others(stack: Stack) -> None:
    policies = {httpx.get(stack.base_url + path).headers["content-security-policy"] for path in ("/", "/docs")}
    assert len(policies) == 1
    assert "unsafe" not in policies.pop()
