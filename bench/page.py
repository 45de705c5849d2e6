"""`python -m bench page`: from the gateway's first byte to the first sound in the page, in Debian's Chromium.

Each run opens the page anew, presses Generate and listens. Both moments are on the page's own clock: the first byte is
when the answer's head arrived, which the gateway holds back until there is audio, and the first sound is the first
frame of the screen at which playback has moved.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from playwright.sync_api import Browser
from rich.console import Console
from rich.progress import track

from bench.browser import NoBrowser, headless_chromium
from bench.stack import Stack, running_stack
from bench.statistics import summarize, summary_table
from bench.texts import english

STREAM = "/api/generate/stream"

WAIT_MS = 30_000
"""Longest wait for the page or its first sound."""

LISTEN = """
globalThis.firstSound = new Promise((resolve) => {
  const look = () => {
    if (document.getElementById("audio")?.currentTime > 0) resolve(performance.now());
    else requestAnimationFrame(look);
  };
  look();
});
"""

FIRST_BYTE = """() => performance.getEntriesByType("resource").find(({ name }) => name.endsWith("%s"))?.responseStart"""
"""Known once the answer has ended."""


def main(argv: list[str]) -> int:
    """Print the table, write JSON when asked to. Exit status 0; 1 when there is no browser."""
    parser = argparse.ArgumentParser(prog="python -m bench page", description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="how often (default 20)")
    parser.add_argument("--characters", type=int, default=60, help="length of the text (default 60: 4 s of speech)")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args(argv)
    try:
        with running_stack() as stack, headless_chromium() as browser:
            text = english(options.characters)
            _run(browser, stack, text)  # warm-up: the emulator renders the text
            times = [_run(browser, stack, text) for _ in track(range(options.runs), console=Console(stderr=True))]
    except NoBrowser as error:
        print(error, file=sys.stderr)
        return 1
    summary = summarize(times)
    Console().print(summary_table("first byte from the gateway to first sound in the page", "ms", {"page": summary}))
    if options.json:
        options.json.write_text(json.dumps(asdict(summary), indent=2))
    return 0


def _run(browser: Browser, stack: Stack, text: str) -> float:
    """Milliseconds from the first byte to the first sound."""
    page = browser.new_page()
    page.set_default_timeout(WAIT_MS)
    page.add_init_script(LISTEN)
    page.goto(stack.base_url)
    page.get_by_label("Text to speak").fill(text)
    page.get_by_role("button", name="Generate", exact=True).click()
    page.locator("#generate-status").filter(has_text="Done").wait_for()
    sound: float = page.evaluate("() => globalThis.firstSound")
    byte: float = page.evaluate(FIRST_BYTE % STREAM)
    page.close()
    return sound - byte
