"""Chromium for tests of the page: found on the machine, started once, and watched while a test uses it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, Request, expect

from bench.browser import NoBrowser, headless_chromium

WAIT_MS = 20_000
"""Longest wait for something on the page, in milliseconds: a third of the per-test timeout."""

CUT_SHORT = "error: Failed to load resource: net::ERR_INCOMPLETE_CHUNKED_ENCODING"
"""Stop hangs up and then cancels at the server, which ends the stream. Chromium sometimes sees that end first, and
notes it in the console; nothing is wrong."""

_LOOK_AGAIN = """(deadline) => new Promise((resolve, reject) => {
  const look = () => {
    if (%s) resolve();
    else if (performance.now() > deadline) reject(new Error("not in time"));
    else requestAnimationFrame(look);
  };
  deadline += performance.now();
  look();
})"""


@contextmanager
def chromium(*arguments: str) -> Iterator[Browser]:
    """A headless Chromium of the system, with more arguments; skips the test with one line when there is none."""
    expect.set_options(timeout=WAIT_MS)  # 5 s by default, which a busy machine takes to cancel a generation
    try:
        with headless_chromium(*arguments) as browser:
            yield browser
    except NoBrowser as error:
        pytest.skip(str(error))


@dataclass
class Tab:
    """One page and everything it did: addresses asked for, answers that ended, complaints in the console.

    No slots: Playwright hangs an attribute on the object whose methods it calls.
    """

    page: Page
    base_url: str
    requested: list[Request] = field(default_factory=list)
    finished: list[Request] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Begin to record. Before the first navigation."""
        self.page.set_default_timeout(WAIT_MS)
        self.page.on("request", self._note_request)
        self.page.on("requestfinished", self._note_end)
        self.page.on("requestfailed", self._note_end)
        self.page.on("pageerror", self._note_exception)
        self.page.on("console", self._note_message)

    def open(self, path: str = "/") -> None:
        """Go there and wait until the page is signed in."""
        self.page.goto(self.base_url + path)
        self.page.locator("#account").wait_for()

    def until(self, condition: str) -> None:
        """Wait until a JavaScript expression is true, looked at before each frame.

        Playwright's own `wait_for_function` evaluates a string in the page, which the page's policy forbids.
        """
        self.page.evaluate(_LOOK_AGAIN % condition, WAIT_MS)

    def asked(self, method: str, path: str) -> list[Request]:
        """Requests so far with this method and path."""
        return [one for one in self.requested if one.method == method and urlsplit(one.url).path == path]

    def has_ended(self, method: str, path: str) -> bool:
        """Whether an answer of such a request has been read to its end, or given up."""
        return any(one.method == method and urlsplit(one.url).path == path for one in self.finished)

    def strangers(self, *others: str) -> list[str]:
        """Addresses asked for that are neither the gateway's nor below `others`. A blob lives in the page itself."""
        ours = (f"{self.base_url}/", f"blob:{self.base_url}/", *(f"{origin}/" for origin in others))
        return [one.url for one in self.requested if not one.url.startswith(ours)]

    def complaints_beside_the_cut(self) -> list[str]:
        """The console's complaints after a Stop, without the one that is to be expected."""
        return [complaint for complaint in self.complaints if complaint != CUT_SHORT]

    def state(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        return self.page.evaluate(f"() => ({expression})")

    def _note_request(self, request: Request) -> None:
        self.requested.append(request)

    def _note_end(self, request: Request) -> None:
        self.finished.append(request)

    def _note_exception(self, error: Error) -> None:
        self.complaints.append(f"exception: {error}")

    def _note_message(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(f"{message.type}: {message.text}")
