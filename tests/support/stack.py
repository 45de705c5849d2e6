"""The whole product as a process: `utter dev`, shared by a test session or started alone by one test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.stack import Stack, running_stack

SPEED = 8.0
"""Times playback. Fast enough for a suite, slow enough that a listener can join, resume and cancel in the middle."""

# Tests start many generations at once, and let many fail; the account limits and the circuit are product settings, not
# what is tested here. A fault of an upgrade is ordered for the next connection, which has to be the test's own and not
# one opened in advance (tests/acceptance/test_warm.py has those).
LIMITS = {
    "QWEN_STARTS_PER_SECOND": "1000",
    "QWEN_STARTS_PER_MINUTE": "60000",
    "UTTER_CIRCUIT_FAILURES": "10000",
    "QWEN_WARM_CONNECTIONS": "0",
}


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """One gateway, emulator and database for all tests that do not break them."""
    with running_stack(speed=SPEED, environment=LIMITS) as running:
        yield running
