"""Debian's Chromium under Playwright, for what measures or tests the page. Playwright's own browsers are not used."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")

ARGUMENTS = [
    "--no-sandbox",  # Chromium refuses to run as root with it, and CI containers are root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]


class NoBrowser(RuntimeError):
    """There is none on this machine; the message says what to install."""


@contextmanager
def headless_chromium(*arguments: str) -> Iterator[Browser]:
    """A headless Chromium of the system, with more arguments. Raises `NoBrowser`."""
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        raise NoBrowser(f"no {' or '.join(NAMES)} on this machine: install Debian's package chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*ARGUMENTS, *arguments])
        try:
            yield browser
        finally:
            browser.close()
