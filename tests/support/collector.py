"""Python's garbage collector, for tests of what must not be left to it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_off() -> Iterator[None]:
    """In the body an object that is part of a reference cycle lives on. What was cyclic before is gone first."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
