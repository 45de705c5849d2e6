"""The page in Modal mode: nothing streams, so it waits, says how long, and plays what was made."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from bench.stack import Stack, running_stack
from tests.browser.conftest import watched
from tests.browser.test_generate import STATUS, reload
from tests.browser.test_page import HEARD, LONG, STREAM, expect_stopped, generate, newest_generation, stored_audio
from tests.support.browser import Tab
from tests.support.hearing import assert_same, decoded, heard, listen
from tests.support.stack import LIMITS, SPEED

pytestmark = [pytest.mark.browser, pytest.mark.integration]

TEXT = LONG[:50]


@pytest.fixture(scope="module")
def modal_stack() -> Iterator[Stack]:
    with running_stack(speed=SPEED, environment={**LIMITS, "TTS_PROVIDER_MODE": "modal"}) as running:
        yield running


@pytest.fixture
def modal_tab(modal_stack: Stack, browser: Browser) -> Iterator[Tab]:
    """As `tab`, in Modal mode."""
    yield from watched(browser, modal_stack.base_url)


def test_it_waits_with_progress_and_plays_what_is_stored(modal_stack: Stack, modal_tab: Tab) -> None:
    tab = modal_tab
    listen(tab)
    tab.open()
    expect(tab.page.get_by_role("radio", name="Realtime")).to_have_count(0)
    generate(tab, TEXT)
    expect(tab.page.get_by_role("progressbar", name="Progress of the recording")).to_be_visible()
    expect(tab.page.locator("#progress-words")).to_contain_text("usually about")
    expect(tab.page.locator(STATUS)).to_contain_text("Done")
    expect(tab.page.get_by_role("progressbar")).to_be_hidden()
    expect(tab.page.locator("#meter-total")).to_contain_text("s")
    tab.until("document.getElementById('audio').ended")
    assert_same(heard(tab), decoded(stored_audio(modal_stack, newest_generation(modal_stack)["id"])))
    with tab.page.expect_download() as saved:
        tab.page.get_by_role("button", name="Download this recording").click()
    assert saved.value.suggested_filename.endswith(".wav")
    assert tab.asked("POST", STREAM) == []


def test_a_reload_goes_on_waiting_for_the_same_recording(modal_stack: Stack, modal_tab: Tab) -> None:
    tab = modal_tab
    tab.open()
    generate(tab, LONG[:400])
    expect(tab.page.get_by_role("progressbar")).to_be_visible()
    running = newest_generation(modal_stack)["id"]
    reload(tab)
    tab.until(f"{HEARD} > 0.2")
    assert newest_generation(modal_stack)["id"] == running
    assert len(tab.asked("POST", "/api/generate")) == 1


def test_stop_ends_the_job(modal_stack: Stack, modal_tab: Tab) -> None:
    tab = modal_tab
    tab.open()
    generate(tab, LONG)
    expect(tab.page.get_by_role("progressbar")).to_be_visible()
    tab.page.get_by_role("button", name="Stop").click()
    expect_stopped(tab)
    assert newest_generation(modal_stack)["status"] == "cancelled"


def test_the_history_follows_a_job_by_its_events(modal_stack: Stack, modal_tab: Tab) -> None:
    tab = modal_tab
    tab.open()
    generate(tab, LONG[:400])
    expect(tab.page.get_by_role("progressbar")).to_be_visible()
    running = newest_generation(modal_stack)
    tab.page.get_by_role("link", name="History").click()
    row = tab.page.locator(f"#history-list li[data-id='{running['id']}']")
    expect(row).to_contain_text("Ready")
    assert tab.asked("GET", f"/api/tasks/{running['task_id']}") == []
