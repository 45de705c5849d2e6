"""The sound itself, as it leaves the page: all of it, once, and nothing in between."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from playwright.sync_api import expect

from bench.stack import Stack
from tests.browser.test_page import HEARD, LONG, generate, newest_generation, stored_audio
from tests.support.browser import Tab
from tests.support.cable import Cable
from tests.support.hearing import RATE, Sound, assert_same, decoded, heard, listen

pytestmark = [pytest.mark.browser, pytest.mark.integration]

TEXT = LONG[:55]
"""Some three seconds, which are listened to at the pace of speech."""

MP3_NOT_IN_MEDIA_SOURCE = "MediaSource.isTypeSupported = () => false;"
"""As in Firefox and Safari."""

SLOW_BYTES_PER_SECOND = 48_000
"""A second of speech has 16,000; with less than twice of that, a busy machine would be heard, too."""


def hear_to_the_end(tab: Tab) -> None:
    expect(tab.page.locator("#generate-status")).to_contain_text("Done")
    tab.until("document.getElementById('audio').ended")


def assert_heard_as_stored(stack: Stack, tab: Tab) -> None:
    assert_same(heard(tab), decoded(stored_audio(stack, newest_generation(stack)["id"])))


def test_what_is_heard_live_is_what_is_stored(stack: Stack, tab: Tab) -> None:
    listen(tab)
    tab.open()
    generate(tab, TEXT)
    tab.until(f"{HEARD} > 0.1")
    hear_to_the_end(tab)
    assert_heard_as_stored(stack, tab)


def test_a_cut_connection_is_not_heard(stack: Stack, cable: Cable, cabled_tab: Tab) -> None:
    tab = cabled_tab
    listen(tab)
    tab.open()
    generate(tab, LONG[:130])
    tab.until(f"{HEARD} > 0.1")
    cable.cut()
    hear_to_the_end(tab)
    assert tab.asked("GET", f"/api/generations/{newest_generation(stack)['id']}/stream") != []
    assert_heard_as_stored(stack, tab)


def test_a_slow_line_is_not_heard(stack: Stack, tab: Tab) -> None:
    listen(tab)
    tab.open()
    slow = {"offline": False, "latency": 100, "downloadThroughput": SLOW_BYTES_PER_SECOND, "uploadThroughput": -1}
    expect(tab.page.locator("#picker-voices").get_by_role("radio")).not_to_have_count(0)
    tab.page.context.new_cdp_session(tab.page).send("Network.emulateNetworkConditions", slow)
    generate(tab, TEXT)
    hear_to_the_end(tab)
    assert_heard_as_stored(stack, tab)


def test_a_browser_without_mp3_in_media_source_hears_the_same_while_it_is_made(stack: Stack, tab: Tab) -> None:
    tab.page.add_init_script(MP3_NOT_IN_MEDIA_SOURCE)
    listen(tab)
    tab.open()
    generate(tab, TEXT)
    tab.until(f"{HEARD} > 0.1")
    assert "/stream?token=" in tab.state("document.getElementById('audio').src")
    hear_to_the_end(tab)
    assert_heard_as_stored(stack, tab)


PAUSE: Sound = np.zeros(round(0.07 * RATE), dtype=np.float32)


@pytest.mark.parametrize(
    "spoilt",
    [
        lambda sound: sound[len(PAUSE) :],
        lambda sound: sound[: -len(PAUSE)],
        lambda sound: np.concatenate([sound[: len(sound) // 2], sound[len(sound) // 2 + len(PAUSE) :]]),
        lambda sound: np.concatenate([sound[: len(sound) // 2], PAUSE, sound[len(sound) // 2 :]]),
        lambda sound: np.concatenate([sound[: len(sound) // 2], sound[len(sound) // 2 - len(PAUSE) :]]),
        lambda sound: np.concatenate([PAUSE + 0.2, PAUSE, sound]),
    ],
    ids=["without its start", "without its end", "with a hole", "with a pause", "with a stutter", "after a click"],
)
def test_these_ears_notice(spoilt: Callable[[Sound], Sound]) -> None:
    """What the tests above would let pass, they would not show."""
    noise: Sound = np.random.default_rng(0).standard_normal(2 * RATE).astype(np.float32) / np.float32(4)
    silence: Sound = np.zeros(RATE, dtype=np.float32)
    assert_same(np.concatenate([silence, noise, silence]), noise)
    with pytest.raises(AssertionError):
        assert_same(np.concatenate([silence, spoilt(noise), silence]), noise)
