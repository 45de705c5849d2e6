"""The history on the page: found, heard, kept, made again, deleted, and up to date."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote_plus

import httpx
import pytest
from playwright.sync_api import Locator, Route, expect

from bench.stack import Stack
from storage.programs import programs
from tests.browser.test_page import HEARD, LONG, newest_generation, stored_audio
from tests.support.browser import Tab

pytestmark = [pytest.mark.browser, pytest.mark.integration]

A_PAST = """
insert into public.generations (user_id, text, status, created_at, error_message)
select '{user}', 'Chapter ' || n || ' of the ' || case when n %% 9 = 0 then 'loud' else 'quiet' end || ' book',
  case when n = 7 then 'failed' else 'completed' end, timestamptz '2026-01-01' + make_interval(secs => n),
  case when n = 7 then 'It broke.' end
from generate_series(1, 45) n
""".replace("%%", "%")

FORGET_IT = "delete from public.generations where user_id = '{user}' and created_at < '2026-01-02'"


@pytest.fixture
def past(stack: Stack) -> Iterator[None]:
    """45 generations of long ago, without audio."""

    def run(statement: str) -> None:
        psql = [str(programs() / "psql"), "--quiet", "--no-psqlrc", "-v", "ON_ERROR_STOP=1", stack.admin_url]
        subprocess.run([*psql, "-c", statement.format(user=stack.demo_user)], check=True)

    run(A_PAST)
    yield
    run(FORGET_IT)


def ordered(stack: Stack, text: str) -> dict[str, Any]:
    """Speech that another program of the same user asked for."""
    body = {"voice_id": stack.voices()[0]["id"], "text": text}
    answer = httpx.post(f"{stack.base_url}/api/generate", headers=stack.headers, json=body).raise_for_status()
    accepted: dict[str, Any] = answer.json()
    return accepted


def finished(stack: Stack, text: str) -> dict[str, Any]:
    accepted = ordered(stack, text)
    path = f"{stack.base_url}/api/tasks/{accepted['task_id']}/events"
    with httpx.stream("GET", path, headers=stack.headers, timeout=60) as events:
        told = events.read()
    assert b'"status":"completed"' in told
    return accepted


def row_of(tab: Tab, accepted: dict[str, Any]) -> Locator:
    return tab.page.locator(f"#history-list li[data-id='{accepted['generation_id']}']")


def search(tab: Tab, words: str) -> None:
    """Type it, and wait for what it finds."""
    with tab.page.expect_response(lambda answer: f"search={quote_plus(words)}&" in answer.url):
        tab.page.get_by_label("Search your texts").fill(words)


def lists(tab: Tab) -> int:
    """How often the list was asked for."""
    return len(tab.asked("GET", "/api/generations"))


@pytest.mark.usefixtures("past")
def test_the_history_is_searched_filtered_and_paged(tab: Tab) -> None:
    tab.open("/history")
    rows = tab.page.locator("#history-list li")
    expect(rows).to_have_count(20)
    search(tab, "chapter")
    expect(tab.page.locator("#history-status")).to_have_text("45 recordings")
    expect(rows.first).to_contain_text("Chapter 45")
    expect(tab.page.get_by_role("button", name="Newer")).to_be_disabled()
    tab.page.get_by_role("button", name="Older").click()
    expect(rows.first).to_contain_text("Chapter 25")
    tab.page.get_by_role("button", name="Older").click()
    expect(rows.first).to_contain_text("Chapter 5 ")
    expect(rows).to_have_count(5)
    expect(tab.page.locator("#history-page")).to_have_text("Page 3 of 3")
    expect(tab.page.get_by_role("button", name="Older")).to_be_disabled()

    search(tab, "LOUD")
    expect(tab.page.locator("#history-status")).to_have_text("5 recordings")
    expect(tab.page.get_by_role("navigation", name="Pages of the history")).to_be_hidden()
    search(tab, "of the")
    tab.page.get_by_label("Status").select_option("Failed")
    expect(tab.page.locator("#history-status")).to_have_text("One recording")
    expect(rows).to_contain_text("It broke.")
    search(tab, "of the%")
    expect(tab.page.locator("#history-status")).to_contain_text("Nothing matches")
    assert tab.complaints == []


@pytest.mark.usefixtures("past")
def test_a_search_waits_for_the_end_of_the_word_and_the_last_answer_counts(tab: Tab) -> None:
    tab.open("/history")
    expect(tab.page.locator("#history-list li")).to_have_count(20)
    before = lists(tab)
    tab.page.get_by_label("Search your texts").press_sequentially("chapter 31", delay=10)
    expect(tab.page.locator("#history-status")).to_have_text("One recording")
    assert lists(tab) - before <= 3


def test_a_row_follows_its_task_to_its_end(stack: Stack, tab: Tab) -> None:
    running = ordered(stack, LONG[:400])
    tab.open("/history")
    row = row_of(tab, running)
    expect(row).to_contain_text("Being made")
    expect(row.get_by_role("button", name="Play")).to_be_disabled()
    expect(row).to_contain_text("Ready")
    assert lists(tab) == 2  # at first, and when it had ended
    assert tab.asked("GET", f"/api/tasks/{running['task_id']}/events") != []
    assert tab.asked("GET", f"/api/tasks/{running['task_id']}") == []
    row.get_by_role("button", name="Play").click()
    tab.until(f"{HEARD} > 0.2")
    assert tab.complaints == []


def test_a_row_is_looked_at_where_events_cannot_be_had(stack: Stack, tab: Tab) -> None:
    tab.page.route("**/api/tasks/*/events", lambda route: route.abort("connectionreset"))
    running = ordered(stack, LONG[:200])
    tab.open("/history")
    expect(row_of(tab, running)).to_contain_text("Ready")
    assert tab.asked("GET", f"/api/tasks/{running['task_id']}") != []


def test_a_running_row_is_deleted_which_stops_it(stack: Stack, tab: Tab) -> None:
    running = ordered(stack, LONG)
    tab.open("/history")
    row_of(tab, running).get_by_role("button", name="Delete").click()
    expect(tab.page.get_by_role("dialog")).to_contain_text("It is stopped")
    tab.page.get_by_role("button", name="Delete recording").click()
    expect(row_of(tab, running)).to_have_count(0)
    expect(tab.page.get_by_role("heading", name="History")).to_be_focused()
    path = f"{stack.base_url}/api/tasks/{running['task_id']}"
    assert httpx.get(path, headers=stack.headers).json()["status"] == "cancelled"


def test_a_row_is_kept_as_a_file_and_made_again(stack: Stack, tab: Tab) -> None:
    made = finished(stack, "A short one & a fine one.")
    tab.open("/history")
    row = row_of(tab, made)
    with tab.page.expect_download() as saved:
        row.get_by_role("button", name="Download").click()
    assert saved.value.path().read_bytes() == stored_audio(stack, made["generation_id"])
    assert saved.value.suggested_filename.endswith(".mp3")
    row.get_by_role("button", name="Generate again").click()
    expect(tab.page.get_by_label("Text to speak")).to_have_value("A short one & a fine one.")
    expect(tab.page.get_by_role("radio", checked=True)).to_have_attribute("value", stack.voices()[0]["id"])
    assert newest_generation(stack)["id"] == made["generation_id"]  # nothing was made by that


@pytest.mark.usefixtures("past")
def test_what_cannot_be_done_is_said(tab: Tab) -> None:
    """These rows have neither a voice nor audio."""
    tab.open("/history")
    search(tab, "Chapter 44 ")
    row = tab.page.locator("#history-list li").filter(has_text="Chapter 44 ")
    for name, words in (("Generate again", "voice"), ("Play", "no stored audio"), ("Download", "no stored audio")):
        row.get_by_role("button", name=name).click()
        expect(tab.page.locator("#history-error")).to_contain_text(words)


def test_a_history_that_cannot_be_loaded_says_what_to_do(tab: Tab) -> None:
    def refuse(route: Route) -> None:
        route.abort("internetdisconnected")

    tab.page.route("**/api/generations?*", refuse)
    tab.open("/history")
    expect(tab.page.locator("#history-error")).to_contain_text("Check the connection")
    tab.page.unroute("**/api/generations?*", refuse)
    tab.page.get_by_label("Status").select_option("Ready")
    expect(tab.page.locator("#history-error")).to_be_hidden()
