"""Signing in at the page with an account of a Supabase project, against a server that speaks its protocol."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, expect

from bench.stack import Stack
from tests.browser.conftest import watched
from tests.support.accounts import EMAIL, PASSWORD, Accounts, Answer
from tests.support.browser import Tab

pytestmark = [pytest.mark.browser, pytest.mark.integration]


OTHERS_TOKEN_COMES_LATE = """(kept) => {
  localStorage.setItem("utter.refresh-token", "used-by-another-tab");
  const ask = globalThis.fetch;
  globalThis.fetch = async (...request) => {
    const response = await ask(...request);
    if (String(request[0]).includes("/token?") && !response.ok) localStorage.setItem("utter.refresh-token", kept);
    return response;
  };
}"""
"""As where another tab's process has stored the next token, and this one has not heard of it yet."""

REFUSALS: list[tuple[Answer, str]] = [
    ((400, {"code": 400, "error_code": "email_not_confirmed", "msg": "Email not confirmed"}), "not confirmed"),
    ((400, {"error": "invalid_grant", "error_description": "Invalid login"}), "do not belong together"),
    ((429, {"code": 429, "error_code": "over_request_rate_limit", "msg": "slow down"}), "Wait a minute"),
    ((401, {"message": "Invalid API key"}), "Supabase settings"),
    ((503, None), "cannot be reached"),
]


@pytest.fixture(autouse=True)
def fresh_accounts(accounts: Accounts) -> Iterator[None]:
    accounts.granted.clear()
    accounts.signed_out.clear()
    yield
    accounts.trouble = None
    accounts.lifetime = 3600


def sign_in(tab: Tab, path: str = "/voices", password: str = PASSWORD) -> None:
    tab.page.goto(tab.base_url + path)
    tab.page.get_by_label("E-mail address").fill(EMAIL)
    tab.page.get_by_label("Password").fill(password)
    tab.page.keyboard.press("Enter")


def expect_voices(tab: Tab) -> None:
    expect(tab.page.locator("#voices-list li")).not_to_have_count(0)


def test_the_policy_lets_in_the_project_and_nobody_else(modal: Stack, accounts: Accounts) -> None:
    policy = httpx.get(modal.base_url).headers["content-security-policy"]
    assert f"; connect-src 'self' {accounts.url};" in policy


def test_an_account_opens_the_page_that_was_asked_for_and_survives_a_reload(modal_tab: Tab, accounts: Accounts) -> None:
    sign_in(modal_tab)
    expect_voices(modal_tab)
    expect(modal_tab.page.locator("#account")).to_have_text("Signed in")
    modal_tab.page.reload()
    expect_voices(modal_tab)
    assert accounts.granted == ["password", "refresh_token"]
    assert modal_tab.complaints == []


def test_a_wrong_password_is_said_and_the_next_one_works(modal_tab: Tab, accounts: Accounts) -> None:
    sign_in(modal_tab, password="wrong")
    expect(modal_tab.page.get_by_role("alert")).to_contain_text("do not belong together")
    expect(modal_tab.page.get_by_label("Password")).to_be_focused()
    modal_tab.page.keyboard.type(PASSWORD)
    modal_tab.page.keyboard.press("Enter")
    expect_voices(modal_tab)
    assert accounts.granted == ["password"]


def test_a_refusal_is_said_in_words(modal_tab: Tab, accounts: Accounts) -> None:
    for trouble, words in REFUSALS:
        accounts.trouble = trouble
        sign_in(modal_tab)
        expect(modal_tab.page.get_by_role("alert")).to_contain_text(words)
        expect(modal_tab.page.get_by_role("button", name="Sign in")).to_be_enabled()


def test_nothing_is_asked_before_both_fields_are_filled(modal_tab: Tab, accounts: Accounts) -> None:
    modal_tab.page.goto(modal_tab.base_url)
    modal_tab.page.get_by_role("button", name="Sign in").click()
    expect(modal_tab.page.get_by_role("alert")).to_have_text("Type your e-mail address and your password.")
    expect(modal_tab.page.get_by_label("E-mail address")).to_be_focused()
    assert modal_tab.asked("POST", "/auth/v1/token") == []


def test_a_token_about_to_end_is_renewed_before_it_is_used(modal_tab: Tab, accounts: Accounts) -> None:
    accounts.lifetime = 59  # within the minute in which it is replaced
    sign_in(modal_tab)
    expect_voices(modal_tab)
    before = len(accounts.granted)
    modal_tab.page.get_by_role("link", name="History").click()
    expect(modal_tab.page.locator("#history-status")).not_to_be_empty()
    assert accounts.granted[before:] == ["refresh_token"]
    assert modal_tab.complaints == [], "no request was ever refused"


def test_a_token_that_the_server_refuses_is_renewed_once(modal_tab: Tab, accounts: Accounts) -> None:
    sign_in(modal_tab)
    expect_voices(modal_tab)
    modal_tab.page.route(
        "**/api/generations?*", lambda route: route.fulfill(status=401, json={"detail": "expired"}), times=1
    )
    modal_tab.page.get_by_role("link", name="History").click()
    expect(modal_tab.page.locator("#history-status")).not_to_be_empty()
    expect(modal_tab.page.locator("#history-error")).to_be_hidden()
    assert accounts.granted == ["password", "refresh_token"]


def test_a_session_that_is_over_leads_to_the_form_and_back(modal_tab: Tab, accounts: Accounts) -> None:
    accounts.lifetime = 59
    sign_in(modal_tab, "/voices")
    expect_voices(modal_tab)
    accounts.forget()
    modal_tab.page.get_by_role("link", name="History").click()
    expect(modal_tab.page.get_by_role("alert")).to_have_text("Your session has ended. Please sign in again.")
    expect(modal_tab.page.get_by_label("E-mail address")).to_be_focused()
    modal_tab.page.get_by_label("E-mail address").fill(EMAIL)
    modal_tab.page.get_by_label("Password").fill(PASSWORD)
    modal_tab.page.get_by_role("button", name="Sign in").click()
    expect(modal_tab.page.get_by_role("heading", name="History")).to_be_visible()


def test_a_project_that_is_away_signs_nobody_out(modal_tab: Tab, accounts: Accounts) -> None:
    accounts.lifetime = 59
    sign_in(modal_tab)
    expect_voices(modal_tab)
    accounts.trouble = (500, None)
    modal_tab.page.get_by_role("link", name="History").click()
    expect(modal_tab.page.locator("#history-error")).to_contain_text("cannot be reached")
    accounts.trouble = None
    modal_tab.page.get_by_role("link", name="Voices").click()
    expect_voices(modal_tab)


def test_two_tabs_take_turns_with_the_one_refresh_token(
    modal: Stack, accounts: Accounts, browser: Browser, modal_tab: Tab
) -> None:
    sign_in(modal_tab)
    expect_voices(modal_tab)
    second = Tab(modal_tab.page.context.new_page(), modal.base_url)
    second.watch()
    for one in (modal_tab, second):
        one.page.goto(f"{modal.base_url}/voices", wait_until="commit")
    for one in (modal_tab, second):
        expect_voices(one)
    assert accounts.granted == ["password", "refresh_token", "refresh_token"]


def test_signing_out_ends_the_session_everywhere(modal: Stack, accounts: Accounts, browser: Browser) -> None:
    for tab in watched(browser, modal.base_url, accounts.url):
        sign_in(tab)
        expect_voices(tab)
        tab.page.get_by_role("button", name="Sign out").click()
        expect(tab.page.get_by_label("E-mail address")).to_be_visible()
        expect(tab.page.get_by_role("alert")).to_be_hidden()
        assert tab.state("localStorage.length + sessionStorage.length") == 0
        tab.page.go_back()
        expect(tab.page.get_by_label("E-mail address")).to_be_visible()
        assert tab.page.locator("#voices-list li").count() == 0
    assert accounts.signed_out == ["scope=local"]
    assert accounts.refresh_tokens == set()


def test_a_tab_that_sees_the_newer_token_late_is_not_signed_out(modal_tab: Tab, accounts: Accounts) -> None:
    sign_in(modal_tab)
    expect_voices(modal_tab)
    kept = modal_tab.state("localStorage.getItem('utter.refresh-token')")
    assert accounts.refresh_tokens == {kept}
    modal_tab.page.evaluate(OTHERS_TOKEN_COMES_LATE, kept)
    modal_tab.page.route("**/api/generations?*", lambda route: route.fulfill(status=401, json={}), times=1)
    modal_tab.page.get_by_role("link", name="History").click()
    expect(modal_tab.page.locator("#history-status")).not_to_be_empty()
    assert len(modal_tab.asked("POST", "/auth/v1/token")) == 3
