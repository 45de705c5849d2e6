"""Cloning at the page, by file and by microphone: what is sent, what is refused before, what goes wrong on the way."""

from __future__ import annotations

import io
import re
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Route, expect

from bench.emulator.encoder import wav_header
from bench.stack import Stack
from tests.browser.conftest import watched
from tests.support.accounts import EMAIL, PASSWORD, Accounts
from tests.support.browser import WAIT_MS, Tab, chromium
from tests.support.cable import Cable

pytestmark = [pytest.mark.browser, pytest.mark.integration, pytest.mark.usefixtures("kept_voices")]

RATE = 24_000
"""Hz: what the page sends (product section 6)."""

LOOK_MS = 50

File = dict[str, Any]
"""As Playwright takes one that is nowhere on the disk."""

Samples = np.ndarray[Any, np.dtype[np.int16]]

SLOW_BYTES_PER_SECOND = 50_000
"""At this pace an upload of some 700 kB is under way for as long as a test looks."""


@pytest.fixture(scope="module")
def browser(recording: Path) -> Iterator[Browser]:
    """One whose microphone hears the recording, again and again."""
    with chromium("--use-fake-device-for-media-stream", f"--use-file-for-fake-audio-capture={recording}") as running:
        yield running


def tone(seconds: float, level: float, rate: int = RATE) -> File:
    """A file of a hum that comes and goes as speech does. `level` beyond 1 is cut off at full scale."""
    at = np.arange(round(seconds * rate)) / rate
    samples = np.clip(level * np.sin(2 * np.pi * 180 * at) * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * at)), -1, 1)
    pcm = (samples * 32767).astype("<i2").tobytes()
    return {"name": "hum.wav", "mimeType": "audio/wav", "buffer": wav_header(rate, len(pcm)) + pcm}


def open_panel(tab: Tab) -> None:
    tab.open("/voices?new=clone")
    expect(tab.page.get_by_role("heading", name="Clone a voice")).to_be_visible()


def choose(tab: Tab, file: Any) -> None:
    """A path, or a `File`."""
    tab.page.locator("#clone-file").set_input_files(file)


def describe(tab: Tab, name: str = "Ada") -> None:
    tab.page.get_by_role("button", name="Suggest a text to read").click()
    tab.page.get_by_label("Name of the voice").fill(name)


def press_create(tab: Tab) -> None:
    tab.page.get_by_role("button", name=re.compile("^(Create voice|Try again)$")).click()


def expect_ready(tab: Tab, name: str = "Ada") -> None:
    expect(tab.page.get_by_role("heading", name=f"{name} is ready.")).to_be_focused()


def problem(tab: Tab) -> Locator:
    """What the form says about the whole of it."""
    return tab.page.locator(".submit .error")


def newest(stack: Stack) -> dict[str, object]:
    return stack.voices()[0]


def sound_of(stack: Stack, voice: dict[str, object]) -> tuple[wave._wave_params, Samples]:
    """What was stored of a voice."""
    path = f"{stack.base_url}/api/voices/{voice['id']}/preview"
    content = httpx.get(path, headers=stack.headers, follow_redirects=True).raise_for_status().content
    with wave.open(io.BytesIO(content)) as file:
        return file.getparams(), samples_of(content)


def samples_of(content: bytes) -> Samples:
    with wave.open(io.BytesIO(content)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


def place_of(piece: Samples, whole: Samples) -> int:
    """Where in `whole` it is most like `piece`, in samples."""
    size = 2 ** int(np.ceil(np.log2(len(whole) + len(piece))))
    alike = np.fft.irfft(np.fft.rfft(whole, size) * np.conj(np.fft.rfft(piece, size)))
    return int(alike[: len(whole) - len(piece)].argmax())


def clones_billed(stack: Stack) -> int:
    billed: int = httpx.get(f"{stack.emulator_rest_url}/_emulator/billing").json()["clones"]
    return billed


@contextmanager
def slow_uploads(tab: Tab) -> Iterator[None]:
    """So slow that a test can look while one is under way."""
    session = tab.page.context.new_cdp_session(tab.page)
    conditions = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": SLOW_BYTES_PER_SECOND}
    session.send("Network.emulateNetworkConditions", conditions)
    yield
    session.detach()


def test_a_file_becomes_a_voice_that_can_be_used(stack: Stack, tab: Tab, recording: Path) -> None:
    open_panel(tab)
    expect(tab.page.locator(".submit")).to_contain_text("Qwen bills US$0.01")
    choose(tab, recording)
    expect(tab.page.locator(".verdicts")).to_contain_text("a good length")
    expect(tab.page.locator(".verdicts")).to_contain_text("The level is good")
    tab.page.get_by_role("button", name="Listen").click()
    tab.until("document.getElementById('audio').currentTime > 0.2")
    describe(tab)
    press_create(tab)
    expect_ready(tab)
    voice = newest(stack)
    assert (voice["name"], voice["tts_provider"], voice["source"]) == ("Ada", "qwen", "uploaded")
    params, sent = sound_of(stack, voice)
    assert (params.framerate, params.nchannels, params.sampwidth) == (RATE, 1, 2)
    original = samples_of(recording.read_bytes())
    at = place_of(sent[RATE : RATE * 2], original) - RATE
    assert np.abs(original[at : at + len(sent)].astype(int) - sent).max() <= 1, "nothing but its ends is missing"
    tab.page.get_by_role("link", name="Use it").click()
    expect(tab.page.locator(f"input[value='{voice['id']}']")).to_be_checked()
    assert tab.complaints == []


def test_both_ends_are_cut_by_keyboard(stack: Stack, tab: Tab) -> None:
    open_panel(tab)
    choose(tab, tone(70, 0.5))
    # Of a long recording as much is taken as is advised.
    expect(tab.page.locator(".verdicts")).to_contain_text("20.0 s: a good length")
    expect(tab.page.get_by_label("Start")).to_be_focused()
    tab.page.keyboard.press("Tab")
    tab.page.keyboard.press("End")
    expect(tab.page.locator(".verdicts")).to_contain_text("Too long: 70.0 s")
    describe(tab)
    press_create(tab)
    expect(tab.page.locator("form > section > .wrong")).to_contain_text("at most 60 s are left")
    tab.page.get_by_label("Start").focus()
    tab.page.keyboard.press("End")
    expect(tab.page.locator(".verdicts")).to_contain_text("Too short: 0.5 s")
    for _ in range(5):
        tab.page.keyboard.press("PageDown")
    press_create(tab)
    expect_ready(tab)
    params, _ = sound_of(stack, newest(stack))
    assert 3 < params.nframes / RATE < 60


def test_the_microphone_becomes_a_voice(stack: Stack, tab: Tab, recording: Path) -> None:
    tab.page.context.grant_permissions(["microphone"])
    open_panel(tab)
    tab.page.get_by_role("button", name="Record").click()
    expect(tab.page.get_by_role("timer")).to_contain_text("0:04 of 1:00")
    expect(tab.page.locator(".microphone [role=status]")).to_have_text("You are heard well.")
    tab.page.get_by_role("button", name="Stop").click()
    expect(tab.page.get_by_role("button", name="Record again")).to_be_visible()
    expect(tab.page.locator(".verdicts")).to_contain_text("s will do; 10 to 20 s sound more like you")
    describe(tab)
    press_create(tab)
    expect_ready(tab)
    params, heard = sound_of(stack, newest(stack))
    assert (params.framerate, params.nchannels) == (RATE, 1)
    said = np.tile(samples_of(recording.read_bytes()), 2)  # again and again
    piece = heard[RATE : RATE * 2]
    at = place_of(piece, said)
    assert np.corrcoef(said[at : at + RATE], piece)[0, 1] > 0.95
    assert tab.complaints == []


def test_leaving_ends_a_recording_and_keeps_it(tab: Tab) -> None:
    tab.page.context.grant_permissions(["microphone"])
    open_panel(tab)
    tab.page.get_by_role("button", name="Record").click()
    expect(tab.page.get_by_role("timer")).to_contain_text("0:01 of 1:00")
    tab.page.get_by_role("link", name="Generate").click()
    expect(tab.page.get_by_label("Text to speak")).to_be_visible()
    tab.page.go_back()
    expect(tab.page.get_by_role("button", name="Record again")).to_be_visible()
    expect(tab.page.locator(".verdicts")).to_contain_text("Too short")


def test_a_refused_microphone_leaves_two_ways_on(tab: Tab, recording: Path) -> None:
    open_panel(tab)
    tab.page.get_by_role("button", name="Record").click()
    expect(tab.page.get_by_role("alert")).to_contain_text("The microphone was refused. Allow it")
    choose(tab, recording)
    expect(tab.page.locator(".verdicts")).to_contain_text("a good length")
    expect(tab.page.get_by_role("alert").filter(has_text="microphone")).to_be_hidden()
    tab.page.context.grant_permissions(["microphone"])
    tab.page.get_by_role("button", name="Record").click()
    expect(tab.page.get_by_role("button", name="Stop")).to_be_focused()


def test_what_the_provider_would_refuse_is_never_sent(tab: Tab) -> None:
    open_panel(tab)
    press_create(tab)
    expect(tab.page.locator("form > section > .wrong")).to_have_text("Choose a file or record something first.")
    expect(tab.page.locator("#clone-file")).to_be_focused()
    expect(tab.page.locator("#clone-name-wrong")).to_have_text("This is needed.")
    describe(tab)
    for file, words in (
        (tone(1.4, 0.5), "Too short: 1.4 s. At least 3 s are needed."),
        (tone(12, 0.005), "Too quiet: no speech can be heard."),
        (tone(12, 0.5, rate=16_000), "Made with 16 kHz; at least 24 kHz are needed."),
    ):
        choose(tab, file)
        expect(tab.page.locator(".verdicts .bad")).to_contain_text(words)
        press_create(tab)
        expect(tab.page.locator("form > section > .wrong")).to_contain_text(words)
        expect(tab.page.get_by_label("Start")).to_be_focused()
    unreadable: File = {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no sound at all"}
    for file, words in (
        (unreadable, "cannot be read as sound"),
        (tone(160, 0.5), "This file has 7.7 MB; up to 7.5 MB are taken."),
    ):
        choose(tab, file)
        expect(tab.page.locator("form > section > .wrong")).to_contain_text(words)
    assert tab.asked("POST", "/api/clone/upload-url") == []


def test_a_poor_recording_is_warned_about_and_taken(tab: Tab) -> None:
    open_panel(tab)
    for file, words in (
        (tone(5, 0.5), "5.0 s will do; 10 to 20 s sound more like you."),
        (tone(12, 0.05), "Rather quiet."),
        (tone(12, 3.0), "Too loud in places"),
    ):
        choose(tab, file)
        expect(tab.page.locator(".verdicts .fair")).to_contain_text(words)
        expect(tab.page.locator(".verdicts .bad")).to_have_count(0)


def test_an_upload_that_is_cut_goes_on_with_the_next_press(
    stack: Stack, cable: Cable, cabled_tab: Tab, recording: Path
) -> None:
    tab, before = cabled_tab, clones_billed(stack)
    open_panel(tab)
    choose(tab, recording)
    describe(tab)
    with slow_uploads(tab):
        press_create(tab)
        tab.until("document.querySelector('progress[aria-label=Upload]').value > 0.05")
        cable.unplug()
        expect(problem(tab)).to_contain_text("cannot be reached")
        expect(tab.page.get_by_role("button", name="Try again")).to_be_focused()
    cable.plug()
    press_create(tab)
    expect_ready(tab)
    assert len(tab.asked("POST", "/api/clone/upload-url")) == 1
    assert clones_billed(stack) == before + 1


def test_answers_that_are_lost_cost_neither_a_second_upload_nor_a_second_voice(
    stack: Stack, cable: Cable, cabled_tab: Tab, recording: Path
) -> None:
    tab, before = cabled_tab, clones_billed(stack)
    voices = len(stack.voices())

    def held(route: Route) -> None:
        cable.hold()
        route.continue_()

    open_panel(tab)
    choose(tab, recording)
    describe(tab)
    with tab.page.expect_request(lambda request: request.method == "PUT"):
        tab.page.route("**/objects/**", held)
        press_create(tab)
    tab.until("document.querySelector('progress[aria-label=Upload]').value === 1")  # all is sent, and nothing answered
    until(tab, lambda: is_stored(stack, tab))
    cable.unplug()
    cable.release()
    expect(problem(tab)).to_contain_text("cannot be reached")
    cable.plug()
    tab.page.unroute("**/objects/**")

    tab.page.route("**/clone/finalize", held)
    press_create(tab)
    until(tab, lambda: len(stack.voices()) == voices + 1)
    cable.unplug()
    cable.release()
    expect(problem(tab)).to_contain_text("cannot be reached")
    cable.plug()
    tab.page.unroute("**/clone/finalize")
    press_create(tab)
    expect_ready(tab)
    assert len(tab.asked("POST", "/api/clone/upload-url")) == 1
    assert len(stack.voices()) == voices + 1
    assert clones_billed(stack) == before + 1


def is_stored(stack: Stack, tab: Tab) -> bool:
    """Whether the recording of the page's upload lies in the store."""
    (put,) = [one for one in tab.requested if one.method == "PUT"]
    return (stack.data_dir / "objects" / put.url.partition("/objects/")[2].partition("?")[0]).exists()


def until(tab: Tab, condition: Callable[[], bool]) -> None:
    """Look at something beyond the page, while the page goes on."""
    for _ in range(WAIT_MS // LOOK_MS):
        if condition():
            return
        tab.page.wait_for_timeout(LOOK_MS)
    raise AssertionError("not in time")


def test_a_cancelled_upload_makes_nothing(stack: Stack, tab: Tab, recording: Path) -> None:
    before = clones_billed(stack)
    open_panel(tab)
    choose(tab, recording)
    describe(tab)
    with slow_uploads(tab):
        press_create(tab)
        tab.page.get_by_role("button", name="Cancel").click()
    expect(tab.page.locator(".submit [role=status]")).to_have_text("Cancelled. Nothing was made.")
    expect(tab.page.get_by_role("button", name="Create voice")).to_be_enabled()
    assert tab.asked("POST", "/api/clone/finalize") == []
    assert clones_billed(stack) == before


def test_the_providers_refusal_is_said_and_the_next_try_is_a_new_one(
    stack: Stack, tab: Tab, recording: Path, emulator_faults: httpx.Client
) -> None:
    order = {"voice": "customization:create", "faults": ["transcript_mismatch"], "times": 1}
    emulator_faults.put("/_emulator/faults", json=order).raise_for_status()
    open_panel(tab)
    choose(tab, recording)
    describe(tab)
    press_create(tab)
    expect(problem(tab)).to_contain_text("clear speech that matches the transcript")
    press_create(tab)
    expect_ready(tab)
    assert len(tab.asked("POST", "/api/clone/upload-url")) == 2


def test_a_copy_that_is_not_faithful_comes_with_a_warning(
    tab: Tab, recording: Path, emulator_faults: httpx.Client
) -> None:
    order = {"voice": "customization:create", "faults": ["fallback_mode"], "times": 1}
    emulator_faults.put("/_emulator/faults", json=order).raise_for_status()
    open_panel(tab)
    choose(tab, recording)
    describe(tab)
    press_create(tab)
    expect_ready(tab)
    expect(tab.page.locator(".done")).to_contain_text("not good enough for a faithful copy")
    tab.page.get_by_role("button", name="Clone another").click()
    expect(tab.page.get_by_label("Name of the voice")).to_have_value("")


def test_in_modal_mode_it_costs_nothing_and_a_session_that_ends_loses_nothing(
    modal: Stack, accounts: Accounts, modal_tab: Tab, recording: Path
) -> None:
    accounts.lifetime = 59  # renewed for every request
    modal_tab.page.goto(f"{modal.base_url}/voices?new=clone")
    sign_in(modal_tab)
    expect(modal_tab.page.locator(".submit")).to_contain_text("Making a voice costs nothing here.")
    choose(modal_tab, recording)
    describe(modal_tab)
    accounts.forget()
    press_create(modal_tab)
    expect(modal_tab.page.locator("#sign-in-reason")).to_contain_text("Your session has ended.")
    accounts.lifetime = 3600
    sign_in(modal_tab)
    press_create(modal_tab)
    expect_ready(modal_tab)
    assert newest(modal)["tts_provider"] == "modal"


def sign_in(tab: Tab) -> None:
    tab.page.get_by_label("E-mail address").fill(EMAIL)
    tab.page.get_by_label("Password").fill(PASSWORD)
    tab.page.keyboard.press("Enter")
    expect(tab.page.get_by_role("heading", name="Clone a voice")).to_be_visible()


def test_without_a_secure_address_the_page_says_why(browser: Browser, stack: Stack) -> None:
    for tab in watched(browser, stack.base_url):
        tab.page.add_init_script("delete Navigator.prototype.mediaDevices;")  # as browsers do beyond this machine
        open_panel(tab)
        tab.page.get_by_role("button", name="Record").click()
        expect(tab.page.get_by_role("alert")).to_contain_text("over https only. Choose a file instead.")
