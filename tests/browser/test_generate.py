"""A generation on the page through reloads, lost answers, and what the server says it can do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from playwright.sync_api import Route, expect

from bench.stack import Stack
from tests.acceptance.client import until
from tests.browser.test_page import (
    HEARD,
    KEEP_APPENDED,
    LONG,
    SHORT,
    STREAM,
    appended,
    generate,
    newest_generation,
    states_of_newest,
    stored_audio,
)
from tests.support.browser import Tab
from tests.support.cable import Cable

pytestmark = [pytest.mark.browser, pytest.mark.integration]

STATUS = "#generate-status"


def reload(tab: Tab) -> None:
    tab.page.reload()
    tab.page.locator("#account").wait_for()


def with_capabilities(tab: Tab, **changes: object) -> None:
    """The page sees the server's own answer with these capabilities in it; without `changes` with none at all."""

    def answer(route: Route) -> None:
        catalog = route.fetch().json()
        catalog["capabilities"].update(changes)
        route.fulfill(json=catalog if changes else {**catalog, "capabilities": None})

    tab.page.route("**/api/languages", answer)


def test_a_reload_joins_what_is_being_made_and_plays_on_where_it_was(stack: Stack, tab: Tab) -> None:
    tab.page.add_init_script(KEEP_APPENDED)
    tab.open(f"/generate?text=Something%20else.&voice={stack.voices()[1]['id']}")
    expect(tab.page.get_by_role("radio", checked=True)).to_have_attribute("value", stack.voices()[1]["id"])
    generate(tab, LONG[:250])
    tab.until(f"{HEARD} > 1")
    reload(tab)
    tab.until(f"{HEARD} > 1.2 && !document.getElementById('audio').paused")
    made = newest_generation(stack)
    expect(tab.page.get_by_label("Text to speak")).to_have_value(LONG[:250])
    expect(tab.page.get_by_role("radio", checked=True)).to_have_attribute("value", stack.voices()[1]["id"])
    expect(tab.page.locator(STATUS)).to_contain_text("Done")
    assert len(tab.asked("POST", STREAM)) == 1
    assert appended(tab) == stored_audio(stack, made["id"])
    tab.page.get_by_role("button", name="Pause").click()
    at = tab.state(HEARD)
    reload(tab)  # of what is stored by now, and was paused
    expect(tab.page.locator(STATUS)).to_contain_text("Done")
    tab.until(f"Math.abs({HEARD} - {at}) < 0.5")
    assert tab.state("document.getElementById('audio').paused")
    assert newest_generation(stack)["id"] == made["id"]
    assert tab.complaints == []


def test_nothing_is_remembered_of_somebody_who_signed_out(tab: Tab) -> None:
    tab.open()
    tab.page.get_by_label("Text to speak").fill("A secret.")
    tab.page.evaluate("sessionStorage.clear()")
    reload(tab)
    expect(tab.page.get_by_label("Text to speak")).to_have_value("")


def test_a_reload_before_the_answer_asks_for_the_same_again(stack: Stack, cable: Cable, cabled_tab: Tab) -> None:
    tab = cabled_tab
    tab.open()
    before = newest_generation(stack)["id"] if states_of_newest(stack, 1) else None
    expect(tab.page.locator("#picker-voices").get_by_role("radio")).not_to_have_count(0)
    cable.hold()
    generate(tab, SHORT)
    tab.until("document.getElementById('stop').hidden === false")
    until_made(stack, before)
    cable.cut()
    cable.release()
    tab.page.reload()
    expect(tab.page.locator(STATUS)).to_contain_text("Done")
    keys = {request.headers["idempotency-key"] for request in tab.asked("POST", STREAM)}
    assert len(keys) == 1
    assert [identity for identity, _ in states_of_newest(stack, 2)][1:] == ([before] if before else [])


def until_made(stack: Stack, before: object) -> None:
    """Wait until the server has begun."""
    until(lambda: (states_of_newest(stack, 1) and newest_generation(stack)["id"] != before) or None)


def test_an_answer_that_got_lost_is_asked_for_under_the_same_key(stack: Stack, tab: Tab) -> None:
    def lose(route: Route) -> None:
        route.fetch()
        route.abort("connectionreset")

    tab.page.add_init_script(KEEP_APPENDED)
    tab.open()
    before = states_of_newest(stack, 1)
    tab.page.route(f"**{STREAM}", lose, times=1)
    generate(tab, SHORT)
    expect(tab.page.locator(STATUS)).to_contain_text("Done")
    first, second = tab.asked("POST", STREAM)
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    made, *others = states_of_newest(stack, 2)
    assert others == before
    assert appended(tab) == stored_audio(stack, made[0])


def test_a_stream_that_cannot_be_resumed_is_waited_for_and_played_on_from_the_store(stack: Stack, tab: Tab) -> None:
    tab.page.route(
        "**/api/generations/*/stream?offset=*", lambda route: route.fulfill(status=404, json={"detail": "no"})
    )
    tab.page.add_init_script(CUT_AFTER_SOME)
    tab.open()
    generate(tab, LONG[:300])
    expect(tab.page.locator(STATUS)).to_contain_text("Waiting for the recording")
    expect(tab.page.locator(STATUS)).to_contain_text("Done")
    tab.until("!document.getElementById('audio').src.startsWith('blob:')")
    tab.until(f"{HEARD} > 0.2")
    assert len(tab.asked("POST", STREAM)) == 1
    assert tab.asked("POST", "/api/generate") == []
    [(_, status)] = states_of_newest(stack, 1)
    assert status == "completed"


CUT_AFTER_SOME = """
const read = ReadableStreamDefaultReader.prototype.read;
let pieces = 0;
ReadableStreamDefaultReader.prototype.read = async function () {
  const found = await read.call(this);
  if (found.value instanceof Uint8Array && ++pieces === 3) throw new TypeError("network error");
  return found;
};
"""


def test_without_a_network_it_waits_and_says_so_and_never_asks_twice(stack: Stack, tab: Tab) -> None:
    tab.page.add_init_script(CUT_AFTER_SOME)
    tab.open()
    generate(tab, LONG[:300])
    tab.until(f"{HEARD} > 0.1")
    tab.page.route("**/api/tasks/**", lambda route: route.abort("internetdisconnected"))
    tab.page.route(
        "**/api/generations/*/stream?offset=*", lambda route: route.fulfill(status=404, json={"detail": "no"})
    )
    expect(tab.page.locator(STATUS)).to_contain_text("cannot be reached")
    tab.page.unroute("**/api/tasks/**")
    expect(tab.page.locator(STATUS)).to_contain_text("Done")
    assert len(tab.asked("POST", STREAM)) == 1
    assert tab.asked("POST", "/api/generate") == []


def test_again_makes_another_of_the_same_text(stack: Stack, tab: Tab) -> None:
    tab.open()
    generate(tab, SHORT)
    expect(tab.page.locator(STATUS)).to_contain_text("Done")
    first = newest_generation(stack)["id"]
    tab.page.get_by_label("Text to speak").fill("Something else.")
    with tab.page.expect_download() as saved:
        tab.page.get_by_role("button", name="Download this recording").click()
    assert saved.value.path().read_bytes() == stored_audio(stack, first)
    assert saved.value.suggested_filename.endswith(".mp3")
    tab.page.get_by_role("button", name="Again", exact=True).click()
    expect(tab.page.get_by_role("button", name="Stop")).to_be_focused()
    expect(tab.page.locator(STATUS)).to_contain_text("Done")
    newest = newest_generation(stack)
    assert (newest["text"], newest["id"] != first) == (SHORT, True)


@pytest.mark.parametrize("on", [True, False])
def test_the_choice_of_ways_is_there_when_the_server_allows_it(tab: Tab, on: bool) -> None:
    with_capabilities(tab, allow_generate_mode_toggle=on)
    tab.open()
    expect(tab.page.get_by_role("radio", name="Standard")).to_have_count(1 if on else 0)
    if on:
        tab.page.get_by_text("Standard").click()
        generate(tab, SHORT)
        expect(tab.page.get_by_role("progressbar")).to_be_visible()
        tab.until(f"{HEARD} > 0.2")
        expect(tab.page.locator(STATUS)).to_contain_text("Done")
        assert tab.asked("POST", STREAM) == []


@pytest.mark.parametrize("missing", [{"supports_generate_stream": False}, {}])
def test_without_the_capability_the_task_flow_is_used(tab: Tab, missing: dict[str, Any]) -> None:
    with_capabilities(tab, **missing)
    tab.open()
    generate(tab, SHORT)
    expect(tab.page.locator(STATUS)).to_contain_text("Done")
    assert tab.asked("POST", STREAM) == []
    assert "idempotency-key" in tab.asked("POST", "/api/generate")[0].headers


def test_a_server_that_makes_nothing_says_so(tab: Tab) -> None:
    with_capabilities(tab, supports_generate=False, supports_generate_stream=False)
    tab.open()
    expect(tab.page.locator("#generate-error")).to_contain_text("makes no speech")
    expect(tab.page.get_by_role("button", name="Generate")).to_be_disabled()


def test_a_stream_that_was_switched_off_meanwhile_becomes_a_recording(tab: Tab) -> None:
    tab.open()
    refusal = {"detail": "Live speech is switched off."}
    tab.page.route(f"**{STREAM}", lambda route: route.fulfill(status=409, json=refusal))
    with_capabilities(tab, supports_generate_stream=False)
    generate(tab, SHORT)
    expect(tab.page.locator(STATUS)).to_contain_text("Done")
    assert len(tab.asked("POST", "/api/generate")) == 1


def test_another_refusal_is_shown_and_nothing_else_is_tried(tab: Tab) -> None:
    tab.open()
    tab.page.route(f"**{STREAM}", lambda route: route.fulfill(status=409, json={"detail": "Clone it again."}))
    generate(tab, SHORT)
    expect(tab.page.locator("#generate-error")).to_have_text("Clone it again.")
    assert tab.asked("POST", "/api/generate") == []


@pytest.mark.parametrize(
    "broken",
    [
        lambda route: route.abort("connectionreset"),
        lambda route: route.fulfill(status=200, headers={"content-type": "text/event-stream"}, body="retry: 1000\n\n"),
        lambda route: route.fulfill(status=503, json={"detail": "Too many."}),
    ],
    ids=["cut", "ended", "refused"],
)
def test_without_events_the_task_is_asked_for(tab: Tab, broken: Callable[[Route], None]) -> None:
    tab.page.route("**/api/tasks/*/events", broken)
    tab.open()
    generate(tab, SHORT)
    expect(tab.page.locator(STATUS)).to_contain_text("Done")
    assert [request for request in tab.requested if "/api/tasks/" in request.url and "events" not in request.url]


@pytest.mark.parametrize("path", ["/generate", "/voices", "/history"])
def test_what_the_page_weighs(tab: Tab, path: str) -> None:
    """All that opening it loads, uncompressed and without audio."""
    tab.open(path)
    tab.page.wait_for_load_state("networkidle")
    loaded = {request.url for request in tab.requested if "/api/" not in request.url}
    assert len(loaded) > 10
    assert sum(len(httpx.get(url).content) for url in loaded) < 120_000


def test_a_press_where_the_voices_cannot_be_had_says_so(tab: Tab) -> None:
    tab.page.route("**/api/voices?*", lambda route: route.fulfill(status=500, json={"detail": "Out of order."}))
    tab.open()
    expect(tab.page.locator("#generate-error")).to_contain_text("Out of order.")
    tab.state("document.getElementById('generate-error').textContent = ''")
    tab.page.get_by_label("Text to speak").fill("Good morning.")
    tab.page.get_by_role("button", name="Generate").click()
    expect(tab.page.locator("#generate-error")).to_contain_text("Out of order.")
    assert tab.asked("POST", "/api/generate/stream") == []


@pytest.mark.parametrize("late", ["**/web/generate.js", "**/api/voices?*"])
def test_a_press_that_comes_before_its_view_is_not_lost(tab: Tab, late: str) -> None:
    waiting: list[Route] = []

    def hold(route: Route) -> None:  # Playwright hangs an attribute on it, which `append` does not take
        waiting.append(route)

    tab.page.route(late, hold)
    with tab.page.expect_request(late):
        tab.page.goto(tab.base_url)
    tab.page.get_by_label("Text to speak").fill("Good morning.")
    tab.page.get_by_role("button", name="Generate").click()
    assert "?" not in tab.page.url, "sent as an address"
    tab.until("true")
    waiting[0].continue_()
    expect(tab.page.locator("#generate-status")).to_contain_text("Done")
    assert len(tab.asked("POST", "/api/generate/stream")) == 1
    assert tab.complaints == []


def test_a_view_that_cannot_be_fetched_says_so_and_comes_with_the_next_press(tab: Tab) -> None:
    tab.open()
    tab.page.route("**/web/history.js", lambda route: route.abort("internetdisconnected"), times=1)
    tab.page.get_by_role("link", name="History").click()
    expect(tab.page.locator("#history-error")).to_contain_text("Check the connection")
    tab.page.get_by_role("link", name="Generate").click()
    tab.page.get_by_role("link", name="History").click()
    expect(tab.page.locator("#history-status")).not_to_be_empty()
    expect(tab.page.locator("#history-error")).to_be_hidden()
