"""Fixtures every test can ask for. The real parts live in tests/support, one module each."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import settings

from tests.support.backends import ASYNCIO
from tests.support.postgres import database, empty_database, make_database, postgres_server
from tests.support.s3 import s3_credentials, s3_server
from tests.support.stack import stack

__all__ = [
    "database",
    "empty_database",
    "make_database",
    "postgres_server",
    "s3_credentials",
    "s3_server",
    "stack",
]

STRICT = "UTTER_TEST_STRICT"
"""Set by CI, where every system package is installed: a skipped test is then a failed one."""

# A loaded machine is slow, not wrong: no law may fail by the clock (Hypothesis gives an example 200 ms by default).
settings.register_profile("utter", deadline=None)
settings.load_profile("utter")


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Production's loop; a module that must also run on trio overrides this with `BACKENDS`."""
    return ASYNCIO


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In strict mode nothing may be left out silently."""
    report = yield
    if os.environ.get(STRICT) == "1" and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and {STRICT}=1 allows no skips: {report.longrepr}"
    return report
