"""The page in a real Chromium against the whole product: gateway, emulator, database."""

from __future__ import annotations

import re

import httpx
import pytest
from playwright.sync_api import Request, expect

from bench.stack import Stack
from tests.support.browser import WAIT_MS, Tab
from tests.support.cable import Cable

pytestmark = [pytest.mark.browser, pytest.mark.integration]

SHORT = "The bell rang once."

# At the suite's pace some ten seconds of streaming: time enough to look while it arrives, and always stopped early.
LONG = "The harbour was quiet that morning, and nobody on the quay had anything to say about it yet. " * 16

STREAM = "/api/generate/stream"

HEARD = "document.getElementById('audio').currentTime"

KEEP_APPENDED = """
globalThis.appended = [];
const append = SourceBuffer.prototype.appendBuffer;
SourceBuffer.prototype.appendBuffer = function (bytes) {
  append.call(this, bytes);
  for (const byte of bytes) globalThis.appended.push(byte); // not `...bytes`, which a large piece is too long for
};
"""

# Chromium's own limit is 12 MiB, half an hour of speech; this one is reached in seconds, and playback is hurried.
FULL_AFTER_TWELVE_SECONDS = """
globalThis.dropped = [];
const put = SourceBuffer.prototype.appendBuffer;
SourceBuffer.prototype.appendBuffer = function (bytes) {
  const full = this.buffered.length > 0 && this.buffered.end(0) - this.buffered.start(0) > 12;
  if (full && dropped.length === 0) throw new DOMException("full", "QuotaExceededError");
  put.call(this, bytes);
};
const drop = SourceBuffer.prototype.remove;
SourceBuffer.prototype.remove = function (start, end) {
  dropped.push({ start, end, heard: document.getElementById("audio").currentTime });
  drop.call(this, start, end);
};
addEventListener("DOMContentLoaded", () => { document.getElementById("audio").defaultPlaybackRate = 8; });
"""

STOP_WHILE_APPENDING = """
let pieces = 0;
const hand = SourceBuffer.prototype.appendBuffer;
SourceBuffer.prototype.appendBuffer = function (bytes) {
  hand.call(this, bytes);
  pieces += 1;
  if (pieces === 3) document.getElementById("stop").click();
};
"""

WITHOUT_MEDIA_SOURCE = "delete globalThis.MediaSource;"


def newest_generation(stack: Stack) -> dict[str, object]:
    path = f"{stack.base_url}/api/generations?per_page=1"
    answer = httpx.get(path, headers=stack.headers, timeout=WAIT_MS / 1000).raise_for_status()
    newest: dict[str, object] = answer.json()["generations"][0]
    return newest


def states_of_newest(stack: Stack, count: int) -> list[tuple[str, str]]:
    """Id and status of so many generations, newest first."""
    path = f"{stack.base_url}/api/generations?per_page={count}"
    found = httpx.get(path, headers=stack.headers).raise_for_status().json()["generations"]
    return [(row["id"], row["status"]) for row in found]


def headers_of(request: Request) -> dict[str, str]:
    """Of the answer."""
    answer = request.response()
    assert answer is not None
    return answer.headers


def stored_audio(stack: Stack, generation_id: object) -> bytes:
    path = f"{stack.base_url}/api/generations/{generation_id}/audio"
    return httpx.get(path, headers=stack.headers, follow_redirects=True).raise_for_status().content


def appended(tab: Tab) -> bytes:
    """What the page handed to its MediaSource; as hexadecimal on the way, for a list of numbers takes seconds."""
    return bytes.fromhex(tab.state("appended.map((byte) => byte.toString(16).padStart(2, '0')).join('')"))


def generate(tab: Tab, text: str) -> None:
    tab.page.get_by_label("Text to speak").fill(text)
    tab.page.get_by_role("button", name="Generate").click()


def generate_to_the_end(tab: Tab, text: str) -> None:
    generate(tab, text)
    expect(tab.page.locator("#generate-status")).to_contain_text("Done", timeout=20_000)


def expect_stopped(tab: Tab) -> None:
    """The whole outcome is compared, so that a refusal to stop shows its words in the failure."""
    expect(tab.page.locator(".outcome")).to_contain_text("Stopped.")


def test_page_opens_signed_in_and_silent_in_the_console(stack: Stack, tab: Tab) -> None:
    tab.open()
    expect(tab.page.get_by_role("heading", name="What should be said?")).to_be_visible()
    expect(tab.page.locator("#picker-voices").get_by_role("radio")).to_have_count(len(stack.voices()))
    expect(tab.page.get_by_label("Language").get_by_role("option", name="Japanese")).to_be_attached()
    expect(tab.page.locator("#counter")).to_have_text("0 / 2000 characters")
    assert tab.complaints == []


@pytest.mark.parametrize("path", ["/", "/generate", "/voices", "/history"])
def test_every_page_allows_no_other_host_and_nothing_inline(stack: Stack, path: str) -> None:
    answer = httpx.get(stack.base_url + path)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "media-src 'self' blob:" in policy
    assert "unsafe" not in policy
    assert re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=|https?://", answer.text) is None


def test_speech_is_heard_while_it_arrives(stack: Stack, tab: Tab) -> None:
    tab.open()
    generate(tab, LONG)
    tab.until(f"{HEARD} > 0.5")
    assert not tab.has_ended("POST", STREAM)
    expect(tab.page.locator("#meter-first")).to_have_text(re.compile(r"^\d+\.\d\d s$"))
    tab.page.get_by_role("button", name="Stop").click()
    expect_stopped(tab)
    expect(tab.page.get_by_role("button", name="Generate")).to_be_visible()
    assert newest_generation(stack)["status"] == "cancelled"
    assert tab.complaints_beside_the_cut() == []


def test_what_is_played_is_byte_for_byte_what_is_stored(stack: Stack, tab: Tab) -> None:
    tab.page.add_init_script(KEEP_APPENDED)
    tab.open()
    generate_to_the_end(tab, SHORT)
    expect(tab.page.locator("#meter-total")).to_have_text(re.compile(r"^\d+\.\d\d s$"))
    assert appended(tab) == stored_audio(stack, newest_generation(stack)["id"])
    tab.until("document.getElementById('audio').ended")
    assert tab.complaints == []


def test_history_plays_the_stored_recording_and_deletes_it(stack: Stack, tab: Tab) -> None:
    tab.open()
    generate_to_the_end(tab, SHORT)
    made = newest_generation(stack)
    tab.page.get_by_role("link", name="History").click()
    row = tab.page.locator(f"#history-list li[data-id='{made['id']}']")
    expect(row).to_contain_text(SHORT)
    expect(row).to_contain_text("Ready")
    row.get_by_role("button", name="Play").click()
    tab.until(f"!document.getElementById('audio').src.startsWith('blob:') && {HEARD} > 0.2")

    row.get_by_role("button", name="Delete").click()
    tab.page.get_by_role("button", name="Keep it").click()
    expect(row).to_be_visible()
    row.get_by_role("button", name="Delete").click()
    tab.page.get_by_role("button", name="Delete recording").click()
    expect(row).to_have_count(0)
    assert newest_generation(stack)["id"] != made["id"]
    assert tab.complaints == []


def test_a_broken_connection_is_picked_up_without_losing_a_byte(stack: Stack, cable: Cable, cabled_tab: Tab) -> None:
    tab = cabled_tab
    tab.page.add_init_script(KEEP_APPENDED)
    tab.open()
    generate(tab, LONG[:600])
    tab.until(f"{HEARD} > 0.3")
    cable.cut()
    expect(tab.page.locator("#generate-status")).to_contain_text("Done", timeout=20_000)
    made = newest_generation(stack)
    assert tab.asked("GET", f"/api/generations/{made['id']}/stream") != []
    assert len(tab.asked("POST", STREAM)) == 1
    assert appended(tab) == stored_audio(stack, made["id"])


def test_a_full_buffer_drops_what_was_played_and_goes_on(stack: Stack, tab: Tab) -> None:
    tab.page.add_init_script(KEEP_APPENDED)
    tab.page.add_init_script(FULL_AFTER_TWELVE_SECONDS)
    tab.open()
    generate_to_the_end(tab, LONG[:400])
    dropped = tab.state("dropped")
    assert dropped[0]["start"] == 0
    assert dropped[0]["end"] < dropped[0]["heard"]
    assert appended(tab) == stored_audio(stack, newest_generation(stack)["id"])
    tab.until("document.getElementById('audio').ended")


def test_without_media_source_the_signed_stream_plays_while_it_is_made(stack: Stack, tab: Tab) -> None:
    tab.page.add_init_script(WITHOUT_MEDIA_SOURCE)
    tab.open()
    generate(tab, LONG)
    tab.until(f"{HEARD} > 0.5")
    made = newest_generation(stack)
    assert made["status"] == "processing"
    assert f"/api/generations/{made['id']}/stream?token=" in tab.state("document.getElementById('audio').src")
    expect(tab.page.locator("#meter-first")).to_have_text(re.compile(r"^\d+\.\d\d s$"))
    tab.page.get_by_role("button", name="Stop").click()
    expect_stopped(tab)
    assert newest_generation(stack)["status"] == "cancelled"
    assert tab.complaints_beside_the_cut() == []


def test_without_media_source_a_broken_stream_is_played_on_from_the_store(stack: Stack, tab: Tab) -> None:
    tab.page.add_init_script(WITHOUT_MEDIA_SOURCE)
    tab.open()
    tab.page.route("**/stream?token=*", lambda route: route.abort("connectionreset"))
    generate(tab, SHORT)
    expect(tab.page.locator("#generate-status")).to_contain_text("Done")
    tab.until(f"{HEARD} > 0.2")
    made = newest_generation(stack)
    assert f"{made['id']}.mp3" in tab.state("document.getElementById('audio').src")
    assert tab.asked("POST", "/api/generate") == []


def test_a_text_over_the_limit_is_refused_before_it_is_sent(tab: Tab) -> None:
    tab.open()
    generate(tab, "a" * 2003)
    expect(tab.page.locator("#generate-error")).to_have_text("Text cannot exceed 2000 characters. Shorten it by 3.")
    expect(tab.page.get_by_label("Text to speak")).to_be_focused()
    assert tab.asked("POST", STREAM) == []


def test_an_empty_text_is_refused_and_a_counter_counts_as_the_server_does(tab: Tab) -> None:
    tab.open()
    generate(tab, "  ")
    expect(tab.page.locator("#generate-error")).to_have_text("Type a text first.")
    tab.page.get_by_label("Text to speak").fill(" 👋 ")
    expect(tab.page.locator("#counter")).to_have_text("2 / 2000 characters")
    assert tab.asked("POST", STREAM) == []


def test_the_servers_refusal_is_shown_in_its_words(tab: Tab) -> None:
    tab.open()
    generate(tab, "?!…")  # no letter and no digit: only the server refuses that
    expect(tab.page.locator("#generate-error")).to_be_visible()
    expect(tab.page.locator("#generate-error")).not_to_contain_text("{")
    expect(tab.page.get_by_role("button", name="Generate")).to_be_enabled()
    expect(tab.page.get_by_role("region", name="Player")).to_be_hidden()


def test_a_speech_that_fails_half_way_is_made_again_once_and_says_that_this_is_charged(
    stack: Stack, tab: Tab, emulator_faults: httpx.Client
) -> None:
    order = {"voice": "*", "faults": ["cut"], "times": 1}
    emulator_faults.put("/_emulator/faults", json=order).raise_for_status()
    tab.open()
    generate(tab, LONG[:600])
    expect(tab.page.locator("#generate-status")).to_contain_text("charged again")
    expect(tab.page.locator("#generate-status")).to_contain_text("Done")
    expect(tab.page.locator("#generate-status")).to_contain_text("charged again")
    [first], [second] = tab.asked("POST", STREAM), tab.asked("POST", "/api/generate")
    assert first.headers["idempotency-key"] != second.headers["idempotency-key"]
    failed, made = states_of_newest(stack, 2)[::-1]
    assert (failed[1], made[1]) == ("failed", "completed")
    assert failed[0] == headers_of(first)["x-utter-generation-id"]
    tab.until(f"{HEARD} > 0.2")
    expect(tab.page.get_by_role("button", name="Generate")).to_be_enabled()


def test_what_was_stopped_elsewhere_is_not_made_again(stack: Stack, tab: Tab) -> None:
    tab.open()
    generate(tab, LONG)
    tab.until(f"{HEARD} > 0.3")
    running = newest_generation(stack)
    path = f"{stack.base_url}/api/tasks/{running['task_id']}/cancel"
    httpx.post(path, headers=stack.headers, timeout=WAIT_MS / 1000).raise_for_status()
    expect(tab.page.locator("#generate-error")).to_contain_text("Cancelled")
    expect(tab.page.get_by_role("button", name="Generate")).to_be_enabled()
    assert tab.asked("POST", "/api/generate") == []


def test_stop_while_the_buffer_is_busy_stops_all_the_same(stack: Stack, tab: Tab) -> None:
    tab.page.add_init_script(STOP_WHILE_APPENDING)
    tab.open()
    generate(tab, LONG)
    expect_stopped(tab)
    expect(tab.page.get_by_role("button", name="Play", exact=True)).to_be_visible()
    assert newest_generation(stack)["status"] == "cancelled"
    assert tab.complaints_beside_the_cut() == []


def test_the_skip_link_moves_the_focus_and_nothing_else(tab: Tab) -> None:
    tab.open()
    expect(tab.page.locator("#picker-voices").get_by_role("radio")).not_to_have_count(0)
    tab.page.keyboard.press("Tab")
    tab.page.keyboard.press("Enter")
    tab.until("location.hash === '#main'")
    expect(tab.page.locator("main")).to_be_focused()
    tab.page.keyboard.press("Tab")
    expect(tab.page.get_by_label("Text to speak")).to_be_focused()
    assert len(tab.asked("GET", "/api/voices")) == 1


def test_generate_and_stop_by_keyboard_alone(tab: Tab) -> None:
    tab.open()
    expect(tab.page.locator("#picker-voices").get_by_role("radio")).not_to_have_count(0)
    keyboard = tab.page.keyboard
    keyboard.press("Tab")
    expect(tab.page.get_by_role("link", name="Skip to content")).to_be_focused()
    keyboard.press("Enter")
    keyboard.press("Tab")
    expect(tab.page.get_by_label("Text to speak")).to_be_focused()
    keyboard.insert_text(LONG)
    keyboard.press("Tab")
    expect(tab.page.get_by_role("radio", checked=True)).to_be_focused()
    keyboard.press("ArrowDown")
    expect(tab.page.get_by_role("radio", checked=True)).to_be_focused()
    keyboard.press("Tab")
    expect(tab.page.locator(".voice-option button:focus")).to_have_accessible_name(re.compile("^Preview "))
    keyboard.press("Tab")
    expect(tab.page.get_by_label("Language")).to_be_focused()
    keyboard.press("Tab")
    keyboard.press("Enter")
    expect(tab.page.get_by_role("button", name="Stop")).to_be_focused()
    tab.until(f"{HEARD} > 0.3")
    keyboard.press("Enter")
    expect_stopped(tab)
    expect(tab.page.get_by_role("button", name="Generate")).to_be_focused()
    assert tab.complaints_beside_the_cut() == []


def test_an_address_opens_the_page_filled_in(stack: Stack, tab: Tab) -> None:
    voice = stack.voices()[-1]["id"]
    tab.open(f"/generate?voice={voice}&text=Good%20morning&language=French")
    expect(tab.page.get_by_label("Text to speak")).to_have_value("Good morning")
    expect(tab.page.get_by_label("Language")).to_have_value("French")
    expect(tab.page.locator(f"input[value='{voice}']")).to_be_checked()


def test_a_page_that_is_not_signed_in_says_what_to_do(stack: Stack, tab: Tab) -> None:
    # What the server answers to any other machine; this machine is always its own.
    tab.page.route("**/api/dev/token", lambda route: route.fulfill(status=404, json={"detail": "no such route"}))
    tab.page.goto(stack.base_url)
    expect(tab.page.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(tab.page.locator("#view-sign-in")).to_contain_text("utter token")
    tab.page.get_by_label("Access token").fill("not.a.token")
    tab.page.get_by_role("button", name="Sign in").click()
    expect(tab.page.locator("#sign-in-reason")).to_contain_text("refused or has expired")
    tab.page.get_by_label("Access token").fill(stack.token)
    tab.page.get_by_role("button", name="Sign in").click()
    expect(tab.page.locator("#picker-voices").get_by_role("radio")).to_have_count(len(stack.voices()))


@pytest.mark.parametrize("path", ["/generate", "/voices", "/history"])
def test_a_phone_never_scrolls_sideways(tab: Tab, path: str) -> None:
    tab.page.set_viewport_size({"width": 360, "height": 740})
    tab.open(path)
    tab.page.wait_for_load_state("networkidle")
    assert tab.state("document.documentElement.scrollWidth") == 360
