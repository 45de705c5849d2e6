"""A Chromium for the module and a fresh, watched page for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from bench.stack import Stack
from tests.support.browser import Tab, chromium
from tests.support.cable import Cable, plugged_in


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


def watched(browser: Browser, base_url: str) -> Iterator[Tab]:
    context = browser.new_context()
    opened = Tab(context.new_page(), base_url)
    opened.watch()
    yield opened
    context.close()
    assert opened.strangers() == []
