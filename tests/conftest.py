"""Fixtures every test can ask for. The real parts live in tests/support, one module each."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings

from tests.support.backends import ASYNCIO
from tests.support.postgres import database, empty_database, make_database, postgres_server

__all__ = ["database", "empty_database", "make_database", "postgres_server"]

# A loaded machine is slow, not wrong: no law may fail by the clock (Hypothesis gives an example 200 ms by default).
settings.register_profile("utter", deadline=None)
settings.load_profile("utter")


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Production's loop; a module that must also run on trio overrides this with `BACKENDS`."""
    return ASYNCIO
