"""`python -m tests.browser.screenshots FOLDER`: every view on a phone, a tablet and a desktop, in light and dark."""

from __future__ import annotations

import sys
from base64 import b64decode
from pathlib import Path
from typing import Literal

from playwright.sync_api import Page, expect

from bench.stack import Stack, running_stack
from tests.support.browser import chromium

SIZES = {"phone": (390, 844), "tablet": (820, 1180), "desktop": (1280, 860)}
"""CSS pixels, width and height."""

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")

VIEWS = {
    "generate": "/generate",
    "voices": "/voices",
    "clone": "/voices?new=clone",
    "design": "/voices?new=design",
    "history": "/history",
}

TEXT = "Good morning. The tide was out, and the boats lay on the sand as if they had been put there by a careful child."

QUALITY = 80
"""Of WebP, of 100: some 20 kB a picture, in which text is still sharp."""


def main(folder: Path) -> None:
    """Write `<view>-<size>-<scheme>.webp` below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with running_stack() as stack, chromium() as browser:
        for size, (width, height) in SIZES.items():
            for scheme in SCHEMES:
                page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
                _speak(page, stack)
                for name, path in VIEWS.items():
                    if name != "generate":
                        page.goto(stack.base_url + path)
                        page.wait_for_load_state("networkidle")
                    (folder / f"{name}-{size}-{scheme}.webp").write_bytes(_picture(page))
                page.close()


def _speak(page: Page, stack: Stack) -> None:
    """The page while it speaks, half a text in."""
    page.goto(stack.base_url)
    page.get_by_label("Text to speak").fill(TEXT)
    page.get_by_role("button", name="Generate", exact=True).click()
    expect(page.locator("#dock")).to_be_visible()
    page.wait_for_timeout(3000)  # of speech, so that there is a wave to look at


def _picture(page: Page) -> bytes:
    # Playwright writes no WebP.
    session = page.context.new_cdp_session(page)
    shot = session.send("Page.captureScreenshot", {"format": "webp", "quality": QUALITY})
    return b64decode(shot["data"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
