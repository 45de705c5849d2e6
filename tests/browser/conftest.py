"""A Chromium for the module and a fresh, watched page for each test."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest
from playwright.sync_api import Browser

from bench.stack import Stack
from gateway.routes.web import WEB
from tests.support.accounts import ANON_KEY, Accounts, running_accounts
from tests.support.browser import Tab, chromium
from tests.support.cable import Cable, plugged_in
from tests.support.served import serving


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """For these tests only: Playwright's synchronous API keeps an event loop in this thread until it is closed."""
    with chromium() as running:
        yield running


@pytest.fixture
def tab(stack: Stack, browser: Browser) -> Iterator[Tab]:
    """A page of its own. Afterwards: it asked no other host for anything."""
    yield from watched(browser, stack.base_url)


@pytest.fixture
def cable(stack: Stack) -> Iterator[Cable]:
    """A way to the gateway that the test can cut."""
    with plugged_in(stack.base_url) as plugged:
        yield plugged


@pytest.fixture
def cabled_tab(cable: Cable, browser: Browser) -> Iterator[Tab]:
    """As `tab`, over the cable."""
    yield from watched(browser, cable.base_url)


@pytest.fixture
def emulator_faults(stack: Stack) -> Iterator[httpx.Client]:
    """The emulator's controls; what was ordered is taken back afterwards."""
    with httpx.Client(base_url=stack.emulator_rest_url) as client:
        yield client
        client.delete("/_emulator/faults").raise_for_status()


@pytest.fixture(scope="session")
def accounts(stack: Stack) -> Iterator[Accounts]:
    """A Supabase project whose one user is the demo's."""
    with running_accounts(UUID(stack.demo_user)) as running:
        yield running


@pytest.fixture(scope="session")
def modal(stack: Stack, accounts: Accounts) -> Iterator[Stack]:
    """A gateway in Modal mode on the same database, emulator and objects, where people sign in with an account."""
    emulator = msgspec.json.decode((stack.data_dir / "running.json").read_bytes())["emulator_modal_url"]
    environment = {
        "TTS_PROVIDER_MODE": "modal",
        "SUPABASE_URL": accounts.url,
        "SUPABASE_ANON_KEY": ANON_KEY,
        **{f"MODAL_JOB_{name.upper()}": f"{emulator}/{name}" for name in ("submit", "status", "result", "cancel")},
        "MODAL_ENDPOINT_VOICE_DESIGN": f"{emulator}/design",
    }
    with TemporaryDirectory(prefix="utter-modal-") as folder, serving(stack, Path(folder), **environment) as served:
        yield served.stack


@pytest.fixture
def modal_tab(modal: Stack, accounts: Accounts, browser: Browser) -> Iterator[Tab]:
    """A page of the gateway in Modal mode."""
    yield from watched(browser, modal.base_url, accounts.url)


@pytest.fixture(scope="session")
def recording() -> Iterator[Path]:
    """A WAV of somebody reading the page's own suggestion, some fifteen seconds."""
    source = (WEB / "clone.js").read_text()
    suggested = source[source.index("const SUGGESTION") :].partition(";")[0]
    words = " ".join("".join(suggested.split('"')[1::2]).split())
    with TemporaryDirectory(prefix="utter-recording-") as folder:
        file = Path(folder) / "reading.wav"
        command = [sys.executable, "-m", "bench", "record", "--language", "en", "--text", words, "-o", str(file)]
        subprocess.run(command, check=True)
        yield file


@pytest.fixture
def modal_voice(modal: Stack, stack: Stack, recording: Path, kept_voices: None) -> dict[str, Any]:
    """A voice of the demo user's that only a gateway in Modal mode can use."""
    words = {"name": "Old narrator", "language": "English", "transcript": "I have always liked to read aloud."}
    with httpx.Client(base_url=modal.base_url, headers=stack.headers) as client:
        link = client.post("/api/clone/upload-url", json=words).raise_for_status().json()
        headers = {"content-type": "audio/wav"}
        httpx.put(link["upload_url"], content=recording.read_bytes(), headers=headers).raise_for_status()
        made = client.post("/api/clone/finalize", json={**words, "voice_id": link["voice_id"]}).raise_for_status()
    voice: dict[str, Any] = made.json()
    return voice


@pytest.fixture
def kept_voices(stack: Stack) -> Iterator[None]:
    """The demo user's voices, the same after the test as before it."""
    before = {voice["id"] for voice in stack.voices()}
    yield
    with httpx.Client(base_url=stack.base_url, headers=stack.headers) as client:
        now = {voice["id"] for voice in stack.voices()}
        for voice_id in now - before:
            client.delete(f"/api/voices/{voice_id}").raise_for_status()
        for voice_id in before - now:
            client.post(f"/api/voices/{voice_id}/restore").raise_for_status()


def watched(browser: Browser, base_url: str, *others: str) -> Iterator[Tab]:
    """A page that may ask `base_url` and `others`, and nobody else."""
    context = browser.new_context()
    opened = Tab(context.new_page(), base_url)
    opened.watch()
    yield opened
    context.close()
    assert opened.strangers(*others) == []
